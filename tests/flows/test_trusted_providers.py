"""ID-JAG: a provider that an enterprise trusts speaks for its people; and what it must not say."""

import os
from typing import Any

import httpx
from tests.fixtures.accounts import user_of
from tests.fixtures.servers import Server, refusal, together
from tests.fixtures.trusted_issuers import (
    GRANT,
    KEY,
    MCP,
    OTHER,
    PROVIDER,
    ada,
    look,
    people,
    present,
    prove_and_present,
    register,
    server,
)
from tests.flows.test_first_sign_in import PASSWORD

from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import accounts
from watchword.flows.users import people as people_flow
from watchword.flows.users.people import Changes
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.store.database import Transaction

__all__ = ["server"]


async def agent(server: Server, **given: Any) -> Registered:
    """Register an MCP client."""
    return await register(
        server, **{"name": "agent", "scope": "read write admin", "resources": [MCP]} | given
    )


def speaks_of(
    server: Server, client: Registered, *, key: Key = KEY, typ: str = "oauth-id-jag+jwt", **changes: Any
) -> str:
    """Return an identity assertion of the enterprise's provider."""
    kept = {name: value for name, value in (claims_of(server, client) | changes).items() if value is not None}
    return jwt.encode(key, kept, typ=typ)


def claims_of(server: Server, client: Registered) -> dict[str, object]:
    """Return what an identity assertion says."""
    now = int(server.clock())
    return {
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
    ("of an address that the provider calls unverified", {"email_verified": False}),
]


async def test_an_identity_assertion_is_refused(server: Server) -> None:
    honest, client = await agent(server), await agent(server)
    await ada(server)
    await people(server, clients=[honest.client.client_id], name="honest", scope="read")
    await people(server, clients=[client.client.client_id])
    for name, changes in PERSON_WRONG:
        elsewhere = speaks_of(server, client, **changes)
        assert refusal(await present(server, client, elsewhere)) == (400, "invalid_grant"), name
    assert (await present(server, honest, speaks_of(server, honest))).status_code == 200


async def test_an_identity_assertion_is_signed_with_an_algorithm_of_its_rule(server: Server) -> None:
    client = await agent(server)
    await ada(server)
    await people(server, name="another", algorithms=["RS256"])
    assert refusal(await present(server, client, speaks_of(server, client))) == (400, "invalid_grant")
    await people(server, algorithms=["ES256"])
    assert (await present(server, client, speaks_of(server, client))).status_code == 200


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


async def test_a_slash_for_an_empty_path_names_the_same_resource_in_an_assertion(server: Server) -> None:
    client = await agent(server)
    await ada(server)
    await people(server)
    answer = await present(server, client, speaks_of(server, client, resource=f"{MCP}/"), resource=f"{MCP}/")
    assert (await look(server, client, answer.json()["access_token"]))["aud"] == MCP
    other = await present(server, client, speaks_of(server, client, resource=f"{MCP}/mcp/"))
    assert refusal(other) == (400, "invalid_target")


async def test_a_public_client_cannot_present_an_identity_assertion(server: Server) -> None:
    client = await agent(server, token_endpoint_auth_method="none")
    await ada(server)
    await people(server)
    form = {"client_id": client.client.client_id, "grant_type": GRANT}
    form |= {"assertion": speaks_of(server, client)}
    assert refusal(await server.http.post("/token", data=form)) == (400, "unauthorized_client")
    confidential = await agent(server)
    assert (await present(server, confidential, speaks_of(server, confidential))).status_code == 200


async def test_an_identity_assertion_that_is_bound_to_a_key_is_for_its_holder(server: Server) -> None:
    client, key = await agent(server), jwk.generate("ES256")
    await ada(server)
    await people(server)
    cnf = {"jkt": key.thumbprint}
    honest = await prove_and_present(server, client, speaks_of(server, client, cnf=cnf), key)
    assert honest.json()["token_type"] == "DPoP"
    assert (await look(server, client, honest.json()["access_token"]))["cnf"] == cnf
    stolen = await present(server, client, speaks_of(server, client, cnf=cnf))
    assert refusal(stolen) == (400, "invalid_grant")
    other = await prove_and_present(server, client, speaks_of(server, client, cnf=cnf), jwk.generate("ES256"))
    assert refusal(other) == (400, "invalid_grant")
    for unknown in ({"x5t#S256": key.thumbprint}, {**cnf, "kid": "1"}, {}, "all", None):
        bound = jwt.encode(KEY, {**claims_of(server, client), "cnf": unknown}, typ="oauth-id-jag+jwt")
        assert refusal(await prove_and_present(server, client, bound, key)) == (400, "invalid_grant"), unknown


async def test_of_two_rules_for_one_provider_the_one_for_the_address_counts(server: Server) -> None:
    client, ada_id = await agent(server), await ada(server)
    bob = await accounts.create(
        server.runtime, username="bob", email="bob@corp.example", password=PASSWORD, actor="test"
    )
    await people_flow.change(server.runtime, bob, Changes(email_verified=True), actor="test")
    await people(server, scope="read")
    await people(server, name="corp", scope="read write", email_domains=["Corp.Example"])

    async def worth(**changes: str) -> tuple[str, str]:
        answer = (await present(server, client, speaks_of(server, client, **changes))).json()
        return (await look(server, client, answer["access_token"]))["sub"], answer["scope"]

    of_bob = {"sub": "u2", "email": "bob@corp.example"}
    for _ in ("found by the address", "known by the subject"):
        assert await worth() == (ada_id, "read")
        assert await worth(**of_bob) == (bob.id, "read write")
    nobody = speaks_of(server, client, sub="u3", email="eve@else.example")
    assert refusal(await present(server, client, nobody)) == (400, "invalid_grant")


async def test_nobody_comes_under_another_rule_by_an_address_that_is_given_up(server: Server) -> None:
    client = await agent(server)
    await ada(server)
    await people(server, name="corp", scope="read write", email_domains=["corp.example"])
    await people(server, scope="read")

    async def worth(**changes: object) -> httpx.Response:
        return await present(server, client, speaks_of(server, client, **changes))

    assert (await worth()).json()["scope"] == "read"
    for given_up in ({"email": None}, {"email_verified": False}, {"email": "ada@else.example"}):
        assert (await worth(**given_up)).json()["scope"] == "read", given_up
    moved = Changes(email="ada@else.example", email_verified=True)
    await people_flow.change(server.runtime, await user_of(server), moved, actor="test")
    assert (await worth()).json()["scope"] == "read"
    assert refusal(await worth(email_verified=False)) == (400, "invalid_grant")
    back = Changes(email="ada@corp.example", email_verified=False)
    await people_flow.change(server.runtime, await user_of(server), back, actor="test")
    assert refusal(await worth(email=None)) == (400, "invalid_grant"), "an address that nobody verified here"


async def test_of_two_rules_for_one_provider_with_keys_of_their_own_each_counts(server: Server) -> None:
    client, ada_id = await agent(server), await ada(server)
    await people(server, name="before", jwks={"keys": [jwk.public_document(OTHER)]})
    await people(server, name="now")
    for key in (KEY, OTHER):
        answer = (await present(server, client, speaks_of(server, client, key=key))).json()
        assert (await look(server, client, answer["access_token"]))["sub"] == ada_id
    strange = speaks_of(server, client, key=jwk.generate("ES256"))
    assert refusal(await present(server, client, strange)) == (400, "invalid_grant")
