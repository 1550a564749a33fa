"""A grant begins in a session that is live, for a client that is enabled, by a consent that is there, and not otherwise."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.store.made import DAY, NOW, agree, client, count, digest, execute, user

from watchword.store import clients, grants, sessions, users
from watchword.store.database import Database
from watchword.store.grants import Code, Grant
from watchword.store.sessions import Session

GRANT = Grant(
    id="g", client_id="cl_1", user_id="u_1", session_id="s", scope="a", audience="b", claims="{}",
    created_at=NOW, started_at=NOW, last_used_at=NOW,
)  # fmt: skip


async def prepare(database: Database) -> None:
    """Make a client, a person, a session that goes on for a day, or an hour when it is not used, and a consent."""
    await database.write(clients.create_client, client(), actor="a", now=NOW)
    names = {"canonical_username": "u_1", "skeleton": "u_1", "canonical_email": None}
    await database.write(users.create_user, user(), **names, password_hash=None, actor="a")
    session = Session(
        id="s", user_id="u_1", created_at=NOW, authenticated_at=NOW, last_seen_at=NOW, idle_expires_at=NOW + 3600, expires_at=NOW + DAY,
        acr="", amr=(), user_agent="", address="",
    )  # fmt: skip
    await database.write(sessions.create_session, session, digest("s"), limit=9, actor="u_1")
    await agree(database, GRANT)


async def create(database: Database, **changed: object) -> bool:
    grant = msgspec.structs.replace(GRANT, **changed)
    code = Code(digest(f"code {grant.id}"), NOW + 2 * DAY, "{}")
    return await grants.create_grant(database, grant, code)


async def end_session(database: Database) -> None:
    await database.write(sessions.end_session, "s", actor="u_1", now=NOW)


async def disable_client(database: Database) -> None:
    switched_off = {"expected_version": 1, "disabled_at": NOW, "kill": False, "actor": "a", "now": NOW}
    await database.write(clients.update_client, client(), **switched_off)


async def stay_idle(database: Database) -> None:
    """Let the session's idle limit be later than its end, as this release does not write it."""
    await database.write(execute, "UPDATE sessions SET idle_expires_at = $1", NOW + 2 * DAY)


async def nothing(database: Database) -> None:
    """Change nothing."""


@pytest.mark.parametrize(
    ("before", "changed"),
    [
        pytest.param(end_session, {}, id="in a session that was ended"),
        pytest.param(nothing, {"created_at": NOW + 3600}, id="in a session that was idle for too long"),
        pytest.param(stay_idle, {"created_at": NOW + DAY}, id="in a session that is over"),
        pytest.param(nothing, {"session_id": "t"}, id="in no session"),
        pytest.param(disable_client, {}, id="for a client that is disabled"),
        pytest.param(nothing, {"client_id": "cl_2"}, id="for no client"),
        pytest.param(nothing, {"user_id": "u_2"}, id="by no consent of this person"),
        pytest.param(nothing, {"audience": "c"}, id="by no consent to this audience"),
    ],
)
async def test_nothing_is_granted(
    database: Database, before: Callable[[Database], Awaitable[None]], changed: dict[str, object]
) -> None:
    await prepare(database)
    assert await create(database, id="honest", created_at=NOW + 3599 if before is nothing else NOW)
    await before(database)
    recorded = await count(database, "events")
    assert not await create(database, **changed)
    assert (await count(database, "grants"), await count(database, "events")) == (1, recorded)
