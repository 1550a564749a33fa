"""Introspection and revocation: told to whom it concerns, plain to everybody else, final everywhere."""

from typing import Any

import pytest
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, basic

from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.clients.client_registry import Registered

INACTIVE = {"active": False}


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_a_revoked_token_is_dead_at_once(server: Server, token_format: str) -> None:
    client = await server.client(access_token_format=token_format)
    token = (await server.grant(client)).json()["access_token"]
    assert (await server.post("/introspect", client, token=token)).json()["active"] is True
    for hint in ("", "refresh_token", "no such kind"):
        revoked = await server.post("/revoke", client, token=token, token_type_hint=hint)
        assert (revoked.status_code, revoked.content) == (200, b""), "RV-03"
    assert "content-type" not in revoked.headers
    assert (await server.post("/introspect", client, token=token)).json() == INACTIVE, "IN-04"


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_a_client_cannot_revoke_what_is_not_its_own(server: Server, token_format: str) -> None:
    owner, thief = await server.client(access_token_format=token_format), await server.client()
    token = (await server.grant(owner)).json()["access_token"]
    assert (await server.post("/revoke", thief, token=token)).status_code == 200
    assert (await server.post("/introspect", owner, token=token)).json()["active"] is True
    await server.post("/revoke", owner, token=token)
    assert (await server.post("/introspect", owner, token=token)).json() == INACTIVE


async def test_a_client_revokes_an_api_token_of_its_own_and_no_other(server: Server) -> None:
    owner, thief = await server.client(), await server.client()
    token = await server.token(owner=owner.client.client_id)
    persons = await server.token(owner="reports")

    async def is_alive(secret: str) -> bool:
        headers = {"authorization": f"Bearer {secret}"}
        return (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200

    for client, secret, alive in (
        (thief, token.secret, True),
        (owner, persons.secret, True),
        (owner, token.secret, False),
    ):
        assert await is_alive(secret)
        assert (await server.post("/revoke", client, token=secret)).status_code == 200
        assert await is_alive(secret) is alive


async def test_in_01_a_client_that_proves_nothing_may_not_ask(server: Server) -> None:
    client = await server.client()
    public = await server.client(token_endpoint_auth_method="none", grant_types=["device_code"])
    token = (await server.grant(client)).json()["access_token"]
    assert (await server.post("/introspect", client, token=token)).json()["active"] is True
    for asked in (token, "anything"):
        answer = await server.post("/introspect", token=asked, client_id=public.client.client_id)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_only_the_resource_server_of_an_audience_learns_of_a_token(server: Server) -> None:
    issued = await server.client(resources=["https://api.example.com"])
    token = (await server.grant(issued)).json()["access_token"]
    right = await server.client(scope="introspect", resources=["https://api.example.com"])
    wrong = await server.client(scope="introspect", resources=["https://other.example.com"])
    plain = await server.client()
    assert (await server.post("/introspect", right, token=token)).json()["active"] is True
    assert (await server.post("/introspect", wrong, token=token)).json() == INACTIVE
    assert (await server.post("/introspect", plain, token=token)).json() == INACTIVE


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer bogus"}, {"authorization": "Basic bm9ib2R5OndoYXRldmVy"}],
    ids=["no credentials", "bogus bearer", "unknown client"],
)
async def test_in_01_an_unknown_caller_learns_nothing(server: Server, headers: dict[str, str]) -> None:
    client = await server.client()
    token = (await server.grant(client)).json()["access_token"]
    assert (await server.post("/introspect", client, token=token)).status_code == 200
    refused = await server.http.post("/introspect", data={"token": token}, headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    challenge = refused.headers.get("www-authenticate", "")
    assert challenge.startswith(headers.get("authorization", "").partition(" ")[0]), (
        "in the scheme that was tried"
    )


async def test_in_01_a_token_that_is_bound_to_a_key_proves_nobody_without_it(server: Server) -> None:
    about = await server.token()
    for bound, expected in (({}, 200), ({"jkt": "A" * 43}, 401)):
        judge = await server.token(scope="introspect", **bound)
        headers = {"authorization": f"Bearer {judge.secret}"}
        asked = await server.http.post("/introspect", data={"token": about.secret}, headers=headers)
        assert asked.status_code == expected
    assert (asked.json()["error"], asked.headers["www-authenticate"]) == (
        "invalid_client",
        'Bearer error="invalid_token"',
    )


@pytest.mark.parametrize("token", ["garbage", "a.b.c", "wwa_" + "0" * 36, "x" * 5000, "é"])
async def test_in_02_what_is_no_token_is_inactive_and_nothing_else(server: Server, token: str) -> None:
    client = await server.client(scope="introspect")
    answer = await server.post("/introspect", client, token=token)
    assert (answer.status_code, answer.json()) == (200, INACTIVE)


async def test_rv_01_revoking_what_is_no_token_is_no_error(server: Server) -> None:
    client = await server.client()
    assert (await server.post("/revoke", client, token="garbage")).status_code == 200
    missing = await server.post("/revoke", client)
    assert (missing.status_code, missing.json()["error"]) == (400, "invalid_request")


async def test_a_token_may_ask_about_itself(server: Server) -> None:
    token, other = await server.token(), await server.token()
    headers = {"authorization": f"Bearer {token.secret}"}
    said = await server.http.post("/introspect", data={"token": token.secret}, headers=headers)
    assert said.json()["scope"] == "orders:read"
    refused = await server.http.post("/introspect", data={"token": other.secret}, headers=headers)
    assert refused.status_code == 403


@in_turn("by", ["the API", "the token itself"])
@in_turn(
    "wrong",
    [
        {"resource": "https://other.example.com"},
        {"resource": "https://stranger.example.com"},
        {"address": "192.0.3.9"},
        {"path": "/customers"},
    ],
    ids=["an API of the caller's", "an API of somebody else's", "an address", "a path"],
)
async def test_an_api_token_is_active_only_for_the_use_that_is_named(
    server: Server, by: str, wrong: dict[str, str]
) -> None:
    token = await server.token(
        resource="https://api.example.com", path="/orders", addresses=["192.0.2.0/24"], scope="orders:read"
    )
    judge = await server.client(
        scope="introspect", resources=["https://api.example.com", "https://other.example.com"]
    )
    credential = basic(judge) if by == "the API" else f"Bearer {token.secret}"
    use = {"resource": "https://api.example.com", "address": "192.0.2.9", "path": "/orders/7"}

    async def is_active(form: dict[str, str]) -> bool:
        headers = {"authorization": credential}
        asked = {"token": token.secret, **form}
        answer = await server.http.post("/introspect", data=asked, headers=headers)
        assert answer.status_code == 200
        active: bool = answer.json()["active"]
        return active

    assert await is_active(use)
    assert not await is_active({**use, **wrong})


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_the_tokens_of_a_deleted_client_are_dead(server: Server, token_format: str) -> None:
    client = await server.client(access_token_format=token_format)
    judge = await server.client(scope="introspect")
    token = (await server.grant(client)).json()["access_token"]
    assert (await server.post("/introspect", judge, token=token)).json()["active"] is True
    await client_registry.delete(server.runtime, client.client.client_id, actor="test")
    assert (await server.post("/introspect", judge, token=token)).json() == INACTIVE, "AD-07"


async def test_an_expired_token_is_inactive(server: Server) -> None:
    client = await server.client()
    token = (await server.grant(client)).json()["access_token"]
    server.clock.advance(599)
    assert (await server.post("/introspect", client, token=token)).json()["active"] is True
    server.clock.advance(1)
    assert (await server.post("/introspect", client, token=token)).json() == INACTIVE


async def test_a_revoked_signing_key_kills_what_it_signed(server: Server) -> None:
    client = await server.client()
    token = (await server.grant(client)).json()["access_token"]
    assert (await server.post("/introspect", client, token=token)).json()["active"] is True
    keyring = server.runtime.keyring
    current = next(
        key.kid for key, state in await keyring.states() if state == "current" and key.algorithm == "ES256"
    )
    assert await keyring.revoke(current, actor="test")
    assert (await server.post("/introspect", client, token=token)).json() == INACTIVE, "KR-03"
    fresh = (await server.grant(client)).json()["access_token"]
    assert (await server.post("/introspect", client, token=fresh)).json()["active"] is True


async def test_ap_09_a_client_made_again_under_the_same_identifier_inherits_nothing(server: Server) -> None:
    given = ClientInput(name="first", scope="orders:read")
    await client_registry.register(server.runtime, given, actor="test", client_id="again")
    token = await server.token(owner="again")
    headers = {"authorization": f"Bearer {token.secret}"}
    assert (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200
    await client_registry.delete(server.runtime, "again", actor="test")
    await client_registry.register(server.runtime, given, actor="test", client_id="again")
    assert (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == 401


@pytest.mark.parametrize("token_format", ["jwt", "opaque"])
async def test_ap_09_access_tokens_of_a_client_that_was_deleted_are_dead_for_its_namesake(
    server: Server, token_format: Any
) -> None:
    async def register() -> Registered:
        given = ClientInput(name="again", scope="orders:read", access_token_format=token_format)
        return await client_registry.register(server.runtime, given, actor="test", client_id="again")

    first = await register()
    token = (await server.grant(first)).json()["access_token"]
    assert (await server.post("/introspect", first, token=token)).json()["active"] is True
    await client_registry.delete(server.runtime, "again", actor="test")
    second = await register()
    assert (await server.post("/introspect", second, token=token)).json() == INACTIVE
    server.clock.advance(2)
    fresh = (await server.grant(second)).json()["access_token"]
    assert (await server.post("/introspect", second, token=fresh)).json()["active"] is True
