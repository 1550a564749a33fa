"""AP-04: a call of the admin API that was under way when its token ended changes nothing afterwards."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio
from tests.fixtures.accounts import EMAIL, another
from tests.fixtures.people import Person, letters
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.flows.test_first_sign_in import PASSWORD

from watchword.endpoints import admin_users
from watchword.flows import acting, api_tokens
from watchword.flows.clients import client_checks, client_metadata, client_registry
from watchword.flows.runtime import Runtime
from watchword.flows.users import account_changes, accounts, people
from watchword.flows.users.people import Changes
from watchword.oauth.clients import Client
from watchword.store import clients
from watchword.store.users import User

End = Callable[[], Awaitable[object]]
Held = Callable[[Server], Awaitable[tuple[str, End]]]
BY = "another administrator"


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application on each database, with an administrator and somebody else in it."""
    async with open_server(tmp_path, on=store.address, mode="development") as opened:
        for name, is_admin in (("eve", True), ("boss", True), ("kim", False)):
            more = {"email": EMAIL if name == "eve" else None, "email_verified": name == "eve"}
            await accounts.create(
                opened.runtime, username=name, password=PASSWORD, is_admin=is_admin, actor="test", **more
            )
        yield opened


async def revoked(server: Server) -> tuple[str, End]:
    token = await server.token(scope="watchword:admin")
    return token.secret, lambda: api_tokens.revoke(server.runtime, token.token.id, actor=BY)


async def rotated(server: Server) -> tuple[str, End]:
    token = await server.token(scope="watchword:admin")
    return token.secret, lambda: api_tokens.rotate(server.runtime, token.token.id, overlap=0, actor=BY)


async def of_nobody(server: Server) -> tuple[str, End]:
    token = await server.token(scope="watchword:admin", owner="eve")
    eve = await people.find(server.runtime, "eve")
    return token.secret, lambda: account_changes.set_disabled(server.runtime, eve, True, actor=BY)


async def of_a_former_administrator(server: Server) -> tuple[str, End]:
    token = await server.token(scope="watchword:admin", owner="eve")
    eve = await people.find(server.runtime, "eve")
    return token.secret, lambda: people.change(server.runtime, eve, Changes(is_admin=False), actor=BY)


async def _of_a_client(server: Server, token_format: str) -> tuple[str, End]:
    client = await server.client(
        scope="watchword:admin", access_token_format=token_format, resources=[server.settings.issuer]
    )
    token: str = (await server.grant(client)).json()["access_token"]
    return token, lambda: server.post("/revoke", client, token=token)


async def opaque(server: Server) -> tuple[str, End]:
    return await _of_a_client(server, "opaque")


async def self_contained(server: Server) -> tuple[str, End]:
    return await _of_a_client(server, "jwt")


async def of_a_disabled_client(server: Server) -> tuple[str, End]:
    client = await server.client(scope="watchword:admin", resources=[server.settings.issuer])
    given = client_metadata.to_input(client.client)
    token: str = (await server.grant(client)).json()["access_token"]

    async def disable_and_enable() -> None:
        for disabled in (True, False):
            await client_registry.change(
                server.runtime,
                client.client.client_id,
                given,
                expected_version=None,
                disabled=disabled,
                actor=BY,
            )

    return token, disable_and_enable


async def of_a_client_that_owns_it(server: Server) -> tuple[str, End]:
    client = (await server.client()).client
    token = await server.token(scope="watchword:admin", owner=client.client_id)
    given = client_metadata.to_input(client)
    return token.secret, lambda: client_registry.change(
        server.runtime, client.client_id, given, expected_version=None, disabled=True, actor=BY
    )


async def rename(server: Server, token: str, name: str) -> httpx.Response:
    """Give kim a name."""
    headers = {"authorization": f"Bearer {token}"}
    return await server.http.patch("/api/v1/users/kim", json={"display_name": name}, headers=headers)


@pytest.mark.parametrize(
    "held",
    [
        revoked,
        rotated,
        of_nobody,
        of_a_former_administrator,
        opaque,
        self_contained,
        of_a_disabled_client,
        of_a_client_that_owns_it,
    ],
)
async def test_ap_04_what_was_asked_for_by_a_token_does_not_happen_after_its_end(
    server: Server, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, end = await held(server)
    for _ in range(2):
        assert (await rename(server, token, "Kim")).status_code == 200, "the honest variant, more than once"
    find = people.find

    async def ended_just_now(runtime: Runtime, who: str) -> User:
        monkeypatch.undo()
        found = await find(runtime, who)
        await end()
        return found

    monkeypatch.setattr(admin_users.people, "find", ended_just_now)
    refused = await rename(server, token, "Late")
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_token")
    assert "invalid_token" in refused.headers["www-authenticate"]
    assert (await people.find(server.runtime, "kim")).display_name == "Kim"


@pytest.mark.parametrize("change", ["rotate", "{kid}/revoke"])
async def test_ap_04_no_signing_key_changes_after_the_end_of_the_token_that_asked_for_it(
    server: Server, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, end = await revoked(server)
    keyring, headers = server.runtime.keyring, {"authorization": f"Bearer {token}"}

    async def ask() -> httpx.Response:
        body = {"algorithm": "ES256"} if change == "rotate" else None
        return await server.http.post(f"/api/v1/keys/{change.format(kid=kid)}", json=body, headers=headers)

    kid = (await keyring.signing_key("ES256")).kid
    assert (await ask()).status_code == 200, "the honest variant"
    kid, before, reload = (await keyring.signing_key("ES256")).kid, await keyring.states(), keyring.reload

    async def ended_just_now() -> None:
        monkeypatch.undo()
        await end()
        await reload()

    monkeypatch.setattr(keyring, "reload", ended_just_now)
    assert (await ask()).status_code == 401
    assert await keyring.states() == before


async def test_a_call_that_ends_its_own_token_is_done_to_its_end(server: Server) -> None:
    token = await server.token(scope="watchword:admin", owner="eve")
    headers = {"authorization": f"Bearer {token.secret}"}
    done = await server.http.post("/api/v1/users/eve/disable", json={}, headers=headers)
    assert done.status_code < 300
    assert [to for to, _ in await letters(server)] == [EMAIL], "the owner is told"


@pytest.mark.parametrize("change", ["disabled", "no administrator"])
async def test_what_ends_an_administrators_own_right_at_the_console_is_done_to_its_end(
    server: Server, change: str
) -> None:
    await Person(server, another(server)).sign_in("eve")
    eve = await people.find(server.runtime, "eve")
    (session,) = await people.live_sessions(server.runtime, eve.id, after="", limit=9)
    inside = acting.runtime_in(server.runtime, session)
    if change == "disabled":
        await account_changes.set_disabled(inside, eve, True, actor=eve.id)
    else:
        moved = Changes(is_admin=False, email="eve@example.net", email_verified=True)
        await people.change(inside, eve, moved, actor=eve.id)
    told = [text for to, text in await letters(server) if to == EMAIL]
    assert any(("can no longer be used" if change == "disabled" else "was changed to") in one for one in told)


async def enrol(server: Server, token: str) -> httpx.Response:
    """Register a client with an initial access token."""
    client = {"redirect_uris": ["https://app.example/callback"], "token_endpoint_auth_method": "none"}
    headers = {"authorization": f"Bearer {token}"}
    return await server.http.post("/register", json=client, headers=headers)


async def test_ap_04_nothing_is_registered_by_an_initial_access_token_after_its_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.runtime.settings = msgspec.structs.replace(server.settings, registration="token")
    token, end = await revoked(server)
    assert (await enrol(server, token)).status_code == 201, "the honest variant"
    check = client_checks.check

    async def ended_just_now(runtime: Runtime, made: Client) -> None:
        await check(runtime, made)
        await end()

    monkeypatch.setattr(client_checks, "check", ended_just_now)
    refused = await enrol(server, token)
    assert (refused.status_code, refused.json().get("error")) == (401, "invalid_token")
    assert len(await server.runtime.database.read(clients.list_clients, after="", limit=9)) == 1


async def test_registrations_that_are_too_many_cost_no_node_what_it_remembers(server: Server) -> None:
    server.runtime.settings = msgspec.structs.replace(
        server.settings, registration="token", registrations_per_hour=4
    )
    token, _end = await revoked(server)
    assert (await enrol(server, token)).status_code == 201, "the honest variant"
    version = server.runtime.database.version()
    assert (await enrol(server, token)).status_code == 429
    assert server.runtime.database.version() == version
