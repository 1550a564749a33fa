"""Trust rules in outside issuers: which are refused, and how they are made, shown and ended."""

from typing import Any

import pytest
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, refusal
from tests.fixtures.trusted_issuers import (
    CI,
    JWKS,
    identity,
    people,
    present,
    register,
    server,
    trust,
)

from watchword.flows.trust import trust_rules
from watchword.jose import jwk
from watchword.oauth.errors import OAuthError

__all__ = ["server"]


UNSAFE: list[tuple[str, dict[str, Any]]] = [
    ("that matches everybody", {"claims": {}}),
    ("that only asks for a claim to exist", {"claims": {"repository": "**"}}),
    ("whose issuer is a pattern", {"claims": {"iss": "https://*"}}),
    ("without scope", {"scope": ""}),
    ("whose subject the issuer chooses", {"subject": "{sub}"}),
    ("whose subject could be an application of ours", {"subject": "application:{sub}"}),
    ("whose subject could be an account of ours", {"subject": "user_x:{sub}"}),
    ("whose subject could be a client of ours", {"subject": "client_x:{sub}"}),
    ("whose subject could be an application of ours in capitals", {"subject": "Application:{sub}"}),
    ("whose subject could be a client by address", {"subject": "https://{sub}"}),
    ("whose subject could be a client by an address in the clear", {"subject": "http://{sub}"}),
    ("without subject", {"subject": None}),
    ("of an algorithm that is none", {"algorithms": ["none"]}),
    ("of a shared secret", {"algorithms": ["HS256"]}),
    ("with both ways to keys", {"jwks_uri": "https://ci.example/jwks"}),
    ("with a private key", {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}),
    ("with a shared secret beside a key", {"jwks": {"keys": [*JWKS["keys"], {"kty": "oct", "k": "AAAA"}]}}),
    ("with both halves of a key", {"jwks": {"keys": [jwk.private_document(jwk.generate("ES256"))]}}),
    ("without keys", {"jwks": {"keys": []}}),
    ("whose keys are on plain HTTP", {"jwks": None, "issuer": "http://ci.example"}),
    ("whose keys are in a file", {"jwks": None, "jwks_uri": "file:///etc/passwd"}),
    ("that trusts this server", {"issuer": "http://localhost"}),
    ("with a hostile name", {"name": "a\nb"}),
    ("of an issuer with control characters", {"issuer": "https://ci.example\x1b[2K"}),
    ("for an audience with a line break", {"audience": "https://auth.example\n"}),
    ("for an audience with hidden characters", {"audience": "https://auth.example\u202e"}),
    ("for a client with control characters", {"clients": ["deploy\x1b[2K"]}),
    ("whose resource is no address", {"resources": ["orders"]}),
    ("with addresses of people", {"email_domains": ["example.com"]}),
]


@in_turn("number", range(len(UNSAFE)), ids=[name for name, _ in UNSAFE])
async def test_a_rule_is_refused(server: Server, number: int) -> None:
    await trust(server, name=f"sound {number}")
    with pytest.raises(OAuthError):
        await trust(server, **UNSAFE[number][1])


async def test_a_rule_knows_an_algorithm_by_either_name(server: Server) -> None:
    key = jwk.generate("EdDSA")
    client = await register(server)
    await trust(server, algorithms=["Ed25519"], jwks={"keys": [jwk.public_document(key), *JWKS["keys"]]})
    assert (await present(server, client, identity(server, key=key))).status_code == 200
    unknown = await present(server, client, identity(server))
    assert refusal(unknown) == (400, "invalid_grant"), "ES256 is not trusted"


async def test_an_identifier_means_its_rule_whatever_another_is_called(server: Server) -> None:
    first = await trust(server, name="first")
    for name in (first.id, "last"):
        await trust(server, name=name)
    assert (await trust_rules.show(server.runtime, first.id)).name == "first"
    assert (await trust_rules.delete(server.runtime, first.id, actor="test")).name == "first"
    assert (await trust_rules.show(server.runtime, first.id)).name == first.id


async def test_a_name_is_given_once(server: Server) -> None:
    await trust(server)
    with pytest.raises(OAuthError, match="conflict"):
        await trust(server)


PEOPLE_UNSAFE: list[dict[str, Any]] = [
    {"email_domains": []},
    {"subject": "acme:{sub}"},
    {"email_domains": ["not a domain"]},
    {"email_domains": [], "subject": "{sub}"},
    {"email_domains": [], "subject": "acme:{email}"},
    {"claims": {"a": "b"}},
    {"audience": "https://other.example"},
    {"scope": ""},
]


@in_turn("number", range(len(PEOPLE_UNSAFE)))
async def test_a_rule_for_people_is_refused(server: Server, number: int) -> None:
    await people(server, name=f"sound {number}")
    with pytest.raises(OAuthError):
        await people(server, **PEOPLE_UNSAFE[number])


async def test_the_admin_api_makes_shows_and_ends_rules(server: Server) -> None:
    admin = await server.token("watchword:trust:write watchword:trust:read", owner="operator")
    headers = {"authorization": f"Bearer {admin.secret}"}
    body = {
        "name": "deploy",
        "issuer": CI,
        "scope": "deploy",
        "subject": "ci:{repository}",
        "claims": {"repository": "acme/*"},
    }
    made = await server.http.post("/api/v1/trust", json=body, headers=headers)
    assert made.status_code == 201, made.text
    path = f"/api/v1/trust/{made.json()['id']}"
    assert (await server.http.get(path, headers=headers)).json()["claims"] == {"repository": "acme/*"}
    listed = (await server.http.get("/api/v1/trust", headers=headers)).json()
    assert [rule["name"] for rule in listed["rules"]] == ["deploy"]
    reserved = body | {"name": "power", "scope": "watchword:admin"}
    refused = await server.http.post("/api/v1/trust", json=reserved, headers=headers)
    assert refusal(refused) == (403, "insufficient_scope")
    other = await server.token("watchword:clients:write", owner="other")
    stranger = {"authorization": f"Bearer {other.secret}"}
    assert (await server.http.delete(path, headers=stranger)).status_code == 403
    assert (await server.http.delete(path, headers=headers)).status_code == 204
    assert (await server.http.get(path, headers=headers)).status_code == 404
