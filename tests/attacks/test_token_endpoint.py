"""Client authentication under attack: every way in which somebody pretends to be a client that they are not."""

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import quote_plus

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.fixtures.documents import Documents
from tests.fixtures.servers import Server, basic, open_server
from tests.flows.test_authorization_code import REDIRECT, VERIFIER, obtain_code, redeem, register
from tests.flows.test_client_credentials import ASSERTION, assertion

from watchword.flows import client_auth, client_registry
from watchword.flows.client_registry import Registered
from watchword.jose import jwk, jws
from watchword.jose.jwk import Key, b64encode
from watchword.oauth import token_format
from watchword.store import clients

FORM = {"grant_type": "client_credentials"}


def header_of(client_id: str, secret: str) -> dict[str, str]:
    """Return a Basic header of exactly these texts."""
    return {"authorization": "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()}


async def by_key(server: Server, key: Key, **given: Any) -> Registered:
    """Register a client that authenticates by a key."""
    keys = {"jwks": {"keys": [jwk.public_document(key)]}} if "jwks_uri" not in given else {}
    return await server.client(token_endpoint_auth_method="private_key_jwt", **keys | given)


async def is_refused(server: Server, form: dict[str, str], *statuses: int) -> None:
    """Show that a token request fails as client authentication does."""
    answer = await server.http.post("/token", data=form)
    assert answer.status_code in (statuses or (401,)), answer.text
    assert answer.json()["error"] in ("invalid_client", "invalid_request")
    assert "access_token" not in answer.text


async def test_te_02_an_identifier_alone_proves_nothing(server: Server) -> None:
    client = await register(server, grant_types=["authorization_code", "client_credentials"])
    live = {
        "grant_type": "authorization_code",
        "code": (await obtain_code(server, client))["code"],
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    alone = {"client_id": client.client.client_id}
    for form in (FORM | alone, FORM, live | alone, live, live | alone | {"client_secret": ""}):
        answer = await server.http.post("/token", data=form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client"), form
    assert (await server.grant(client)).status_code == 200
    assert (await redeem(server, client, live["code"])).status_code == 200, "the code was not touched"


async def test_te_04_one_client_never_speaks_for_another(server: Server) -> None:
    one, other = await server.client(name="one"), await server.client(name="other")
    named = FORM | {"client_id": one.client.client_id}
    honest = await server.http.post("/token", data=named, headers={"authorization": basic(one)})
    assert honest.status_code == 200
    for form in (
        FORM | {"client_id": other.client.client_id},
        FORM | {"client_id": other.client.client_id, "client_secret": other.client_secret or ""},
    ):
        mixed = await server.http.post("/token", data=form, headers={"authorization": basic(one)})
        assert (mixed.status_code, mixed.json()["error"]) == (400, "invalid_request")


async def test_te_08_only_who_is_registered_for_it_acts_for_itself(server: Server) -> None:
    redirect = {"redirect_uris": ["https://app.example.com/cb"], "grant_types": ["authorization_code"]}
    honest = await server.client(scope="openid orders:read")
    code_only = await server.client(**redirect)
    public = await server.client(token_endpoint_auth_method="none", **redirect)
    answer = (await server.grant(honest)).json()
    assert not {"refresh_token", "id_token"} & answer.keys(), "RFC 6749 §4.4.3"
    refused = await server.grant(code_only)
    assert (refused.status_code, refused.json()["error"]) == (400, "unauthorized_client")
    nobody = await server.http.post("/token", data=FORM | {"client_id": public.client.client_id})
    assert (nobody.status_code, nobody.json()["error"]) == (400, "unauthorized_client")
    wider = await server.grant(honest, scope="orders:read orders:delete")
    assert (wider.status_code, wider.json()["error"]) == (400, "invalid_scope")


# Basic, as RFC 6749 §2.3.1 has it: form-encoded before it is joined

SECRETS = {
    "percent": "50%41off",
    "plus": "a+b+c",
    "colon": "a:b:c",
    "accent": "clé d'été",
    "everything": "%+:é &=/?#",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
async def test_cl_01_a_secret_with_special_characters_is_form_encoded(server: Server, secret: str) -> None:
    client = await server.client()
    await server.runtime.database.write(
        clients.add_secret,
        client.client.client_id,
        id="secret_special",
        digest=token_format.digest(secret),
        expires_at=None,
        overlap_until=None,
        actor="test",
        now=server.runtime.now(),
    )
    encoded = header_of(quote_plus(client.client.client_id), quote_plus(secret))
    assert (await server.http.post("/token", data=FORM, headers=encoded)).status_code == 200
    if {"%", "+"} & set(secret):
        raw = await server.http.post("/token", data=FORM, headers=header_of(client.client.client_id, secret))
        assert (raw.status_code, raw.json()["error"]) == (401, "invalid_client"), "the un-encoded form"


@pytest.mark.parametrize("escape", ["%", "%4", "%zz", "%+1", "% 1", "%-1", "%é1"])
async def test_cl_01_a_malformed_escape_is_refused(server: Server, escape: str) -> None:
    client = await server.client()
    assert (await server.grant(client)).status_code == 200
    header = header_of(client.client.client_id, (client.client_secret or "") + escape)
    answer = await server.http.post("/token", data=FORM, headers=header)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_cl_03_every_wrong_secret_costs_the_same_comparison(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (client := await server.client()).client_secret or ""
    by_key_only = await by_key(server, jwk.generate("ES256"))
    compared: list[tuple[int, int]] = []

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(client_auth, "hmac", type("Counting", (), {"compare_digest": staticmethod(counting)}))
    first, last = (
        ("X" if secret[0] != "X" else "Y") + secret[1:],
        secret[:-1] + ("x" if secret[-1] != "x" else "y"),
    )
    found = []
    for client_id, wrong in (
        (client.client.client_id, first),
        (client.client.client_id, last),
        (client.client.client_id, "short"),
        ("client_nobody", secret),
        (by_key_only.client.client_id, secret),
    ):
        compared.clear()
        answer = await server.http.post("/token", data=FORM, headers=header_of(client_id, wrong))
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        found.append((answer.text, tuple(compared)))
    assert len(set(found)) == 1, "neither the answer nor the work tells what was wrong"
    assert found[0][1] == ((32, 32),)
    assert (await server.grant(client)).status_code == 200


async def test_cl_04_guessing_is_throttled_and_locks_nobody_out(server: Server) -> None:
    victim, other = await server.client(name="victim"), await server.client(name="other")
    statuses = []
    for n in range(1000):
        header = header_of(victim.client.client_id, f"guess {n}")
        statuses.append((await server.http.post("/token", data=FORM, headers=header)).status_code)
    assert set(statuses[:120]) == {401}
    assert set(statuses[140:]) == {429}
    refused = await server.http.post("/token", data=FORM, headers=header_of(victim.client.client_id, "x"))
    assert int(refused.headers["retry-after"]) >= 1
    assert (await server.grant(other)).status_code == 200, "another client is not affected"
    assert (await server.grant(victim)).status_code == 200, "nor is who knows the secret"


# Assertions (RFC 7523)


def unsigned(claims: dict[str, Any], alg: object = "none", signature: str = "") -> str:
    """Return a token with a header of its own making."""
    header = json.dumps({"alg": alg, "typ": "JWT"}).encode()
    return f"{b64encode(header)}.{b64encode(json.dumps(claims).encode())}.{signature}"


def claims_for(server: Server, client_id: str) -> dict[str, Any]:
    """Return what an honest assertion says."""
    now = int(server.clock())
    return {
        "iss": client_id,
        "sub": client_id,
        "aud": server.settings.issuer,
        "iat": now,
        "exp": now + 60,
        "jti": "once",
    }


def sent(token: str, **more: str) -> dict[str, str]:
    """Return the form that presents an assertion."""
    return FORM | {"client_assertion_type": ASSERTION, "client_assertion": token} | more


async def test_ca_03_a_signature_of_no_or_a_symmetric_algorithm_is_none(server: Server) -> None:
    key = jwk.generate("RS256")
    client_id = (await by_key(server, key)).client.client_id
    assert (await server.http.post("/token", data=assertion(server, key, client_id))).status_code == 200
    claims = claims_for(server, client_id)
    for alg in ("none", "None", "NONE", "nOnE", ""):
        for signature in ("", b64encode(b"x")):
            await is_refused(server, sent(unsigned(claims, alg, signature)))
    public: Any = key.public
    document = jwk.public_document(key)
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(document).encode(),
        document["n"].encode(),
        b"",
        client_id.encode(),
    ]
    for secret in secrets:
        for alg, hashed in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            body = unsigned(claims, alg).rstrip(".")
            await is_refused(
                server, sent(f"{body}.{b64encode(hmac.new(secret, body.encode(), hashed).digest())}")
            )


async def test_ca_04_no_key_that_an_assertion_brings_along_is_believed(
    server: Server, documents: Documents
) -> None:
    key, attacker = jwk.generate("ES256"), jwk.generate("ES256")
    client_id = (await by_key(server, key)).client.client_id
    assert (await server.http.post("/token", data=assertion(server, key, client_id))).status_code == 200
    address = documents.publish("/keys", {"keys": [jwk.public_document(attacker)]})
    public = {
        name: value for name, value in jwk.public_document(attacker).items() if name not in ("kid", "alg")
    }
    known = jwk.public_document(key)["kid"]
    headers: list[dict[str, Any]] = [
        {"jwk": public},
        {"jku": address},
        {"x5u": address},
        {"x5c": [base64.b64encode(b"certificate").decode()]},
        {"kid": known},
        {"kid": address},
        {"kid": "../../../../dev/null"},
        {"kid": "' OR 1=1 --"},
        {"kid": "a\x00b"},
        {"kid": "k" * 100_000},
    ]
    for header in headers:
        bare = Key(None, "ES256", attacker.kty, attacker.public, attacker.private, attacker.thumbprint)
        token = jws.sign(bare, header, json.dumps(claims_for(server, client_id)).encode())
        await is_refused(server, sent(token), 400, 401)
    number = b64encode(b'{"alg":"ES256","kid":7}')
    await is_refused(server, sent(number + token[token.index(".") :]), 400, 401)
    assert not documents.asked, "nothing was fetched"


@pytest.mark.parametrize(
    "header",
    [
        {"crit": ["exp"]},
        {"crit": ["unknown"], "unknown": 1},
        {"crit": []},
        {"crit": "exp"},
        {"crit": [""]},
        {"b64": False, "crit": ["b64"]},
        {"b64": False},
    ],
    ids=str,
)
async def test_ca_05_extensions_that_nobody_understands_are_refused(
    server: Server, header: dict[str, Any]
) -> None:
    key = jwk.generate("ES256")
    client_id = (await by_key(server, key)).client.client_id
    claims = json.dumps(claims_for(server, client_id)).encode()
    assert (
        await server.http.post("/token", data=sent(jws.sign(key, {"typ": "JWT"}, claims)))
    ).status_code == 200
    again = json.dumps(claims_for(server, client_id) | {"jti": "twice"}).encode()
    await is_refused(server, sent(jws.sign(key, header, again)))


LISTED_ALGORITHMS = b64encode(b'{"alg":["ES256"]}')


def malformed(key: Key, claims: dict[str, Any]) -> dict[str, str]:
    """Return assertions that break parsers, by name."""

    def signed(payload: bytes) -> str:
        return jws.sign(key, {"typ": "JWT"}, payload)

    def replaced(**changes: str) -> str:
        text = json.dumps(claims)[:-1]
        return signed(
            (text + "".join(f',"{name}":{value}' for name, value in changes.items()) + "}").encode()
        )

    without = {name: value for name, value in claims.items() if name not in ("exp", "nbf")}
    text = json.dumps(without)[:-1]
    honest = signed(json.dumps(claims).encode())
    head, body, signature = honest.split(".")
    return {
        "empty": ".",
        "dots": "...",
        "one part": head,
        "two parts": f"{head}.{body}",
        "four parts": f"{honest}.x",
        "five parts": f"{head}..{body}.{signature}.x",
        "no base64": "!!!.???.***",
        "padded": f"{head}==.{body}.{signature}",
        "spaces": f" {honest} ",
        "line feed": f"{honest}\n",
        "header no JSON": f"{b64encode(b'{')}.{body}.{signature}",
        "header a list": f"{b64encode(b'[]')}.{body}.{signature}",
        "header a number": f"{b64encode(b'7')}.{body}.{signature}",
        "header alg a list": f"{LISTED_ALGORITHMS}.{body}.{signature}",
        "header 700 kB": f"{'A' * 700_000}.{body}.{signature}",
        "claims a list": signed(b"[]"),
        "claims a text": signed(b'"text"'),
        "claims empty": signed(b""),
        "claims no UTF-8": signed(b'{"sub":"\xff\xfe"}'),
        "claims 100,000 deep": signed(b'{"a":' + b"[" * 4000 + b"]" * 4000 + b"}"),
        "claims twice": replaced(sub='"other"'),
        "exp of 5,000 digits": signed((text + f',"exp":{"9" * 5000}}}').encode()),
        "exp NaN": signed((text + ',"exp":NaN}').encode()),
        "exp infinite": signed((text + ',"exp":1e999}').encode()),
        "exp a text": signed((text + ',"exp":"4000000000"}').encode()),
        "exp true": signed((text + ',"exp":true}').encode()),
        "lone surrogate": signed(
            (text.replace('"once"', '"\\ud800"') + f',"exp":{claims["exp"]}}}').encode()
        ),
        "jti a number": signed(json.dumps(claims | {"jti": 7}).encode()),
        "aud a dictionary": signed(json.dumps(claims | {"aud": {"a": 1}}).encode()),
    }


async def test_ca_06_malformed_assertions_are_refused_without_harm(server: Server) -> None:
    key = jwk.generate("ES256")
    client_id = (await by_key(server, key)).client.client_id
    for name, token in malformed(key, claims_for(server, client_id)).items():
        answer = await server.http.post("/token", data=sent(token))
        assert answer.status_code in (400, 401, 413, 429), name
        assert "access_token" not in answer.text, name
    assert (await server.http.post("/token", data=assertion(server, key, client_id))).status_code == 200


async def test_ca_07_a_client_with_a_key_is_believed_by_its_key_alone(server: Server) -> None:
    key = jwk.generate("ES256")
    client_id = (await by_key(server, key)).client.client_id
    with_secret = await server.client(name="with a secret")
    other = (await by_key(server, jwk.generate("ES256"), name="other")).client.client_id
    honest = assertion(server, key, client_id)
    assert (await server.http.post("/token", data=honest)).status_code == 200
    for secret in ("", "anything", with_secret.client_secret or ""):
        in_body = FORM | {"client_id": client_id, "client_secret": secret}
        await is_refused(server, in_body)
        headers = header_of(client_id, secret)
        assert (await server.http.post("/token", data=FORM, headers=headers)).status_code == 401
    await is_refused(server, FORM | {"client_id": client_id})
    await is_refused(server, assertion(server, key, client_id) | {"client_id": other})
    await is_refused(server, assertion(server, key, other))
    await is_refused(server, assertion(server, key, with_secret.client.client_id))
    for kind in ("", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", ASSERTION + " ", "jwt"):
        await is_refused(server, assertion(server, key, client_id) | {"client_assertion_type": kind})
    both = assertion(server, key, client_id) | {"client_secret": "x"}
    await is_refused(server, both, 400)


async def test_cl_07_a_key_that_a_client_gave_up_proves_nothing_any_more(
    server: Server, documents: Documents
) -> None:
    old, new = jwk.generate("ES256"), jwk.generate("ES256")
    client = await by_key(server, old)
    client_id = client.client.client_id
    assert (await server.http.post("/token", data=assertion(server, old, client_id))).status_code == 200
    keys: dict[str, object] = {"keys": [jwk.public_document(new)]}
    given = msgspec.structs.replace(client_registry.to_input(client.client), jwks=keys)
    await client_registry.change(server.runtime, client_id, given, expected_version=None, actor="test")
    await is_refused(server, assertion(server, old, client_id))
    assert (await server.http.post("/token", data=assertion(server, new, client_id))).status_code == 200


async def test_cl_07_a_key_removed_from_jwks_uri_ends_with_the_cache(
    tmp_path: Any, documents: Documents
) -> None:
    old, new = jwk.generate("ES256"), jwk.generate("ES256")
    async with open_server(tmp_path, fetch_allow_loopback=True) as server:
        address = documents.publish("/keys", {"keys": [jwk.public_document(old)]})
        client_id = (await by_key(server, old, jwks_uri=address)).client.client_id
        assert (await server.http.post("/token", data=assertion(server, old, client_id))).status_code == 200
        documents.publish("/keys", {"keys": [jwk.public_document(new)]})
        server.clock.advance(301)
        await is_refused(server, assertion(server, old, client_id))
        assert (await server.http.post("/token", data=assertion(server, new, client_id))).status_code == 200


BAD_ANSWERS: dict[str, tuple[int, tuple[str, ...], bytes]] = {
    "to loopback": (302, ("location: http://127.0.0.1:1/keys",), b""),
    "to itself": (307, ("location: /keys",), b""),
    "HTML": (200, ("content-type: text/html",), b"<html></html>"),
    "too large": (200, ("content-type: application/json",), b'{"keys":[' + b" " * 200_000 + b"]}"),
    "10,000 keys": (
        200,
        ("content-type: application/json",),
        json.dumps({"keys": [{"kty": "EC"}] * 10_000}).encode(),
    ),
    "101 keys": (200, ("content-type: application/json",), json.dumps({"keys": [{}] * 101}).encode()),
    "no JSON": (200, ("content-type: application/json",), b"{"),
    "a list": (200, ("content-type: application/json",), b"[]"),
    "an error": (500, ("content-type: application/json",), b"{}"),
    "compressed": (200, ("content-type: application/json", "content-encoding: gzip"), b"\x1f\x8b"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_cl_08_a_hostile_jwks_uri_gets_nobody_in(
    tmp_path: Any, documents: Documents, name: str
) -> None:
    key = jwk.generate("ES256")
    async with open_server(tmp_path, fetch_allow_loopback=True) as server:
        good = documents.publish("/good", {"keys": [jwk.public_document(key)]})
        honest = (await by_key(server, key, jwks_uri=good)).client.client_id
        assert (await server.http.post("/token", data=assertion(server, key, honest))).status_code == 200
        documents.published["/keys"] = BAD_ANSWERS[name]
        bad = (await by_key(server, key, jwks_uri=documents.base + "/keys")).client.client_id
        for _ in range(3):
            await is_refused(server, assertion(server, key, bad))
        assert documents.asked["/keys"] == 1, "a failure is remembered, and nothing is followed"


async def test_cl_08_a_client_has_no_more_keys_than_can_be_tried(tmp_path: Any, documents: Documents) -> None:
    # An assertion that names no key is tried with each: whoever sends it pays nothing.
    key = jwk.generate("ES256")
    several = [jwk.public_document(jwk.generate("EdDSA")) for _ in range(20)]
    async with open_server(tmp_path, fetch_allow_loopback=True, registration="open") as server:
        for others, status, registered in ((several[:19], 200, 201), (several, 401, 400)):
            jwks = {"keys": [*others, jwk.public_document(key)]}
            address = documents.publish(f"/{len(others)}", jwks)
            client_id = (await by_key(server, key, jwks_uri=address)).client.client_id
            answer = await server.http.post("/token", data=assertion(server, key, client_id))
            assert answer.status_code == status
            stated = {"redirect_uris": ["https://app.example.com/cb"], "jwks": jwks}
            assert (await server.http.post("/register", json=stated)).status_code == registered
