"""What lives until a second is there in the one before, and in that second it is gone, whoever asks for it."""

from collections.abc import Awaitable, Callable

import pytest
from tests.fixtures.postgres import AUDIT_KEY
from tests.store.made import NOW, client, digest, user

from watchword.oauth.ended import account_handle
from watchword.oauth.ended import digest as mark_digest
from watchword.store import (
    browsers,
    clients,
    devices,
    identities,
    links,
    sessions,
    statuses,
    tokens,
    user_changes,
    users,
)
from watchword.store.database import Database
from watchword.store.devices import DeviceCode
from watchword.store.ended import LATE
from watchword.store.identities import RegisteredIdentity
from watchword.store.sessions import Session
from watchword.store.statuses import StatusListRow, StatusMarks

END = NOW + 60
Made = Callable[[Database], Awaitable[None]]
Seen = Callable[[Database, int], Awaitable[object]]


async def make_person(database: Database) -> None:
    names = {"canonical_username": "u_1", "skeleton": "u_1", "canonical_email": None}
    await database.write(users.create_user, user(), **names, password_hash=None, actor="a")


async def make_session(database: Database, expires_at: int = END) -> None:
    """Let a person sign in, for a session that is over in a minute and would be idle no earlier."""
    await make_person(database)
    limits = {"last_seen_at": NOW, "idle_expires_at": END, "expires_at": expires_at}
    session = Session(
        id="s", user_id="u_1", created_at=NOW, authenticated_at=NOW, acr="", amr=(), user_agent="", address="", **limits
    )  # fmt: skip
    assert await database.write(sessions.create_session, session, b"s", limit=9, actor="a")


async def make_idle_session(database: Database) -> None:
    """Let a person sign in, for a session that is idle for too long in a minute."""
    await make_session(database, END + 60)


async def session_by_cookie(database: Database, now: int) -> object:
    return await database.read(sessions.find_session, b"s", now)


async def session_by_name(database: Database, now: int) -> object:
    return await database.read(sessions.get_session, "s", now)


async def session_in_a_list(database: Database, now: int) -> object:
    return await database.read(sessions.list_sessions, user_id="u_1", now=now)


async def session_that_would_end(database: Database, now: int) -> object:
    ends, _, _ = await database.read(user_changes.count_ends, "u_1", now)
    return ends


async def make_trust(database: Database) -> None:
    """Let a person skip the second factor in a browser for a minute."""
    await make_session(database)
    await database.write(browsers.note_browser, "u_1", b"laptop", NOW)
    until = {"proof_epoch": 0, "until": END, "now": NOW}
    assert await database.write(browsers.trust_browser, "u_1", b"laptop", "s", **until)


async def trust_in_a_browser(database: Database, now: int) -> object:
    return await database.read(browsers.find_trust, "u_1", b"laptop", now)


async def make_device_code(database: Database) -> None:
    """Let a device ask, and a person enter its code."""
    await database.write(clients.create_client, client(), actor="a", now=NOW)
    code = DeviceCode(
        client_id="cl_1", scope="a", audience="b", address="", user_agent="", created_at=NOW, expires_at=END, poll_interval=5
    )  # fmt: skip
    assert await database.write(devices.create_device_code, code, digest=b"device", user_code=b"code")
    entered = {"browser": b"laptop", "user_id": "u_1", "now": NOW}
    assert await database.write(devices.show_device_code, b"code", **entered)


async def device_code_entered_again(database: Database, now: int) -> object:
    return await database.write(devices.show_device_code, b"code", browser=b"laptop", user_id="u_1", now=now)


async def device_code_shown(database: Database, now: int) -> object:
    return await database.read(devices.find_shown, b"code", browser=b"laptop", user_id="u_1", now=now)


async def device_code_decided(database: Database, now: int) -> object:
    return await database.write(devices.deny_device_code, b"code", browser=b"laptop", user_id="u_1", now=now)


async def make_link(database: Database) -> None:
    facts = {"purpose": "invitation", "subject": "ada", "data": {}, "expires_at": END, "now": NOW}
    await database.write(links.create_link, b"link", **facts)


async def link_held(database: Database, now: int) -> object:
    return await database.write(links.hold_link, b"link", "invitation", now)


async def link_by_subject(database: Database, now: int) -> object:
    return await database.read(links.find_live_link, "ada", "invitation", now)


async def make_identity(database: Database) -> None:
    await make_person(database)
    identity = RegisteredIdentity(
        id="i", owner_kind="user", owner_id="u_1", name="", document="{}", registered_at=NOW, expires_at=END
    )
    assert await database.write(identities.register_identity, identity, b"point", actor="a")


async def identity_used(database: Database, now: int) -> object:
    used = (digest(f"challenge {now}"), END, NOW)
    return await database.write(identities.use_identity, used, b"point", now) == "used"


async def identity_looked_at(database: Database, now: int) -> object:
    found = await database.read(identities.find_identity, b"point")
    return found is not None and identities.is_live(found, now)


async def make_status_list(database: Database) -> None:
    await database.write(statuses.create_list, "list", StatusListRow("cl_1", NOW, END))


async def status_list(database: Database, now: int) -> object:
    return await database.read(statuses.find_list, "list", now)


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        (make_session, session_by_cookie),
        (make_session, session_by_name),
        (make_session, session_in_a_list),
        (make_session, session_that_would_end),
        (make_idle_session, session_that_would_end),
        (make_trust, trust_in_a_browser),
        (make_device_code, device_code_entered_again),
        (make_device_code, device_code_shown),
        (make_device_code, device_code_decided),
        (make_link, link_held),
        (make_link, link_by_subject),
        (make_identity, identity_used),
        (make_identity, identity_looked_at),
        (make_status_list, status_list),
    ],
    ids=lambda function: function.__name__,
)
async def test_in_the_second_of_its_end_there_is_no(database: Database, made: Made, seen: Seen) -> None:
    await made(database)
    assert not await seen(database, END)
    assert await seen(database, END - 1), "the honest variant"


async def test_what_may_have_been_used_by_the_second_of_a_restore_counts_as_used(database: Database) -> None:
    await database.write(tokens.note_restored, NOW)
    assert not await database.write(tokens.use_identifier, digest("before"), END, NOW)
    assert await database.write(tokens.use_identifier, digest("after"), END, NOW + 1)


async def test_what_ended_with_an_account_is_what_was_issued_before(database: Database) -> None:
    await make_person(database)
    await make_status_list(database)
    handle = account_handle(AUDIT_KEY, "u_1")
    for index, issued_at in enumerate((NOW + LATE - 1, NOW + LATE)):
        marks = StatusMarks("list", index, issued_at, END, (mark_digest("account", handle),))
        await database.write(statuses.store_marks, marks)
    assert await database.read(statuses.ended_in, "list") == []
    await database.write(user_changes.set_disabled, "u_1", True, actor="a", now=NOW)
    assert await database.read(statuses.ended_in, "list") == [0]
