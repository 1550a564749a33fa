"""A session that is over, by whatever made it so, is nobody's: it is not found, used, renewed, counted or ended again."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.store.made import DAY, NOW, digest, execute, select, user

from watchword.store import conditions, sessions, users
from watchword.store.audit import events
from watchword.store.conditions import Ended
from watchword.store.database import Database, Transaction
from watchword.store.sessions import Session

LATER = NOW + 60


async def create(database: Database, id: str = "s", limit: int = 9, **changed: Any) -> bool:
    """Begin a session of u_1."""
    times = {"created_at": NOW, "authenticated_at": NOW, "last_seen_at": NOW} | changed
    made = Session(
        id=id, user_id="u_1", idle_expires_at=NOW + 3600, expires_at=NOW + DAY, acr="", amr=("pwd",), user_agent="", address="there",
        **times,
    )  # fmt: skip
    return await database.write(sessions.create_session, made, digest(id), limit=limit, actor="u_1")


@pytest.fixture
async def own(database: Database) -> Database:
    """A database with the account u_1 and its session s."""
    names = {"canonical_username": "u_1", "skeleton": "u_1", "canonical_email": None}
    await database.write(users.create_user, user(), **names, password_hash=None, actor="a")
    assert await create(database)
    return database


async def change(database: Database, sql: str, *values: object) -> None:
    """Change rows behind the store's back."""
    assert await database.write(execute, sql, *values)


async def rows(database: Database) -> list[tuple[object, ...]]:
    """Return all that is stored of sessions."""
    return [tuple(row) for row in await database.read(select, "SELECT * FROM sessions ORDER BY id")]


async def trail(database: Database) -> list[str]:
    """Return which sessions the trail says have ended."""
    found = await database.read(events.list_events, name="session.ended", limit=100)
    return sorted(event.target for event in found)


async def nothing(tx: Transaction) -> str:
    """Do what a person asks for."""
    return "done"


async def ask(database: Database) -> object:
    """Ask for something in the session."""
    return await database.write(conditions.in_session, "s", "u_1", LATER, nothing)


async def look(database: Database) -> tuple[bool, ...]:
    """Tell by which means the session is found."""
    return (
        await database.read(sessions.find_session, digest("s"), LATER) is not None,
        await database.read(sessions.get_session, "s", LATER) is not None,
        bool(await database.read(sessions.list_sessions, user_id="u_1", now=LATER)),
        await ask(database) == "done",
    )


@pytest.mark.parametrize(
    ("over", "found"),
    [
        pytest.param("UPDATE sessions SET expires_at = $1", (), id="its time is over"),
        pytest.param("UPDATE sessions SET idle_expires_at = $1", (), id="it was idle for too long"),
        pytest.param("UPDATE sessions SET ended_at = $1", (), id="it has ended"),
        pytest.param("UPDATE users SET disabled_at = $1", (1, 2), id="its account is disabled"),
        pytest.param(
            "UPDATE users SET valid_from = $1 + 1", (1, 2, 3), id="sessions from before are not valid"
        ),
    ],
)
async def test_a_session_that_is_over_is_not_found_and_nothing_is_done_in_it(
    own: Database, over: str, found: tuple[int, ...]
) -> None:
    """By its cookie alone the account is looked at too; `in_session` looks whether it is enabled."""
    assert await look(own) == (True, True, True, True)
    if "expires_at" in over:
        await change(own, over, LATER + 1)
        assert await look(own) == (True, True, True, True), "not a second before"
    await change(own, over, LATER)
    assert await look(own) == tuple(number in found for number in range(4))
    assert await ask(own) == ("done" if 3 in found else Ended())


async def elevate(database: Database) -> object:
    return await database.write(
        sessions.elevate_session, "s", digest("new"), acr="2", amr=("pwd", "otp"), authenticated_at=LATER, confirmed_at=LATER,
        limits=(True, NOW + DAY, NOW + 2 * DAY), actor="u_1", now=LATER,
    )  # fmt: skip


async def renew(database: Database) -> object:
    return await database.write(sessions.renew_session, "s", digest("new"), actor="u_1", now=LATER)


async def touch(database: Database) -> object:
    made = {"idle_expires_at": NOW + 9000, "now": LATER, "address": "here"}
    await database.write(sessions.touch_session, "s", **made)
    return any("here" in row for row in await rows(database))


async def end(database: Database) -> object:
    return await database.write(sessions.end_session, "s", actor="u_1", now=LATER)


async def end_elsewhere(database: Database) -> object:
    return await database.write(sessions.end_session_elsewhere, "s", user_id="u_1", actor="u_1", now=LATER)


async def end_all(database: Database) -> object:
    return bool(await database.write(sessions.end_sessions_of, "u_1", actor="u_1", now=LATER))


async def end_expired(database: Database) -> object:
    return bool(await database.write(sessions.end_expired, NOW + 2 * DAY))


@pytest.mark.parametrize("use", [elevate, renew, touch, end, end_elsewhere, end_all, end_expired])
async def test_a_session_that_has_ended_is_neither_used_nor_ended_again(
    own: Database, use: Callable[[Database], Awaitable[object]]
) -> None:
    await change(own, "UPDATE sessions SET ended_at = $1", NOW)
    before, told = await rows(own), await trail(own)
    assert not await use(own)
    assert (await rows(own), await trail(own)) == (before, told)
    await change(own, "UPDATE sessions SET ended_at = NULL")
    assert await use(own), "the honest variant"
    assert await rows(own) != before


async def test_ending_a_session_elsewhere_outdates_the_proofs_of_its_own_person_and_while_it_is_live(
    own: Database,
) -> None:
    async def epoch() -> int:
        return int((await own.read(select, "SELECT proof_epoch FROM users"))[0]["proof_epoch"])

    async def end(user_id: str) -> bool:
        return await own.write(sessions.end_session_elsewhere, "s", user_id=user_id, actor="a", now=LATER)

    first = await epoch()
    assert (await end("u_2"), await epoch()) == (False, first), "another person's"
    assert (await end("u_1"), await epoch()) == (True, first + 1)
    assert (await end("u_1"), await epoch()) == (False, first + 1), "it has ended"


async def test_sessions_that_have_ended_do_not_count_among_those_that_a_person_may_have(
    own: Database,
) -> None:
    assert await create(own, "t", last_seen_at=NOW + 1)
    await change(own, "UPDATE sessions SET ended_at = $1 WHERE id = $2", NOW, "t")
    assert await create(own, "v", limit=2, last_seen_at=NOW + 2)
    assert await trail(own) == [], "s and v are two"
    assert await create(own, "w", limit=2, last_seen_at=NOW + 3, created_at=LATER)
    assert await trail(own) == ["s"], "and t, which had ended, does not end again"


async def test_all_of_a_persons_sessions_end_but_one(own: Database) -> None:
    for name in ("t", "v"):
        assert await create(own, name)
    ended = await own.write(sessions.end_sessions_of, "u_1", but="t", actor="u_1", now=LATER)
    assert sorted(ended) == await trail(own) == ["s", "v"]


async def test_sessions_that_have_ended_take_no_place_among_those_that_are_ended_at_once(
    own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "STEP", 1)
    assert await create(own, "t")
    await change(own, "UPDATE sessions SET ended_at = $1, idle_expires_at = $1 WHERE id = 't'", NOW)
    assert await own.write(sessions.end_expired, NOW + 3599) == 0
    assert [await own.write(sessions.end_expired, NOW + 3600) for _ in range(2)] == [1, 0]
    assert await trail(own) == ["s"]
