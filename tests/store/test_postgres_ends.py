"""Clients and accounts that end on PostgreSQL while something is being made for them: whichever comes first, nothing of it lives on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import msgspec
import pytest
from tests.fixtures.postgres import Store
from tests.store.backends import backends, until
from tests.store.made import DAY, NOW, client, digest, select

from watchword.store import (
    browsers,
    client_secrets,
    clients,
    consents,
    devices,
    grants,
    identities,
    interactions,
    registrations,
    sessions,
    user_changes,
    users,
)
from watchword.store.answering import answer_with_code
from watchword.store.database import Database
from watchword.store.devices import DeviceCode
from watchword.store.grants import Code, Grant
from watchword.store.identities import RegisteredIdentity
from watchword.store.interactions import Interaction
from watchword.store.sessions import Session
from watchword.store.users import User

pytestmark = pytest.mark.postgres

GRANT = Grant(
    id="g", client_id="cl_1", user_id="u", session_id="s", scope="a", audience="b", claims="{}",
    created_at=NOW, started_at=NOW, last_used_at=NOW,
)  # fmt: skip
ISSUED = Code(digest("c"), NOW + 60, "{}")
BY_CONSENT = msgspec.structs.replace(GRANT, audience="earlier")
CODE = DeviceCode(
    client_id="cl_1", scope="a", audience="b", address="", user_agent="", created_at=NOW, expires_at=NOW + 600, poll_interval=5,
)  # fmt: skip
IDENTITY = RegisteredIdentity(
    id="zid",
    owner_kind="client",
    owner_id="cl_1",
    name="n",
    document="{}",
    registered_at=NOW,
    expires_at=NOW + DAY,
)
Work = Callable[[Database], Awaitable[object]]


def session(id: str) -> Session:
    return Session(
        id=id, user_id="u", created_at=NOW, authenticated_at=NOW, last_seen_at=NOW, idle_expires_at=NOW + DAY, expires_at=NOW + DAY,
        acr="", amr=(), user_agent="", address="",
    )  # fmt: skip


async def begin_session(database: Database, id: str) -> object:
    return await database.write(sessions.create_session, session(id), digest(id), limit=9, actor="u")


async def prepare(database: Database) -> None:
    """Make a client, two people of whom one administers, a session, a device's code that its person has typed, an earlier consent, and an
    authorization request under way."""
    await database.write(clients.create_client, client(), actor="a", now=NOW)
    for user in (User(id="u", username="u", created_at=NOW), User(id="root", username="root", is_admin=True)):
        names = {"canonical_username": user.username, "skeleton": user.username, "canonical_email": None}
        await database.write(users.create_user, user, **names, password_hash=None, actor="a")
    await begin_session(database, "s")
    await database.write(devices.create_device_code, CODE, digest=digest("d"), user_code=digest("u"))
    shown = {"browser": b"b", "user_id": "u", "now": NOW}
    await database.write(devices.show_device_code, digest("u"), **shown)
    given = {"scope": ("a",), "session_id": "s", "now": NOW}
    await database.write(consents.remember_consent, "u", "cl_1", "earlier", **given)
    kept = Interaction(id="int", client_id="cl_1", request="{}", expires_at=NOW + 600)
    await database.write(interactions.create_interaction, kept, b"b")


async def grant(database: Database) -> object:
    return await grants.create_grant(database, BY_CONSENT, ISSUED)


async def approve(database: Database) -> object:
    return await database.write(devices.approve_device_code, digest("u"), GRANT, browser=b"b", now=NOW)


async def go_on(database: Database) -> object:
    return await database.write(answer_with_code, "int", BY_CONSENT, ISSUED, None)


async def agree(database: Database) -> object:
    return await database.write(
        consents.remember_consent, "u", "cl_1", "b", scope=("a",), session_id="s", now=NOW
    )


async def agree_to_what_was_shown(database: Database) -> object:
    given = {"scope": ("a",), "session_id": "s", "version": 1, "now": NOW}
    return await database.write(consents.remember_consent, "u", "cl_1", "b", **given)


async def sign_in(database: Database) -> object:
    return await begin_session(database, "new")


async def register(database: Database) -> object:
    return await database.write(identities.register_identity, IDENTITY, b"point", actor="a")


async def delete_client(database: Database) -> object:
    return await database.write(clients.delete_client, "cl_1", actor="a", now=NOW)


async def disable_client(database: Database) -> object:
    switched_off = {"expected_version": 1, "disabled_at": NOW, "kill": True, "actor": "a", "now": NOW}
    return await database.write(clients.update_client, client(), **switched_off)


async def move_client(database: Database) -> object:
    given = {"expected_version": 1, "secret": None, "keeps_consents": False, "now": NOW}
    return await database.write(registrations.replace_registration, client(redirect_uris=("x:/cb",)), **given)


async def withdraw(database: Database) -> object:
    given = {"reason": "withdrawn", "actor": "u", "client_id": "cl_1", "now": NOW}
    await database.write(user_changes.end_grants_of, "u", **given)
    return True


async def delete_account(database: Database) -> object:
    return await database.write(user_changes.delete_user, "u", actor="a", now=NOW)


async def disable_account(database: Database) -> object:
    return await database.write(user_changes.set_disabled, "u", True, actor="a", now=NOW)


LIVE_GRANTS = "SELECT id FROM grants WHERE ended_at IS NULL"
CONSENTS = "SELECT client_id FROM consents WHERE audience = 'b'"
LIVE_SESSIONS = "SELECT id FROM sessions WHERE ended_at IS NULL"
LIVE_IDENTITIES = "SELECT id FROM identities WHERE revoked_at IS NULL"


@dataclass(frozen=True, slots=True)
class Case:
    """What is being made, what ends meanwhile, and what must not be there afterwards."""

    make: Work
    end: Work
    left: str


CASES = {
    "a grant, when its client is deleted": Case(grant, delete_client, LIVE_GRANTS),
    "a grant, when its client is disabled": Case(grant, disable_client, LIVE_GRANTS),
    "a grant, when its account is deleted": Case(grant, delete_account, LIVE_GRANTS),
    "a grant, when its account is disabled": Case(grant, disable_account, LIVE_GRANTS),
    "a device's grant, when its client is deleted": Case(approve, delete_client, LIVE_GRANTS),
    "a device's grant, when its client is disabled": Case(approve, disable_client, LIVE_GRANTS),
    "a device's grant, when its account is disabled": Case(approve, disable_account, LIVE_GRANTS),
    "a grant by an earlier consent, when that is withdrawn": Case(grant, withdraw, LIVE_GRANTS),
    "a grant by it to a request under way, when it is withdrawn": Case(go_on, withdraw, LIVE_GRANTS),
    "a consent, when its client is deleted": Case(agree, delete_client, CONSENTS),
    "a consent, when its client moves elsewhere": Case(agree_to_what_was_shown, move_client, CONSENTS),
    "a session, when its account is disabled": Case(sign_in, disable_account, LIVE_SESSIONS),
    "a session, when its account is deleted": Case(sign_in, delete_account, LIVE_SESSIONS),
    "an identity, when its client is deleted": Case(register, delete_client, LIVE_IDENTITIES),
}
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@contextlib.asynccontextmanager
async def held_trail(store: Store) -> AsyncIterator[None]:
    """Let nobody commit for now: every change writes an audit event as its last, and waits for it."""
    other = await asyncpg.connect(store.address)
    try:
        await other.execute("BEGIN; LOCK TABLE events IN SHARE MODE")
        yield
        await other.execute("COMMIT")
    finally:
        await other.close()


async def until_waiting(store: Store, number: int) -> None:
    """Wait until as many transactions wait for locks."""

    async def waiting() -> bool:
        return len(await backends(store, "wait_event_type = 'Lock'")) == number

    await until(waiting)


@each
async def test_what_is_being_made_ends_as_well(postgres_store: Store, case: Case) -> None:
    nodes = [await postgres_store.node() for _ in range(2)]
    await prepare(nodes[0])
    async with held_trail(postgres_store):
        making = asyncio.ensure_future(case.make(nodes[0]))
        await until_waiting(postgres_store, 1)
        ending = asyncio.ensure_future(case.end(nodes[1]))
        await until_waiting(postgres_store, 2)
    assert await making in (True, None), "it was made, and told so"
    assert await ending
    assert await nodes[0].read(select, case.left) == []


@each
async def test_what_begins_while_its_client_or_account_is_ending_does_not_outlive_it(
    postgres_store: Store, case: Case
) -> None:
    nodes = [await postgres_store.node() for _ in range(2)]
    await prepare(nodes[0])
    async with held_trail(postgres_store):
        ending = asyncio.ensure_future(case.end(nodes[1]))
        await until_waiting(postgres_store, 1)
        making = asyncio.ensure_future(case.make(nodes[0]))
        await until_waiting(postgres_store, 2)
    assert await ending
    await making  # refused, or made in time to be ended
    assert await nodes[0].read(select, case.left) == []


@each
async def test_the_honest_variant_is_made(postgres_store: Store, case: Case) -> None:
    database = await postgres_store.node()
    await prepare(database)
    assert await case.make(database) in (True, None)
    assert await database.read(select, case.left) != []


async def test_the_use_of_a_client_is_noted_while_something_is_granted_to_it(postgres_store: Store) -> None:
    nodes = [await postgres_store.node() for _ in range(2)]
    await prepare(nodes[0])
    async with held_trail(postgres_store):
        making = asyncio.ensure_future(grant(nodes[0]))
        await until_waiting(postgres_store, 1)
        await asyncio.wait_for(nodes[1].write(clients.flush_client_usage, [], [("cl_1", NOW)]), 5)
    assert await making is True


async def change_password(database: Database) -> None:
    changed = {"known": None, "but": "", "now": NOW}
    assert await database.write(user_changes.change_own_password, "u", "hash", **changed)


async def end_elsewhere(database: Database) -> None:
    assert await database.write(user_changes.end_elsewhere, "u", but="", actor="u", now=NOW) == ["s"]


async def move(database: Database) -> None:
    assert await move_client(database)


async def make_recognized(database: Database) -> None:
    """Change a client so that consent to it begins to be remembered."""
    told = msgspec.structs.replace(client(), redirect_uris=("https://a.example/", "https://b.example/"))
    changed = {"disabled_at": None, "kill": False, "actor": "a", "now": NOW}
    native = msgspec.structs.replace(told, application_type="native")
    assert await database.write(clients.update_client, native, expected_version=1, **changed)
    assert await database.write(clients.update_client, told, expected_version=2, **changed)


async def note_use(database: Database) -> None:
    await database.write(clients.flush_client_usage, [("s", NOW, "192.0.2.1")], [("cl_1", NOW)])


@pytest.mark.parametrize(
    ("act", "held", "free"),
    [
        pytest.param(note_use, "clients FOR UPDATE", "client_secrets", id="a use is noted, where a secret is added"),
        pytest.param(disable_client, "device_codes FOR UPDATE", "grants", id="a client is disabled, where a code is redeemed"),
        pytest.param(delete_client, "device_codes FOR UPDATE", "grants", id="a client is deleted, where a code is redeemed"),
        pytest.param(delete_account, "users FOR KEY SHARE", "browsers", id="an account is deleted, where somebody signs in"),
        pytest.param(change_password, "sessions FOR UPDATE", "one_time_links", id="a password is changed, where a session ends"),
        pytest.param(end_elsewhere, "sessions FOR UPDATE", "one_time_links", id="all sessions are ended, where one ends"),
        pytest.param(move, "clients FOR KEY SHARE", "consents", id="a client moves, where something is granted by a consent"),
        pytest.param(make_recognized, "clients FOR KEY SHARE", "consents", id="a client is recognized, where something is granted by one"),
    ],
)  # fmt: skip
async def test_rows_are_locked_in_one_order(
    postgres_store: Store, act: Callable[[Database], Awaitable[object]], held: str, free: str
) -> None:
    """Whoever has locked a row of the first table goes on to the second: two that did so in another order were a deadlock."""
    database = await postgres_store.node()
    await prepare(database)
    assert await approve(database)
    await database.write(client_secrets.add_first_secret, "cl_1", ("s", digest("s")), actor="a", now=NOW)
    await database.write(browsers.note_browser, "u", digest("browser"), NOW)
    wish = {"expires_at": NOW + 60, "now": NOW}
    await database.write(user_changes.request_email_change, digest("l"), "u", "s", "u@example", **wish)
    other = await asyncpg.connect(postgres_store.address)
    try:
        await other.execute(f"BEGIN; SELECT 1 FROM {held}")
        acting = asyncio.ensure_future(act(database))
        await until_waiting(postgres_store, 1)
        await other.execute(f"SELECT 1 FROM {free} FOR UPDATE NOWAIT; COMMIT")
    finally:
        await other.close()
    await acting


async def disabled(other: Any) -> None:
    await other.execute("UPDATE clients SET disabled_at = 1, version = version + 1")


async def used(other: Any) -> None:
    await other.execute(f"UPDATE clients SET last_used_at = {NOW + 1}")


async def granted_something(other: Any) -> None:
    await other.execute("SELECT 1 FROM clients FOR KEY SHARE")
    await other.execute(
        "INSERT INTO grants (id, client_id, user_id, session_id, scope, audience, claims, created_at, started_at, last_used_at, expires_at) "
        f"VALUES ('g', 'cl_1', 'u', 's', 'a', 'b', '{{}}', {NOW}, {NOW}, {NOW}, {NOW + DAY})"
    )


async def nothing(other: Any) -> None:
    """Let it be as it was."""


@pytest.mark.parametrize("became", [disabled, used, granted_something, nothing])
async def test_a_client_that_nobody_used_stays_when_that_changes_while_it_is_forgotten(
    postgres_store: Store, became: Callable[[Any], Awaitable[None]]
) -> None:
    database = await postgres_store.node()
    await prepare(database)
    other = await asyncpg.connect(postgres_store.address)
    try:
        await other.execute("UPDATE clients SET origin = 'document'")
        await other.execute("BEGIN; SELECT 1 FROM clients FOR UPDATE")
        await became(other)
        purging = asyncio.ensure_future(
            database.write(registrations.purge_unused_clients, NOW + 1, now=NOW + 1)
        )
        await until_waiting(postgres_store, 1)
        await other.execute("COMMIT")
    finally:
        await other.close()
    forgotten = int(became is nothing)
    assert await purging == forgotten
    assert len(await database.read(select, "SELECT client_id FROM clients")) == 1 - forgotten


async def test_what_a_person_takes_back_is_not_there_again_with_what_they_agree_to_meanwhile(
    postgres_store: Store,
) -> None:
    database = await postgres_store.node()
    await prepare(database)

    async def agree_to(scope: str) -> None:
        await database.write(
            consents.remember_consent, "u", "cl_1", "b", scope=(scope,), session_id="s", now=NOW
        )

    async def agreed_to() -> str | None:
        found = await database.read(consents.find_consent, "u", "cl_1", "b")
        return found.scope if found else None

    await agree_to("a")
    await agree_to("b")
    assert await agreed_to() == "a b", "the honest variant"
    other = await asyncpg.connect(postgres_store.address)
    try:
        await other.execute("BEGIN; DELETE FROM consents WHERE user_id = 'u'")
        agreeing = asyncio.ensure_future(agree_to("c"))
        await until_waiting(postgres_store, 1)
        await other.execute("COMMIT")
    finally:
        await other.close()
    await agreeing
    assert await agreed_to() == "c"


async def test_of_two_things_that_a_person_agrees_to_at_once_for_the_first_time_both_are_remembered(
    postgres_store: Store,
) -> None:
    nodes = [await postgres_store.node() for _ in range(2)]
    await prepare(nodes[0])
    agreeing = []
    async with held_trail(postgres_store):
        for number, scope in enumerate(("a", "c")):
            given = {"scope": (scope,), "declined": (f"not-{scope}",), "session_id": "s", "now": NOW}
            write = nodes[number].write(consents.remember_consent, "u", "cl_1", "b", **given)
            agreeing.append(asyncio.ensure_future(write))
            await until_waiting(postgres_store, number + 1)
    await asyncio.gather(*agreeing)
    found = await nodes[0].read(consents.find_consent, "u", "cl_1", "b")
    assert found == consents.Consent("a c", "not-a not-c")
