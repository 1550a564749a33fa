"""The modules of the suite's plans for discovery and dynamic registration, by the suite's own names."""

from collections.abc import Callable
from urllib.parse import urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from tests.interop import openid_modules
from tests.interop.openid_provider import Provider
from tests.interop.relying_party import CALLBACK

Module = Callable[[Provider], None]
PRIVATE_KEY = {"token_endpoint_auth_method": "private_key_jwt"}
REFRESH = {"grant_types": ["authorization_code", "refresh_token"]}


def id_token_rs256(op: Provider) -> None:
    op.relying_party(id_token_signed_response_alg="RS256").sign_in()


def id_token_unsigned(op: Provider) -> None:
    refused = op.register(id_token_signed_response_alg="none")
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")


def userinfo_rs256(op: Provider) -> None:
    rp = op.relying_party(userinfo_signed_response_alg="RS256")
    assert "RS256" in rp.server["userinfo_signing_alg_values_supported"]
    tokens, claims = rp.sign_in()
    headers = {"authorization": f"Bearer {tokens['access_token']}"}
    answer = op.http.get(rp.server["userinfo_endpoint"], headers=headers)
    assert answer.headers["content-type"] == "application/jwt"
    keys = KeySet.import_key_set(op.http.get(rp.server["jwks_uri"]).json())
    told = jwt.decode(answer.text, keys, algorithms=["RS256"]).claims
    assert (told["sub"], told["iss"], told["aud"]) == (claims["sub"], op.live.issuer, rp.client["client_id"])
    assert "nonce" not in told


def sector(op: Provider) -> None:
    uris = ["https://one.example.com/cb", "https://two.example.com/cb"]
    address = op.documents.publish("/redirect_uris.json", uris)
    pairwise = {"subject_type": "pairwise", "sector_identifier_uri": address, "redirect_uris": uris}
    first, second = op.relying_party(**pairwise), op.relying_party(**pairwise)
    subjects = {rp.sign_in()[1]["sub"] for rp in (first, second, op.relying_party())}
    assert len(subjects) == 2, "one name within the sector, another outside"


def sector_bad(op: Provider) -> None:
    address = op.documents.publish("/other_uris.json", ["https://other.example.com/cb"])
    refused = op.register(subject_type="pairwise", sector_identifier_uri=address)
    assert refused.status_code == 400
    assert refused.json()["error"] in ("invalid_client_metadata", "invalid_redirect_uri")


def missing_redirect_uri(op: Provider) -> None:
    rp = op.relying_party(redirect_uris=[CALLBACK, CALLBACK + "2"])
    parameters = rp.request(redirect_uri=None)
    answer = rp.browser.http.get(rp.server["authorization_endpoint"], params=parameters)
    assert answer.status_code == 400, "a page, no redirect"


def query_ok(op: Provider) -> None:
    op.relying_party(redirect_uris=[f"{CALLBACK}?foo=bar"]).sign_in()


def query_mismatch(op: Provider) -> None:
    rp = op.relying_party(redirect_uris=[f"{CALLBACK}?foo=bar"])
    rp.page(rp.request(redirect_uri=f"{CALLBACK}?bar=foo"))


def query_added(op: Provider) -> None:
    rp = op.relying_party()
    rp.page(rp.request(redirect_uri=f"{CALLBACK}?foo=bar"))


def fragment(op: Provider) -> None:
    refused = op.register(redirect_uris=[f"{CALLBACK}#foobar"])
    assert refused.status_code == 400
    assert refused.json()["error"] in ("invalid_redirect_uri", "invalid_client_metadata")


def discovery(op: Provider) -> None:
    answer = op.http.get(f"{op.live.issuer}/.well-known/openid-configuration")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    found = answer.json()
    assert found["issuer"] == op.live.issuer
    # The suite wants implicit response types of a dynamic provider as well; OAuth 2.1 has none.
    assert "code" in found["response_types_supported"]
    assert set(found["subject_types_supported"]) <= {"public", "pairwise"}
    assert "RS256" in found["id_token_signing_alg_values_supported"]
    assert "openid" in found["scopes_supported"]
    assert "authorization_code" in found["grant_types_supported"]
    assert {"sub", "iss", "auth_time", "acr", "name", "email"} <= set(found["claims_supported"])
    assert found["claims_parameter_supported"] is True
    assert isinstance(found["code_challenge_methods_supported"], list)
    addresses = [value for name, value in found.items() if name.endswith(("_endpoint", "_uri"))]
    assert {urlsplit(address).scheme for address in addresses} == {"https"}
    keys = op.http.get(found["jwks_uri"]).json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys)
    assert not any(key.keys() & {"d", "p", "q"} for key in keys)


def registration(**metadata: str) -> Module:
    def module(op: Provider) -> None:
        rp = op.relying_party(**metadata)
        rp.browser.forget()
        openid_modules.server(rp)

    return module


def jwks_uri(op: Provider) -> None:
    key = RSAKey.generate_key(2048, {"kid": "first"})
    address = op.documents.publish("/jwks", public(key))
    op.relying_party(key=key, jwks_uri=address, **PRIVATE_KEY).sign_in()


def public(*keys: RSAKey) -> dict[str, object]:
    """Return the set of public keys that a relying party publishes."""
    return {"keys": [key.as_dict(private=False) | {"use": "sig", "alg": "RS256"} for key in keys]}


def rotated_client_key(op: Provider) -> None:
    first, second = (RSAKey.generate_key(2048, {"kid": name}) for name in ("first", "second"))
    address = op.documents.publish("/rotated", public(first))
    rp = op.relying_party(key=first, jwks_uri=address, **PRIVATE_KEY, **REFRESH)
    tokens, _ = rp.sign_in(scope="openid offline_access", prompt="consent")
    op.documents.publish("/rotated", public(second))
    rp.key = second
    op.live.clock.advance(60)
    answer = rp.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert answer.status_code == 200, answer.text


def rotated_server_keys(op: Provider) -> None:
    address = f"{op.live.issuer}/.well-known/jwks.json"
    before = {key["kid"] for key in op.http.get(address).json()["keys"]}
    op.live.run(op.live.runtime.keyring.rotate("RS256", actor="test"))
    after = {key["kid"] for key in op.http.get(address).json()["keys"]}
    assert after > before, "there is a new key, and the old ones are still there"


def refresh(op: Provider) -> None:
    rp = op.relying_party(**REFRESH)
    rp.other = op.relying_party(**REFRESH)
    openid_modules.refresh_token(rp)


def assertion_for_the_issuer(op: Provider) -> None:
    op.relying_party(**PRIVATE_KEY).sign_in()


DYNAMIC: dict[str, Module] = {
    "oidcc-idtoken-rs256": id_token_rs256,
    "oidcc-idtoken-unsigned": id_token_unsigned,
    "oidcc-userinfo-rs256": userinfo_rs256,
    "oidcc-ensure-redirect-uri-in-authorization-request": missing_redirect_uri,
    "oidcc-redirect-uri-query-OK": query_ok,
    "oidcc-redirect-uri-query-mismatch": query_mismatch,
    "oidcc-redirect-uri-query-added": query_added,
    "oidcc-redirect-uri-regfrag": fragment,
    "oidcc-discovery-endpoint-verification": discovery,
    "oidcc-server": registration(),
    "oidcc-registration-logo-uri": registration(logo_uri="https://rp.example.com/logo.png"),
    "oidcc-registration-policy-uri": registration(policy_uri="https://rp.example.com/policy"),
    "oidcc-registration-tos-uri": registration(tos_uri="https://rp.example.com/tos"),
    "oidcc-registration-jwks-uri": jwks_uri,
    "oidcc-registration-sector-uri": sector,
    "oidcc-registration-sector-bad": sector_bad,
    "oidcc-server-rotate-keys": rotated_server_keys,
    "oidcc-refresh-token-rp-key-rotation": rotated_client_key,
    "oidcc-refresh-token": refresh,
    "oidcc-ensure-client-assertion-with-iss-aud-succeeds": assertion_for_the_issuer,
}
