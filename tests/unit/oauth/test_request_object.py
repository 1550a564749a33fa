"""Signed requests: only what the client signed for this server counts (PA rows)."""

from collections.abc import Mapping
from typing import Any

import pytest

from watchword.jose import jwk, jws, jwt
from watchword.jose.strict_json import encode
from watchword.oauth import request_object
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.request_object import Opened

NOW = 1_800_000_000
ISSUER = "https://as.example"
KEY = jwk.generate("ES256")
OTHER = jwk.generate("ES256")
CLAIMS: dict[str, object] = {
    "iss": "app",
    "aud": ISSUER,
    "exp": NOW + 300,
    "nbf": NOW - 1,
    "client_id": "app",
    "response_type": "code",
    "redirect_uri": "https://rp.example/cb",
    "state": "inner",
}


def opened(
    token: str | None = None, outer: Mapping[str, str] | None = None, *, fapi: bool = False, **change: Any
) -> Opened:
    """Open a request object with some claims changed, or left out where None."""
    claims = {name: value for name, value in {**CLAIMS, **change}.items() if value is not None}
    return request_object.open_request_object(
        token or jwt.encode(KEY, claims, typ="oauth-authz-req+jwt"),
        outer or {"client_id": "app"},
        client_id="app",
        keys=[KEY],
        issuer=ISSUER,
        algorithms=("ES256",),
        fapi=fapi,
        now=NOW,
    )


def test_what_was_signed_becomes_parameters() -> None:
    found = opened(
        max_age=300,
        claims={"userinfo": {}},
        authorization_details=[{"type": "x"}],
        resource=["https://a.example"],
    )
    assert found.parameters == {
        "client_id": "app",
        "response_type": "code",
        "redirect_uri": "https://rp.example/cb",
        "state": "inner",
        "max_age": "300",
        "claims": '{"userinfo":{}}',
        "authorization_details": '[{"type":"x"}]',
    }
    assert found.resources == ("https://a.example",)


def test_what_stands_beside_the_object_does_not_count() -> None:
    outer = {
        "client_id": "app",
        "response_type": "code",
        "state": "outer",
        "redirect_uri": "https://evil.example",
    }
    parameters = opened(None, {**outer, "nonce": "outer"}).parameters
    assert parameters["state"] == "inner"
    assert parameters["redirect_uri"] == "https://rp.example/cb"
    assert "nonce" not in parameters


@pytest.mark.parametrize("value", [{"a": 1}, ["a"], True, 1.5, "text", None])
def test_a_member_that_nobody_knows_is_ignored_whatever_it_is(value: object) -> None:
    assert opened(vendor=value).parameters == opened().parameters


def test_a_parameter_that_is_null_was_not_given() -> None:
    """Libraries write down what nobody set."""
    token = jwt.encode(KEY, {**CLAIMS, "nonce": None, "max_age": None}, typ="oauth-authz-req+jwt")
    assert opened(token).parameters == opened().parameters


def test_metadata_inside_are_answered_as_beside() -> None:
    assert opened(registration={"client_name": "A"}).parameters["registration"] == '{"client_name":"A"}'


def test_it_may_be_meant_for_several_servers() -> None:
    assert opened(aud=[ISSUER, "https://other.example"]).parameters["state"] == "inner"


@pytest.mark.parametrize("typ", ["JWT", None, "application/oauth-authz-req+jwt"])
def test_older_types_are_accepted(typ: str | None) -> None:
    assert opened(jwt.encode(KEY, CLAIMS, typ=typ)).parameters["state"] == "inner"


def refused(code: str, *arguments: Any, **options: Any) -> None:
    opened()
    with pytest.raises(OAuthError) as caught:
        opened(*arguments, **options)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"client_id": "other"}, id="another client"),
        pytest.param({"client_id": None}, id="no client"),
        pytest.param({"iss": "other"}, id="another issuer"),
        pytest.param({"aud": "https://other.example"}, id="another server"),
        pytest.param({"aud": ["https://other.example", ISSUER + "/"]}, id="several other servers"),
        pytest.param({"aud": None}, id="no server"),
        pytest.param({"exp": NOW - 60}, id="that has expired"),
        pytest.param({"nbf": NOW + 600}, id="of the future"),
        pytest.param({"sub": "app"}, id="with the client as subject, as in a client assertion"),
        pytest.param({"request": "x"}, id="with another inside"),
        pytest.param({"request_uri": "urn:x"}, id="with a reference inside"),
        pytest.param({"state": ["a"]}, id="with a list for a text"),
        pytest.param({"state": True}, id="with a truth value for a text"),
        pytest.param({"max_age": 1.5}, id="with a fraction"),
        pytest.param({"resource": [1]}, id="with a resource that is a number"),
    ],
)
def test_a_request_object_is_refused(change: dict[str, object]) -> None:
    refused("invalid_request_object", **change)


def test_client_and_response_type_beside_it_must_agree() -> None:
    refused("invalid_request_object", None, {"client_id": "other"})
    refused("invalid_request_object", None, {"client_id": "app", "response_type": "token"})
    # A pushed request may name its client in the Authorization header alone.
    refused("invalid_request_object", None, {"state": "outer"}, client_id="other")


def test_ca_03_it_must_be_signed_by_the_clients_own_key() -> None:
    refused("invalid_request_object", jwt.encode(OTHER, CLAIMS))
    refused("invalid_request_object", jwt.encode(KEY, CLAIMS, typ="at+jwt"))
    unsigned = jwk.b64encode(b'{"alg":"none"}') + "." + jwk.b64encode(encode(CLAIMS)) + "."
    refused("request_not_supported", unsigned)
    refused("invalid_request_object", unsigned, fapi=True)
    embedded = jws.sign(OTHER, {"jwk": jwk.public_document(OTHER)}, encode(CLAIMS))
    refused("invalid_request_object", embedded)


def test_pa_50_an_encrypted_object_is_refused_unopened() -> None:
    refused("invalid_request_object", "a.b.c.d.e")
    header = jwk.b64encode(b'{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":100000000,"zip":"DEF"}')
    refused("invalid_request_object", header + ".AA.AA.AA.AA")


@pytest.mark.parametrize("token", ["x", "..", "a.b.c", "\ud800.a.b", "." * 99, "a" * 100_000])
def test_garbage_is_refused(token: str) -> None:
    refused("invalid_request_object", token)


@pytest.mark.parametrize(
    "change",
    [
        {"exp": None},
        {"nbf": None},
        {"exp": NOW + 7200},
        {"nbf": NOW - 7200, "exp": NOW - 7200 + 3600},
        {"iat": NOW + 61},
    ],
)
def test_fapi_bounds_its_life(change: dict[str, object]) -> None:
    opened(fapi=True, iat=NOW + 60)
    with pytest.raises(OAuthError, match="invalid_request_object"):
        opened(None, None, fapi=True, **change)


@pytest.mark.parametrize(
    ("last", "beyond"),
    [
        pytest.param({"nbf": NOW - 1, "exp": NOW + 3599}, {"nbf": NOW - 1, "exp": NOW + 3600}, id="an hour"),
        pytest.param({"exp": NOW - 29}, {"exp": NOW - 30}, id="its expiry"),
        pytest.param({"iat": NOW + 60}, {"iat": NOW + 61}, id="a clock ahead"),
    ],
)
def test_fapi_takes_it_up_to_the_limit_of(last: dict[str, object], beyond: dict[str, object]) -> None:
    opened(None, None, fapi=True, **last)
    with pytest.raises(OAuthError, match="invalid_request_object"):
        opened(None, None, fapi=True, **beyond)


GOOD_REFERENCE = "urn:ietf:params:oauth:request_uri:" + "a" * 43


@pytest.mark.parametrize(
    "request_uri",
    [
        pytest.param(GOOD_REFERENCE[:40], id="PA-02 truncated"),
        pytest.param(GOOD_REFERENCE.upper(), id="PA-02 in upper case"),
        pytest.param(GOOD_REFERENCE + "\x00", id="PA-02 with NUL"),
        pytest.param(GOOD_REFERENCE + "\n", id="with a line feed"),
        pytest.param(GOOD_REFERENCE + "a" * 5000, id="PA-02 of 5 kB"),
        pytest.param("http://127.0.0.1:80/", id="PA-04 on loopback"),
        pytest.param("http://2130706433/", id="PA-04 in decimal"),
        pytest.param("file:///etc/passwd", id="PA-04 a file"),
        pytest.param("gopher://x/", id="PA-04 gopher"),
        pytest.param("", id="empty"),
        pytest.param("\ud800", id="a lone surrogate"),
    ],
)
def test_a_reference_is_one_of_ours(request_uri: str) -> None:
    assert request_object.reference_of(GOOD_REFERENCE) == "a" * 43
    with pytest.raises(OAuthError, match="invalid_request_uri"):
        request_object.reference_of(request_uri)


@pytest.mark.parametrize(
    ("registered", "profile", "allowed"),
    [
        (None, "default", tuple(jws.ALGORITHMS)),
        ("ES384", "default", ("ES384",)),
        (None, "fapi2", ("PS256", "ES256", "EdDSA")),
        ("PS256", "fapi2", ("PS256",)),
        ("Ed25519", "default", ("EdDSA",)),
        ("Ed25519", "fapi2", ("EdDSA",)),
    ],
)
def test_a_client_signs_by_its_registered_algorithm_and_within_its_profile(
    registered: str | None, profile: Any, allowed: tuple[str, ...]
) -> None:
    client = Client(
        client_id="app",
        name="App",
        token_endpoint_auth_method="private_key_jwt",
        security_profile=profile,
        request_object_signing_alg=registered,
    )
    assert request_object.algorithms_of(client) == allowed


@pytest.mark.parametrize(
    ("algorithm", "fapi", "has_keys"),
    [
        pytest.param("none", False, True, id="none"),
        pytest.param("HS256", False, True, id="a symmetric algorithm"),
        pytest.param("RS256", True, True, id="one that FAPI does not have"),
        pytest.param("", False, True, id="an empty one"),
        pytest.param("ES256", False, False, id="one without keys"),
    ],
)
def test_a_client_cannot_be_made_to_sign_by(algorithm: str, fapi: bool, has_keys: bool) -> None:
    assert request_object.must_sign("ES256", required=True, fapi=fapi, has_keys=True)
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        request_object.must_sign(algorithm, required=True, fapi=fapi, has_keys=has_keys)


def test_an_algorithm_alone_makes_a_duty_for_clients_of_fapi() -> None:
    assert not request_object.must_sign("ES256", required=False, fapi=False, has_keys=False)
    assert not request_object.must_sign(None, required=False, fapi=True, has_keys=True)
    assert request_object.must_sign("ES256", required=False, fapi=True, has_keys=True)
