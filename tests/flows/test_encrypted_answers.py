"""Answers signed and encrypted as a client registered."""

import json
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from tests.fixtures.answers import account, claims_of, opened, server, userinfo
from tests.fixtures.code_flow import obtain_code, redeem, register
from tests.fixtures.documents import Documents
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic

from watchword.flows.clients.client_registry import Registered
from watchword.jose import jwk, jwt
from watchword.oauth.errors import OAuthError

__all__ = ["server"]


SIGNED = "application/token-introspection+jwt"


KEYS: dict[str, Any] = {
    "RSA": RSAKey.generate_key(2048),
    "EC": ECKey.generate_key("P-256"),
    "OKP": OKPKey.generate_key("X25519"),
}


ENCRYPTIONS = [
    ("RSA", "RSA-OAEP-256", None, "A128CBC-HS256"),
    ("RSA", "RSA-OAEP-256", "A256GCM", "A256GCM"),
    ("EC", "ECDH-ES", "A128GCM", "A128GCM"),
    ("EC", "ECDH-ES+A128KW", "A256GCM", "A256GCM"),
    ("OKP", "ECDH-ES+A256KW", "A128CBC-HS256", "A128CBC-HS256"),
]


@pytest.mark.parametrize(
    ("kind", "alg", "enc", "effective"), ENCRYPTIONS, ids=[f"{one[1]} {one[3]}" for one in ENCRYPTIONS]
)
async def test_id_tokens_and_userinfo_are_encrypted_where_a_client_asks(
    server: Server, kind: str, alg: str, enc: str | None, effective: str
) -> None:
    key = KEYS[kind]
    public = {**key.as_dict(private=False), "use": "enc", "kid": "k"}
    asked: dict[str, Any] = {"jwks": {"keys": [public]}, "userinfo_signed_response_alg": "EdDSA"}
    for what in ("id_token", "userinfo"):
        asked |= {f"{what}_encrypted_response_alg": alg, f"{what}_encrypted_response_enc": enc}
    client = await register(server, **asked)
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    header, content = opened(tokens["id_token"], key, alg, effective)
    assert (header["cty"], header["kid"]) == ("JWT", "k"), "RFC 7519 §5.2: signed first, then encrypted"
    said = await claims_of(server, content.decode())
    assert said["nonce"] == "n-1"
    answer = await userinfo(server, tokens["access_token"])
    assert answer.headers["content-type"] == "application/jwt"
    _, signed = opened(answer.text, key, alg, effective)
    told = await claims_of(server, signed.decode())
    assert told["sub"] == said["sub"]
    assert told["aud"] == client.client.client_id
    assert jwt.jws.peek(signed.decode()).alg == "EdDSA"


async def test_userinfo_may_be_encrypted_without_a_signature(server: Server) -> None:
    key = KEYS["EC"]
    client = await register(
        server, jwks={"keys": [key.as_dict(private=False)]}, userinfo_encrypted_response_alg="ECDH-ES"
    )
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    _, content = opened(
        (await userinfo(server, tokens["access_token"])).text, key, "ECDH-ES", "A128CBC-HS256"
    )
    assert json.loads(content) == {"sub": await account(server)}


@pytest.mark.parametrize("alg", ["ES256", "EdDSA", "RS256"])
async def test_each_answer_is_signed_by_the_algorithm_that_its_client_registered(
    server: Server, alg: str
) -> None:
    wanted = {f"{kind}_signed_response_alg": alg for kind in ("id_token", "userinfo", "introspection")}
    client = await register(server, **wanted, scope="openid profile orders:read introspect")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    info = await userinfo(server, tokens["access_token"])
    headers = {"authorization": basic(client), "accept": SIGNED}
    about = await server.http.post("/introspect", data={"token": tokens["access_token"]}, headers=headers)
    assert about.headers["content-type"] == SIGNED
    found = {jwt.jws.peek(token).alg for token in (tokens["id_token"], info.text, about.text)}
    assert found == {alg}
    assert (await claims_of(server, info.text))["aud"] == client.client.client_id


async def test_a_key_that_cannot_be_had_costs_nobody_a_code(server: Server, documents: Documents) -> None:
    key = KEYS["EC"]
    uri = documents.publish("/keys", {"keys": []})
    client = await register(server, jwks_uri=uri, id_token_encrypted_response_alg="ECDH-ES")
    code = (await obtain_code(server, client))["code"]
    refused = await redeem(server, client, code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    documents.publish("/keys", {"keys": [key.as_dict(private=False)]})
    server.clock.advance(40)
    server.runtime.client_keys.clear()
    tokens = await redeem(server, client, code)
    assert tokens.status_code == 200, "the code was not used up"
    assert opened(tokens.json()["id_token"], key, "ECDH-ES", "A128CBC-HS256")[1].count(b".") == 2


@in_turn(
    "changes",
    [
        {"id_token_signed_response_alg": "none"},
        {"id_token_signed_response_alg": "HS256"},
        {"userinfo_signed_response_alg": "PS256"},
        {"id_token_encrypted_response_alg": "RSA1_5"},
        {"id_token_encrypted_response_alg": "RSA-OAEP"},
        {"id_token_encrypted_response_alg": "dir"},
        {"id_token_encrypted_response_alg": "ECDH-ES", "id_token_encrypted_response_enc": "A192GCM"},
        {"id_token_encrypted_response_alg": "RSA-OAEP-256"},
        {"introspection_encrypted_response_enc": "A128GCM"},
        {
            "security_profile": "fapi2",
            "token_endpoint_auth_method": "private_key_jwt",
            "id_token_signed_response_alg": "RS256",
        },
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
async def test_what_the_server_does_not_do_is_not_registered(server: Server, changes: dict[str, Any]) -> None:
    keys = [KEYS["EC"].as_dict(private=False) | {"use": "enc"}, jwk.public_document(jwk.generate("ES256"))]
    honest: dict[str, Any] = {"jwks": {"keys": keys}, "id_token_encrypted_response_alg": "ECDH-ES"}
    assert (await register(server, **honest)).client.jwks is not None
    with pytest.raises(OAuthError) as refused:
        await register(server, **honest | changes)
    assert refused.value.code == "invalid_client_metadata"
    assert refused.value.field


async def test_a_client_whose_only_key_is_for_encryption_cannot_authenticate_by_key(server: Server) -> None:
    only = {"keys": [KEYS["RSA"].as_dict(private=False) | {"use": "enc"}]}
    assert await register(server, jwks=only, id_token_encrypted_response_alg="RSA-OAEP-256")
    with pytest.raises(OAuthError, match="verify a signature"):
        await register(server, jwks=only, token_endpoint_auth_method="private_key_jwt")


async def test_tk_12_a_signed_introspection_answer_tells_who_may_know(server: Server) -> None:
    key = KEYS["RSA"]
    issued_to = await server.client(name="holder", resources=["https://orders.example.com"])
    token = (await server.grant(issued_to)).json()["access_token"]
    resource = await server.client(
        name="orders", scope="introspect", resources=["https://orders.example.com"]
    )
    other = await server.client(name="other", scope="introspect", resources=["https://other.example.com"])
    sealed = await server.client(
        name="sealed",
        scope="introspect",
        resources=["https://orders.example.com"],
        jwks={"keys": [key.as_dict(private=False)]},
        introspection_encrypted_response_alg="RSA-OAEP-256",
    )

    async def ask(client: Registered, accept: str = SIGNED) -> httpx.Response:
        headers = {"authorization": basic(client), "accept": accept}
        return await server.http.post("/introspect", data={"token": token}, headers=headers)

    answer = await ask(resource)
    assert answer.headers["content-type"] == SIGNED
    assert answer.headers["cache-control"] == "no-store"
    said = await claims_of(server, answer.text, "token-introspection+jwt")
    assert said["aud"] == resource.client.client_id
    assert said["token_introspection"]["client_id"] == issued_to.client.client_id
    assert not {"sub", "exp", "scope"} & said.keys(), "RFC 9701 §8.1: it is no token"
    outside = await claims_of(server, (await ask(other)).text, "token-introspection+jwt")
    assert outside["token_introspection"] == {"active": False}, "TK-12"
    _, content = opened((await ask(sealed)).text, key, "RSA-OAEP-256", "A128CBC-HS256")
    inside = await claims_of(server, content.decode(), "token-introspection+jwt")
    assert inside["token_introspection"]["active"] is True
    for accept in ("application/json", "*/*", "application/token-introspection", "text/plain"):
        assert (await ask(resource, accept)).headers["content-type"] == "application/json"
    listed = await ask(resource, f"application/json;q=0.5, {SIGNED.upper()};q=0.9")
    assert listed.headers["content-type"] == SIGNED
    for rather_json in (f"{SIGNED};q=0, application/json", f"{SIGNED}; q=0.1, application/json; q=0.9"):
        assert (await ask(resource, rather_json)).headers["content-type"] == "application/json", rather_json
    replayed = {"authorization": f"Bearer {answer.text}"}
    assert (await server.http.get("/api/v1/clients", headers=replayed)).status_code == 401
