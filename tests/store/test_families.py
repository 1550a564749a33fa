"""Refresh-token families: a rotation costs the same however many came before it, and nothing is kept of tokens that are long used up."""

import sqlite3
from pathlib import Path

import pytest
from tests.fixtures.postgres import race
from tests.store.made import DAY, NOW, agree_and_grant, client, count, digest, select, user

from watchword.oauth.refresh import Limits
from watchword.store import clients, grants, limits, redemption, sessions, users
from watchword.store.database import Database
from watchword.store.grants import Grant, Standing
from watchword.store.redemption import Bought
from watchword.store.sessions import Session
from watchword.store.sqlite.database import SqliteDatabase

LIMITS = Limits(idle=30 * DAY, lifetime=180 * DAY, grace=10)
MARK = b"mark0001"


async def begin(database: Database, name: str = "1", mark: bytes = MARK) -> None:
    """Grant something in a session and redeem its code for the first refresh token of a family."""
    await database.write(clients.create_client, client("cl"), actor="a", now=NOW)
    names = {"canonical_username": name, "skeleton": name, "canonical_email": None}
    await database.write(users.create_user, user(name), **names, password_hash=None, actor="a")
    session = Session(
        id=f"session {name}", user_id=name, created_at=NOW, authenticated_at=NOW, last_seen_at=NOW, idle_expires_at=NOW + 200 * DAY,
        expires_at=NOW + 200 * DAY, acr="", amr=(), user_agent="", address="",
    )  # fmt: skip
    await database.write(sessions.create_session, session, digest(f"s{name}"), limit=9, actor="a")
    grant = Grant(
        id=f"grant {name}", client_id="cl", user_id=name, session_id=f"session {name}", scope="a offline_access", audience="aud",
        claims="{}", created_at=NOW, started_at=NOW, last_used_at=NOW,
    )  # fmt: skip
    code = digest(f"code {name}")
    await agree_and_grant(database, grant, code)
    bought = Bought(mark, digest(f"{name} r0"), expires_at=NOW + 180 * DAY)
    assert await redemption.redeem_code(database, code, grant, bought, NOW)


async def standing(database: Database, token: str, now: int = NOW, mark: bytes = MARK) -> Standing:
    found = await database.read(redemption.find_refresh_token, mark, digest(token), now)
    assert found is not None
    return found


async def rotate(
    database: Database, generation: int, name: str = "1", mark: bytes = MARK, lasts: int = LIMITS.lifetime
) -> bool:
    """Rotate the token of a generation, a minute after the one before."""
    now, token = NOW + 60 * generation, f"{name} r{generation}"
    found, successor = await standing(database, token, now, mark), digest(f"{name} r{generation + 1}")
    return await redemption.rotate_refresh_token(
        database, digest(token), found, mark=mark, successor=successor, expires_at=NOW + lasts, now=now
    )


async def settle(
    database: Database, token: str, now: int, mark: bytes = MARK, *, left: bool = False
) -> str | None:
    return await database.write(
        redemption.settle_refresh_token, mark, digest(token), LIMITS, now, lambda: left
    )


async def test_a_family_is_one_row_however_often_it_rotates(database: Database) -> None:
    await begin(database)
    for generation in range(6):
        assert await rotate(database, generation)
        (row,) = await database.read(select, "SELECT refresh_digest, superseded_digest FROM grants")
        kept = (digest(f"1 r{generation + 1}"), digest(f"1 r{generation}"))
        assert (bytes(row["refresh_digest"]), bytes(row["superseded_digest"])) == kept


async def test_of_many_rotations_of_one_token_one_takes_effect(database: Database) -> None:
    await begin(database)
    found = await standing(database, "1 r0")
    outcomes = await race(
        *(
            redemption.rotate_refresh_token(
                database,
                digest("1 r0"),
                found,
                mark=MARK,
                successor=digest("1 r1"),
                expires_at=NOW + LIMITS.lifetime,
                now=NOW,
            )
            for _ in range(12)
        )
    )
    assert sorted(outcomes) == [False] * 11 + [True]
    assert (await standing(database, "1 r1")).grant.generation == 1


@pytest.mark.parametrize(
    ("token", "after", "outcome"),
    [
        pytest.param("1 r3", 0, "rotate", id="the newest is for rotating"),
        pytest.param("1 r2", 5, "replay", id="the one before it, within the grace, has its successor"),
        pytest.param("1 r2", 11, "burn", id="the one before it, later"),
        pytest.param("1 r1", 0, "burn", id="one of which nothing is kept"),
        pytest.param("1 never issued", 0, "burn", id="one that nobody without an older one could make up"),
    ],
)
async def test_what_is_presented_is_told_by_mark_and_digest(
    database: Database, token: str, after: int, outcome: str
) -> None:
    await begin(database)
    for generation in range(3):
        assert await rotate(database, generation)
    assert await settle(database, token, NOW + 120 + after) == outcome
    assert await database.read(grants.is_grant_alive, "grant 1") is (outcome != "burn")
    assert await settle(database, token, NOW, mark=b"anothers") is None or token in ("1 r2", "1 r3")


async def test_an_old_token_whose_presenter_has_left_burns_nothing_within_the_grace(
    database: Database,
) -> None:
    await begin(database)
    for generation in range(3):
        assert await rotate(database, generation)
    last = NOW + 120
    assert await settle(database, "1 r1", last + 9, left=True) == "abandoned"
    assert await database.read(grants.is_grant_alive, "grant 1")
    (event,) = await database.read(select, "SELECT data FROM events WHERE name = 'refresh_token.abandoned'")
    assert '"outcome":"abandoned"' in event["data"]
    assert await rotate(database, 3), "the family goes on"
    assert await settle(database, "1 r1", last + 60, left=False) == "burn", "somebody is there"
    assert not await database.read(grants.is_grant_alive, "grant 1")
    assert await settle(database, "1 r1", last + 60, left=True) == "burned"


async def test_an_old_token_whose_presenter_has_left_burns_its_family_after_the_grace(
    database: Database,
) -> None:
    await begin(database)
    for generation in range(3):
        assert await rotate(database, generation)
    assert await settle(database, "1 r1", NOW + 120 + LIMITS.grace, left=True) == "burn"
    assert not await database.read(grants.is_grant_alive, "grant 1")


async def test_families_that_share_a_mark_are_told_apart_by_their_tokens(database: Database) -> None:
    for name in ("1", "2"):
        await begin(database, name)
    assert await rotate(database, 0, "1")
    assert (await standing(database, "1 r1")).grant.id == "grant 1"
    assert (await standing(database, "1 r0")).grant.id == "grant 1"
    assert (await standing(database, "2 r0")).grant.id == "grant 2"
    assert await settle(database, "1 r0", NOW + 3600) == "burn"
    assert not await database.read(grants.is_grant_alive, "grant 1")
    assert await database.read(grants.is_grant_alive, "grant 2")


async def test_a_token_of_before_stands_in_for_the_mark_of_its_family_until_it_is_used(
    database: Database,
) -> None:
    """Migration 0020 knew the digest of the newest token and not its mark."""
    await begin(database, mark=digest("1 r0"))
    assert await rotate(database, 0, mark=b"mark of ")
    assert (await standing(database, "1 r1", mark=b"mark of ")).grant.generation == 1
    assert await settle(database, "1 r0", NOW + 5, mark=b"mark of ") == "replay"
    assert await settle(database, "1 r0", NOW + 3600, mark=b"mark of ") == "burn"
    assert await count(database, "grants") == 1


@pytest.mark.parametrize(
    ("lasts", "until"),
    [
        pytest.param(400 * DAY, 402, id="families last longer by now"),
        pytest.param(90 * DAY, 182, id="they last shorter, and a late reuse is still noticed"),
    ],
)
async def test_a_family_is_kept_as_long_as_it_may_last_by_its_last_rotation(
    database: Database, lasts: int, until: int
) -> None:
    await begin(database)
    assert await rotate(database, 0, lasts=lasts)
    await database.write(limits.purge, "grants", NOW + until * DAY)
    assert (await standing(database, "1 r1")).grant.generation == 1
    await database.write(limits.purge, "grants", NOW + until * DAY + 1)
    assert await count(database, "grants") == 0


async def test_a_token_that_stays_is_kept_as_long_as_it_may_last_and_its_request_is_not(
    database: Database,
) -> None:
    await begin(database)
    for now, request in ((NOW + 60, "{}"), (NOW + 2 * DAY, "")):
        found = await standing(database, "1 r0", now)
        until = NOW + 400 * DAY
        assert await database.write(
            redemption.use_refresh_token, digest("1 r0"), found, expires_at=until, now=now
        )
        assert (await standing(database, "1 r0", now)).request == request
    await database.write(limits.purge, "grants", NOW + 402 * DAY)
    assert (await standing(database, "1 r0")).grant.last_used_at == NOW + 2 * DAY
    await database.write(limits.purge, "grants", NOW + 402 * DAY + 1)
    assert await count(database, "grants") == 0


async def test_a_rotation_costs_the_same_however_long_the_family_is(tmp_path: Path) -> None:
    database = SqliteDatabase(str(tmp_path / "families.db"), bytes(32), durable=False)
    await database.open()
    await begin(database)
    steps = [await _steps(database, generation) for generation in range(300)]
    await database.close()
    assert steps[290] <= steps[10] * 1.5


async def _steps(database: SqliteDatabase, generation: int) -> int:
    """How many instructions of SQLite's machine one rotation takes: no clock decides this test."""
    taken = 0

    def count() -> int:
        nonlocal taken
        taken += 1
        return 0

    writer: sqlite3.Connection = database._writer
    writer.set_progress_handler(count, 1)
    assert await rotate(database, generation)
    writer.set_progress_handler(None, 0)
    return taken
