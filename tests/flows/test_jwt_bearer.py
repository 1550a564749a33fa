"""RFC 7523 §2.1: an outside issuer's assertion becomes a token by rules of trust; and what must not become one."""

import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.fixtures.documents import Documents
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, basic, open_server, together
from tests.flows.test_authorization_code import PASSWORD

from watchword.flows import accounts, trust_rules
from watchword.flows.client_registry import Registered
from watchword.flows.trust_rules import TrustInput
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.oauth.errors import OAuthError
from watchword.store.database import Transaction
from watchword.store.trust import Rule

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CI, PROVIDER = "https://ci.example", "https://idp.example"
MCP = "https://mcp.example"
KEY, OTHER = jwk.generate("ES256"), jwk.generate("ES256")
JWKS = {"keys": [jwk.public_document(KEY)]}
NONE = "eyJhbGciOiJub25lIn0."


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The real application that may fetch from loopback addresses."""
    options: dict[str, Any] = {"database": store.address, "key_file": str(tmp_path / "key")}
    async with open_server(tmp_path, fetch_allow_loopback=True, **options) as opened:
        yield opened


async def register(server: Server, **given: Any) -> Registered:
    """Register the client that a CI job's program is."""
    wanted: dict[str, Any] = {"name": "ci", "grant_types": ["jwt_bearer"], "scope": "deploy read"}
    return await server.client(**wanted | given)


async def trust(server: Server, **given: Any) -> Rule:
    """Trust the jobs of one repository's main branch."""
    wanted: dict[str, Any] = {
        "name": "deploy",
        "issuer": CI,
        "scope": "deploy read",
        "subject": "ci:{repository}",
        "claims": {"repository": "acme/*", "ref": "refs/heads/main"},
        "jwks": JWKS,
    }
    return await trust_rules.create(server.runtime, TrustInput(**wanted | given), actor="test")


def claims_of(server: Server, **changes: Any) -> dict[str, object]:
    """Return what a job's identity token says, some claims changed or left out where None."""
    now = int(server.clock())
    claims: dict[str, object] = {
        "iss": CI,
        "sub": "repo:acme/app:ref:refs/heads/main",
        "aud": server.settings.issuer,
        "iat": now,
        "exp": now + 300,
        "jti": os.urandom(8).hex(),
        "repository": "acme/app",
        "ref": "refs/heads/main",
        "run_id": "17",
    }
    return {name: value for name, value in (claims | changes).items() if value is not None}


def identity(server: Server, *, key: Key = KEY, typ: str | None = "JWT", **changes: Any) -> str:
    """Return a job's identity token."""
    return jwt.encode(key, claims_of(server, **changes), typ=typ)


async def present(server: Server, client: Registered, assertion: str, **form: str) -> httpx.Response:
    """Present an assertion."""
    return await server.post("/token", client, grant_type=GRANT, assertion=assertion, **form)


async def look(server: Server, client: Registered, token: str) -> dict[str, Any]:
    """Introspect a token as the client that it was issued to."""
    document: dict[str, Any] = (await server.post("/introspect", client, token=token)).json()
    return document


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Return status and error."""
    return answer.status_code, answer.json()["error"]


async def events(server: Server, name: str) -> list[Any]:
    """Return the audit events of a name."""

    async def read(tx: Transaction) -> Any:
        return await tx.all("SELECT actor, target, data FROM events WHERE name = $1", name)

    return [
        (row["actor"], row["target"], json.loads(row["data"]))
        for row in await server.runtime.database.read(read)
    ]


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_a_jobs_identity_token_becomes_a_short_lived_scoped_token(
    server: Server, token_format: str
) -> None:
    client, rule = await register(server, access_token_format=token_format), await trust(server)
    metadata = (await server.http.get("/.well-known/oauth-authorization-server")).json()
    assert GRANT in metadata["grant_types_supported"]
    document = (await present(server, client, identity(server), scope="deploy")).json()
    assert (document["scope"], document["expires_in"]) == ("deploy", 600)
    assert "refresh_token" not in document
    claims = await look(server, client, document["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("ci:acme/app", client.client.client_id)
    assert claims["aud"] == server.settings.issuer
    ((actor, target, data),) = await events(server, "assertion.accepted")
    assert (actor, target) == (client.client.client_id, rule.id)
    assert (data["subject"], data["scope"]) == ("ci:acme/app", "deploy")
    await trust_rules.delete(server.runtime, "deploy", actor="test")
    assert await look(server, client, document["access_token"]) == {"active": False}, "the rule is gone"
    assert refusal(await present(server, client, identity(server))) == (400, "invalid_grant")


async def test_a_program_without_a_secret_may_present_it(server: Server) -> None:
    client = await register(server, token_endpoint_auth_method="none")
    await trust(server)
    form = {"client_id": client.client.client_id, "grant_type": GRANT, "assertion": identity(server)}
    assert (await server.http.post("/token", data=form)).status_code == 200


async def test_tk_15_an_assertion_works_once(server: Server) -> None:
    client, other = await register(server), await register(server)
    rule, assertion = await trust(server), identity(server)
    assert (await present(server, client, assertion)).status_code == 200
    assert refusal(await present(server, client, assertion)) == (400, "invalid_grant")
    assert refusal(await present(server, other, assertion)) == (400, "invalid_grant"), "by another client too"
    assert [(actor, target) for actor, target, _ in await events(server, "assertion.replayed")] == [
        (client.client.client_id, rule.id),
        (other.client.client_id, rule.id),
    ]


async def test_tk_15_of_ten_uses_over_two_nodes_one_gets_a_token(store: Store, tmp_path: Path) -> None:
    options = {"database": store.address, "key_file": str(tmp_path / "key")}
    async with open_server(tmp_path, **options) as one, open_server(tmp_path, **options) as two:
        client = await register(one, access_token_format="opaque")
        await trust(one)
        form = {"grant_type": GRANT, "assertion": identity(one)}
        headers = {"authorization": basic(client)}
        answers = await together(
            *((one, two)[n % 2].http.post("/token", data=form, headers=headers) for n in range(10))
        )
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("signed by another key", {"key": OTHER}),
    ("of an unknown issuer", {"iss": "https://evil.example"}),
    ("of nearly the issuer", {"iss": CI + "/"}),
    ("of no issuer", {"iss": None}),
    ("for another audience", {"aud": "https://other.example"}),
    ("for several audiences", {"aud": ["http://localhost", "https://other.example"]}),
    ("for nobody", {"aud": None}),
    ("expired", {"exp": 1_000}),
    ("that lives for a year", {"exp": 2**40}),
    ("that never expires", {"exp": None}),
    ("without jti", {"jti": None}),
    ("with an endless jti", {"jti": "x" * 5000}),
    ("about nobody", {"sub": None}),
    ("of another repository", {"repository": "evil/app"}),
    ("of a repository below", {"repository": "acme/app/../../evil"}),
    ("of another branch", {"ref": "refs/heads/main2"}),
    ("without the claim", {"ref": None}),
    ("whose claim is a number", {"repository": 7}),
    ("that is an access token", {"typ": "at+jwt"}),
    ("that is a proof of possession", {"typ": "dpop+jwt"}),
    ("that is an identity assertion", {"typ": "oauth-id-jag+jwt"}),
]


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[name for name, _ in WRONG])
async def test_tk_15_an_assertion_is_refused(server: Server, number: int) -> None:
    client = await register(server)
    await trust(server)
    assert (await present(server, client, identity(server))).status_code == 200
    answer = await present(server, client, identity(server, **WRONG[number][1]))
    assert refusal(answer) == (400, "invalid_grant")
    assert len(await events(server, "assertion.refused")) == 1


@pytest.mark.parametrize(
    "assertion",
    ["x", "a.b.c", NONE + "e30.", NONE, "." * 2, "é.é.é", "eyJ" + "A" * 60_000 + ".e30.x", "\x00"],
    ids=["text", "no base64", "alg none", "alg none, cut", "dots", "no ASCII", "huge", "NUL"],
)
async def test_mc_03_garbage_is_refused(server: Server, assertion: str) -> None:
    client = await register(server)
    await trust(server)
    answer = await present(server, client, assertion)
    assert answer.status_code == 400
    assert answer.json()["error"] in ("invalid_grant", "invalid_request")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"scope": "admin"}, "invalid_scope"),
        ({"scope": "read write"}, "invalid_scope"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
    ],
)
async def test_more_than_the_rule_gives_is_refused(server: Server, form: dict[str, str], error: str) -> None:
    client = await register(server, scope="deploy read write admin")
    await trust(server)
    assert (await present(server, client, identity(server))).json()["scope"] == "deploy read"
    assert refusal(await present(server, client, identity(server), **form)) == (400, error)


async def test_more_than_the_client_may_have_is_refused(server: Server) -> None:
    narrow, without = await register(server, scope="read"), await register(server, scope="other")
    await trust(server)
    assert (await present(server, narrow, identity(server))).json()["scope"] == "read"
    assert refusal(await present(server, narrow, identity(server), scope="deploy")) == (400, "invalid_scope")
    assert refusal(await present(server, without, identity(server))) == (400, "invalid_scope")


async def test_a_rule_may_be_for_some_clients_only(server: Server) -> None:
    mine, other = await register(server), await register(server)
    await trust(server, clients=[mine.client.client_id])
    assert (await present(server, mine, identity(server))).status_code == 200
    assert refusal(await present(server, other, identity(server))) == (400, "invalid_grant")


async def test_no_rule_is_satisfied_with_the_keys_of_another(server: Server) -> None:
    client = await register(server, scope="deploy read publish")
    await trust(server)
    weak = {"keys": [jwk.public_document(OTHER)]}
    await trust(server, name="weak", scope="read", jwks=weak, claims={"repository": "acme/*"})
    assert (await present(server, client, identity(server))).json()["scope"] == "deploy read"
    signed_by_weak = await present(server, client, identity(server, key=OTHER))
    assert signed_by_weak.json()["scope"] == "read"


async def test_keys_come_from_the_issuers_own_metadata(server: Server, documents: Documents) -> None:
    client = await register(server)
    issuer = documents.base
    documents.publish("/jwks", JWKS)
    discovery = "/.well-known/openid-configuration"
    documents.publish(discovery, {"issuer": issuer, "jwks_uri": issuer + "/jwks"})
    await trust(server, issuer=issuer, jwks=None)
    for _ in range(3):
        assert (await present(server, client, identity(server, iss=issuer))).status_code == 200
    assert documents.asked == {discovery: 1, "/jwks": 1}
    documents.publish("/jwks", {"keys": [jwk.public_document(OTHER)]})
    server.clock.advance(61)
    answer = await present(server, client, identity(server, iss=issuer, key=OTHER))
    assert answer.status_code == 200, "a rotation is noticed"
    refused = [await present(server, client, identity(server, iss=issuer)) for _ in range(5)]
    assert {answer.status_code for answer in refused} == {400}
    assert documents.asked["/jwks"] == 2, "an unknown key is looked for once a minute at most"


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://other.example", "jwks_uri": "{base}/jwks"},
        {"issuer": "{base}"},
        {"issuer": "{base}", "jwks_uri": 7},
        {"issuer": "{base}", "jwks_uri": "file:///etc/passwd"},
        {"issuer": "{base}", "jwks_uri": "http://10.0.0.1/jwks"},
        ["no object"],
    ],
    ids=["of another issuer", "without keys", "no address", "a file", "a private network", "no object"],
)
async def test_metadata_that_cannot_be_trusted_give_no_keys(
    server: Server, documents: Documents, metadata: Any
) -> None:
    client = await register(server)
    await trust(server)
    assert (await present(server, client, identity(server))).status_code == 200
    documents.publish("/jwks", JWKS)
    text = json.dumps(metadata).replace("{base}", documents.base)
    documents.publish("/.well-known/openid-configuration", text.encode())
    await trust(server, name="fetched", issuer=documents.base, jwks=None)
    answer = await present(server, client, identity(server, iss=documents.base))
    assert refusal(answer) == (503, "temporarily_unavailable")
    assert documents.asked["/jwks"] == 0


async def test_nothing_is_fetched_for_an_issuer_that_nobody_trusts(
    server: Server, documents: Documents
) -> None:
    client = await register(server)
    await trust(server)
    answer = await present(server, client, identity(server, iss=documents.base))
    assert refusal(answer) == (400, "invalid_grant")
    assert not documents.asked


UNSAFE: list[tuple[str, dict[str, Any]]] = [
    ("that matches everybody", {"claims": {}}),
    ("that only asks for a claim to exist", {"claims": {"repository": "**"}}),
    ("whose issuer is a pattern", {"claims": {"iss": "https://*"}}),
    ("without scope", {"scope": ""}),
    ("whose subject the issuer chooses", {"subject": "{sub}"}),
    ("whose subject could be an application of ours", {"subject": "application:{sub}"}),
    ("whose subject could be an account of ours", {"subject": "user_x:{sub}"}),
    ("whose subject could be a client by address", {"subject": "https://{sub}"}),
    ("without subject", {"subject": None}),
    ("of an algorithm that is none", {"algorithms": ["none"]}),
    ("of a shared secret", {"algorithms": ["HS256"]}),
    ("with both ways to keys", {"jwks_uri": "https://ci.example/jwks"}),
    ("with a private key", {"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}),
    ("without keys", {"jwks": {"keys": []}}),
    ("whose keys are on plain HTTP", {"jwks": None, "issuer": "http://ci.example"}),
    ("whose keys are in a file", {"jwks": None, "jwks_uri": "file:///etc/passwd"}),
    ("that trusts this server", {"issuer": "http://localhost"}),
    ("with a hostile name", {"name": "a\nb"}),
    ("whose resource is no address", {"resources": ["orders"]}),
    ("with addresses of people", {"email_domains": ["example.com"]}),
]


@pytest.mark.parametrize("number", range(len(UNSAFE)), ids=[name for name, _ in UNSAFE])
async def test_a_rule_is_refused(server: Server, number: int) -> None:
    await trust(server, name="sound")
    with pytest.raises(OAuthError):
        await trust(server, **UNSAFE[number][1])


async def test_a_name_is_given_once(server: Server) -> None:
    await trust(server)
    with pytest.raises(OAuthError, match="conflict"):
        await trust(server)


async def people(server: Server, **given: Any) -> Rule:
    """Trust an enterprise's provider for the people of its domain."""
    wanted: dict[str, Any] = {
        "name": "acme",
        "kind": "people",
        "issuer": PROVIDER,
        "scope": "read write",
        "email_domains": ["acme.example"],
        "resources": [MCP],
        "jwks": JWKS,
    }
    return await trust_rules.create(server.runtime, TrustInput(**wanted | given), actor="test")


async def agent(server: Server, **given: Any) -> Registered:
    """Register an MCP client."""
    return await register(
        server, **{"name": "agent", "scope": "read write admin", "resources": [MCP]} | given
    )


def speaks_of(
    server: Server, client: Registered, *, key: Key = KEY, typ: str = "oauth-id-jag+jwt", **changes: Any
) -> str:
    """Return an identity assertion of the enterprise's provider."""
    now = int(server.clock())
    claims: dict[str, object] = {
        "iss": PROVIDER,
        "sub": "u1",
        "aud": server.settings.issuer,
        "client_id": client.client.client_id,
        "jti": os.urandom(8).hex(),
        "iat": now,
        "exp": now + 300,
        "scope": "read write",
        "resource": MCP,
        "email": "Ada@acme.example",
    }
    kept = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(key, kept, typ=typ)


async def ada(server: Server, verified: bool = True) -> str:
    """Make an account whose address is proven; return its identifier."""
    user = await accounts.create(
        server.runtime, username="ada", email="ada@acme.example", password=PASSWORD, actor="test"
    )

    async def verify(tx: Transaction) -> None:
        await tx.run("UPDATE users SET email_verified_at = $1", 1 if verified else None)

    await server.runtime.database.write(verify)
    return user.id


async def test_an_enterprises_provider_speaks_for_its_people(server: Server) -> None:
    client, user_id = await agent(server), await ada(server)
    await people(server)
    metadata = (await server.http.get("/.well-known/oauth-authorization-server")).json()
    profile = "urn:ietf:params:oauth:grant-profile:id-jag"
    assert profile in metadata["authorization_grant_profiles_supported"]
    document = (await present(server, client, speaks_of(server, client), scope="read")).json()
    claims = await look(server, client, document["access_token"])
    assert (claims["sub"], claims["aud"], claims["scope"]) == (user_id, MCP, "read")
    moved = speaks_of(server, client, email="changed@acme.example")
    again = (await present(server, client, moved)).json()
    assert (await look(server, client, again["access_token"]))["sub"] == user_id, (
        "known by subject from now on"
    )
    stolen = speaks_of(server, client, sub="u2")
    assert refusal(await present(server, client, stolen)) == (400, "invalid_grant"), (
        "an account that is u1 there is not u2"
    )


PERSON_WRONG: list[tuple[str, dict[str, Any]]] = [
    ("of another key", {"key": OTHER}),
    ("of an unknown provider", {"iss": "https://evil.example"}),
    ("for another server", {"aud": "https://other.example"}),
    ("for another client", {"client_id": "other"}),
    ("for no client", {"client_id": None}),
    ("expired", {"exp": 1_000}),
    ("that lives for a year", {"exp": 2**40}),
    ("without jti", {"jti": None}),
    ("that is no identity assertion", {"typ": "JWT"}),
    ("of an address elsewhere", {"email": "ada@evil.example"}),
    ("of an address that only ends alike", {"email": "ada@evilacme.example"}),
    ("of nobody here", {"email": "eve@acme.example"}),
    ("without address", {"email": None}),
]


@pytest.mark.parametrize("number", range(len(PERSON_WRONG)), ids=[name for name, _ in PERSON_WRONG])
async def test_an_identity_assertion_is_refused(server: Server, number: int) -> None:
    honest, client = await agent(server), await agent(server)
    await ada(server)
    await people(server, clients=[honest.client.client_id], name="honest", scope="read")
    await people(server, clients=[client.client.client_id])
    elsewhere = speaks_of(server, client, **PERSON_WRONG[number][1])
    assert refusal(await present(server, client, elsewhere)) == (400, "invalid_grant")
    assert (await present(server, honest, speaks_of(server, honest))).status_code == 200


async def test_tk_15_a_disabled_or_unproven_account_gets_nothing(server: Server) -> None:
    client = await agent(server)
    await people(server)
    await ada(server, verified=False)
    assert refusal(await present(server, client, speaks_of(server, client))) == (400, "invalid_grant")

    async def change(tx: Transaction, column: str) -> None:
        await tx.run(f"UPDATE users SET {column} = 1")

    await server.runtime.database.write(change, "email_verified_at")
    token = (await present(server, client, speaks_of(server, client))).json()["access_token"]
    await server.runtime.database.write(change, "disabled_at")
    assert await look(server, client, token) == {"active": False}
    assert refusal(await present(server, client, speaks_of(server, client))) == (400, "invalid_grant")


async def test_an_identity_assertion_works_once(server: Server) -> None:
    client = await agent(server)
    await ada(server)
    await people(server)
    assertion = speaks_of(server, client)
    answers = await together(*(present(server, client, assertion) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 5


async def test_it_gives_neither_more_scope_nor_another_resource(server: Server) -> None:
    client = await agent(server)
    await ada(server)
    await people(server)
    wide = await present(server, client, speaks_of(server, client, scope="read admin"))
    assert wide.json()["scope"] == "read"
    elsewhere = speaks_of(server, client, resource="https://other.example")
    assert refusal(await present(server, client, elsewhere)) == (400, "invalid_target")
    more = await present(server, client, speaks_of(server, client, scope="read"), scope="read write")
    assert refusal(more) == (400, "invalid_scope")


async def test_people_who_have_no_account_here_get_a_subject_of_their_own(server: Server) -> None:
    client = await agent(server)
    await people(server, email_domains=[], subject="acme:{sub}")
    token = (await present(server, client, speaks_of(server, client))).json()["access_token"]
    assert (await look(server, client, token))["sub"] == "acme:u1"


async def test_a_public_client_cannot_present_an_identity_assertion(server: Server) -> None:
    client = await agent(server, token_endpoint_auth_method="none")
    await ada(server)
    await people(server)
    form = {"client_id": client.client.client_id, "grant_type": GRANT}
    form |= {"assertion": speaks_of(server, client)}
    assert refusal(await server.http.post("/token", data=form)) == (400, "unauthorized_client")
    confidential = await agent(server)
    assert (await present(server, confidential, speaks_of(server, confidential))).status_code == 200


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


@pytest.mark.parametrize("number", range(len(PEOPLE_UNSAFE)))
async def test_a_rule_for_people_is_refused(server: Server, number: int) -> None:
    await people(server, name="sound")
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
