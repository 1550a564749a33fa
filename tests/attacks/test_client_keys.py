"""Clients that authenticate by a key under attack: assertions that lie, keys that were given up, documents that are hostile."""

import base64
import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.attacks.client_authentication import FORM, by_key, header_of
from tests.fixtures.documents import Documents
from tests.fixtures.servers import Server, open_server
from tests.flows.test_client_credentials import ASSERTION, assertion

from watchword.flows.clients import client_metadata, client_registry
from watchword.jose import jwk, jws
from watchword.jose.jwk import Key, b64encode


async def is_refused(server: Server, form: dict[str, str], *statuses: int) -> None:
    """Show that a token request fails as client authentication does."""
    answer = await server.http.post("/token", data=form)
    assert answer.status_code in (statuses or (401,)), answer.text
    assert answer.json()["error"] in ("invalid_client", "invalid_request")
    assert "access_token" not in answer.text


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
        await is_refused(server, sent(token))
    number = b64encode(b'{"alg":"ES256","kid":7}')
    await is_refused(server, sent(number + token[token.index(".") :]))
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
        assert answer.status_code in (400, 401, 429), name
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
    given = msgspec.structs.replace(client_metadata.to_input(client.client), jwks=keys)
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


async def test_a_client_whose_keys_cannot_be_reached_goes_on_by_its_last_ones(
    tmp_path: Any, documents: Documents
) -> None:
    known, other = jwk.generate("ES256"), jwk.generate("ES256")
    async with open_server(tmp_path, fetch_allow_loopback=True) as server:
        address = documents.publish("/keys", {"keys": [jwk.public_document(known)]})
        client_id = (await by_key(server, known, jwks_uri=address)).client.client_id
        assert (await server.http.post("/token", data=assertion(server, known, client_id))).status_code == 200
        documents.published["/keys"] = BAD_ANSWERS["an error"]
        server.clock.advance(3600)
        assert (await server.http.post("/token", data=assertion(server, known, client_id))).status_code == 200
        unsure = await server.http.post("/token", data=assertion(server, other, client_id))
        assert (unsure.status_code, unsure.json()["error"]) == (503, "temporarily_unavailable"), (
            "it may be new"
        )
        assert int(unsure.headers["retry-after"]) > 0
        server.clock.advance(86_400)
        await is_refused(server, assertion(server, known, client_id))
        server.clock.advance(-30 * 86_400)
        await is_refused(server, assertion(server, known, client_id))


@pytest.mark.parametrize("step", [-3600, 301])
async def test_ck_01_a_new_key_is_found_whatever_the_clock_did_since_the_last_look(
    tmp_path: Any, documents: Documents, step: int
) -> None:
    old, new = jwk.generate("ES256", "old"), jwk.generate("ES256", "new")
    async with open_server(tmp_path, fetch_allow_loopback=True) as server:
        address = documents.publish("/keys", {"keys": [jwk.public_document(old)]})
        client_id = (await by_key(server, old, jwks_uri=address)).client.client_id
        assert (await server.http.post("/token", data=assertion(server, old, client_id))).status_code == 200
        documents.published["/keys"] = BAD_ANSWERS["an error"]
        server.clock.advance(31)
        assert (await server.http.post("/token", data=assertion(server, new, client_id))).status_code == 503
        documents.publish("/keys", {"keys": [jwk.public_document(new)]})
        server.clock.advance(step)
        assert (await server.http.post("/token", data=assertion(server, new, client_id))).status_code == 200


async def test_cl_08_signatures_of_strangers_make_the_server_ask_for_keys_seldom(
    tmp_path: Any, documents: Documents
) -> None:
    known, strange = jwk.generate("ES256", "known"), jwk.generate("ES256", "strange")
    async with open_server(tmp_path, fetch_allow_loopback=True) as server:
        address = documents.publish("/keys", {"keys": [jwk.public_document(known)]})
        client_id = (await by_key(server, known, jwks_uri=address)).client.client_id
        for step, times in ((0, 1), (29, 1), (2, 2), (29, 2), (200, 3)):
            server.clock.advance(step)
            for _ in range(3):
                await is_refused(server, assertion(server, strange, client_id))
                honest = await server.http.post("/token", data=assertion(server, known, client_id))
                assert honest.status_code == 200
            assert documents.asked["/keys"] == times, "half a minute apart"


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
    "gone": (404, ("content-type: application/json",), b"{}"),
    "compressed": (200, ("content-type: application/json", "content-encoding: gzip"), b"\x1f\x8b"),
}


@pytest.mark.parametrize("name", sorted(BAD_ANSWERS.keys() - {"an error"}))
async def test_cl_07_a_client_whose_address_answers_something_else_has_no_keys_any_more(
    tmp_path: Any, documents: Documents, name: str
) -> None:
    """That is no outage: whoever took the keys away, or put something in their place, is believed, with every request alike."""
    known = jwk.generate("ES256")
    async with open_server(tmp_path, fetch_allow_loopback=True) as server:
        address = documents.publish("/keys", {"keys": [jwk.public_document(known)]})
        client_id = (await by_key(server, known, jwks_uri=address)).client.client_id
        assert (await server.http.post("/token", data=assertion(server, known, client_id))).status_code == 200
        documents.published["/keys"] = BAD_ANSWERS[name]
        server.clock.advance(301)
        for _ in range(3):
            await is_refused(server, assertion(server, known, client_id))
        documents.published["/keys"] = BAD_ANSWERS["an error"]
        server.clock.advance(31)
        await is_refused(server, assertion(server, known, client_id))
        documents.publish("/keys", {"keys": [jwk.public_document(known)]})
        server.clock.advance(31)
        assert (await server.http.post("/token", data=assertion(server, known, client_id))).status_code == 200


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
