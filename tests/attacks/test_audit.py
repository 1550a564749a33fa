"""AD-10: whatever changes who may do what leaves an event with who, what and when; and where none can be written, nothing happens."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.holders import make_holder
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.fixtures.trusted_issuers import trust
from tests.store.made import execute, select

from watchword.flows import api_tokens
from watchword.flows.users import account_access, accounts
from watchword.store import faults
from watchword.store.audit import events, witnesses
from watchword.store.audit.events import Event


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application on a fresh database of each kind."""
    async with open_server(tmp_path, on=store.address) as opened:
        yield opened
        faults.arm(None)


async def recorded(server: Server) -> list[Event]:
    """Return every event, newest first."""
    found = await server.runtime.database.read(events.list_events, limit=500)
    return list(found)


async def test_ad_10_every_change_of_power_is_recorded_with_who_what_and_when(server: Server) -> None:
    client = await register(server, access_token_format="opaque")
    answer = await obtain_code(server, client)
    tokens = (await redeem(server, client, answer["code"])).json()
    fresh = (await refresh(server, client, tokens["refresh_token"])).json()
    await server.post("/revoke", client, token=fresh["refresh_token"])
    issued = await server.token()
    await api_tokens.revoke(server.runtime, issued.token.id, reason="leaked", actor="ada")
    await server.runtime.keyring.rotate("ES256", actor="ada")
    found = await recorded(server)
    expected = {
        "user.created", "client.created", "session.created", "consent.given", "grant.created", "refresh_token.rotated",
        "grant.ended", "token.created", "token.revoked", "key.rotated",
    }  # fmt: skip
    assert expected <= {event.name for event in found}
    asked_in = {event.data["session"] for event in found if event.name in ("consent.given", "grant.created")}
    assert asked_in == {event.target for event in found if event.name == "session.created"}
    for event in found:
        assert event.actor, event
        assert event.target, event
        assert abs(event.at - server.clock()) < 60, event


async def test_ad_10_a_consent_that_is_taken_back_is_recorded_where_no_grant_ends_with_it(
    server: Server,
) -> None:
    client = await register(server)
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    await server.post("/revoke", client, token=tokens["refresh_token"])
    given = next(event for event in await recorded(server) if event.name == "consent.given")
    for name in ("consent.withdrawn", None):
        before = await recorded(server)
        assert await account_access.withdraw(server.runtime, given.actor, given.target) == 0
        fresh = [event.name for event in await recorded(server) if event not in before]
        assert fresh == ([name] if name else []), "once"


async def test_ad_10_who_administers_by_an_access_token_is_named_by_who_it_is(server: Server) -> None:
    client = await server.client(scope="watchword:tokens:write watchword:clients:write")
    api_token = await server.token(scope="watchword:tokens:write")
    access_token = (await server.grant(client)).json()["access_token"]
    wanted = {"name": "x", "owner": "reports", "scope": "orders:read"}
    for secret, actor in ((api_token.secret, api_token.token.id), (access_token, client.client.client_id)):
        headers = {"authorization": f"Bearer {secret}"}
        made = await server.http.post("/api/v1/tokens", json=wanted, headers=headers)
        assert made.status_code == 201
        event = next(one for one in await recorded(server) if one.target == made.json()["id"])
        assert (event.name, event.actor) == ("token.created", actor)


async def test_ad_10_a_wrong_password_is_counted_and_says_nothing_of_the_account(server: Server) -> None:
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    person = Person(server, server.http)
    await person.sign_in(password="something else entirely")
    assert person.path == "/sign-in"
    await person.sign_in()
    assert person.path == "/account"


@pytest.mark.parametrize(
    "name", ["session.created", "grant.created", "token.created", "client.created", "user.created"]
)
async def test_ad_10_without_its_event_nothing_happens(server: Server, name: str) -> None:
    client = await register(server)
    before = len(await recorded(server))
    faults.arm(f"audit.begun/{name}=error")
    for attempt in (obtain_code(server, client), server.token(), register(server)):
        with contextlib.suppress(Exception):  # in whatever words each way puts that it did not happen
            await attempt
    faults.arm(None)
    assert name not in {event.name for event in (await recorded(server))[: -before or None]}
    admin = await server.token(scope="watchword:admin")
    faults.arm("audit.begun=error")
    headers = {"authorization": f"Bearer {admin.secret}"}
    given = {"name": "x", "owner": "y", "scope": "orders:read"}
    refused = await server.http.post("/api/v1/tokens", headers=headers, json=given)
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    faults.arm(None)
    assert (await server.http.post("/api/v1/tokens", headers=headers, json=given)).status_code in (200, 201)


async def test_ad_10_whatever_was_made_betrays_a_trail_that_was_cut_off_before(server: Server) -> None:
    client = await register(server)
    assert (await redeem(server, client, (await obtain_code(server, client))["code"])).status_code == 200
    await server.token()
    await trust(server)
    await make_holder(server, ("client", client.client.client_id))
    database, key = server.runtime.database, server.runtime.root.derive("audit")
    since = server.runtime.now() - 10 * 86_400
    assert (await database.read(events.verify_trail, key, since)).breaks == []
    await database.write(execute, "DELETE FROM events")
    told = (await database.read(events.verify_trail, key, since)).breaks
    for kind, those in witnesses.MADE.items():
        made = {row["id"] for row in await database.read(select, those)}
        assert made, kind
        assert {place.partition(":")[0] for place in told if f": this {kind} was made" in place} == made
