"""What a grant still buys, and what outlives its session: each row says one thing that takes it away."""

from collections.abc import Awaitable, Callable

import pytest
from tests.store.made import NOW, count, digest, execute, select
from tests.store.test_families import MARK, begin, standing
from tests.store.test_grants import GRANT, create, prepare

from watchword.store import grants, redemption
from watchword.store.database import Database
from watchword.store.redemption import Bought

CODE, LATER = digest("code g"), NOW + 60
Use = Callable[[Database], Awaitable[bool]]


async def change(database: Database, sql: str, *values: object) -> None:
    """Change rows behind the store's back."""
    if sql:
        assert await database.write(execute, sql, *values)


async def rows(database: Database) -> list[tuple[object, ...]]:
    """Return all that is stored of grants."""
    return [tuple(row) for row in await database.read(select, "SELECT * FROM grants ORDER BY id")]


@pytest.mark.parametrize(
    ("before", "code", "now", "reason"),
    [
        pytest.param("", CODE, LATER, "", id="until its end"),
        pytest.param("", digest("another"), LATER, "unknown", id="not by another code"),
        pytest.param("", CODE, LATER + 1, "expired", id="not from then on"),
        pytest.param("UPDATE grants SET ended_at = $1", CODE, LATER, "ended", id="not when its grant has ended"),
        pytest.param("UPDATE grants SET code_used_at = $1", CODE, LATER, "replayed", id="not a second time"),
    ],
)  # fmt: skip
async def test_a_code_is_redeemed(
    database: Database, before: str, code: bytes, now: int, reason: str
) -> None:
    await prepare(database)
    assert await create(database)
    await change(database, "UPDATE grants SET code_expires_at = $1", LATER + 1)
    await change(database, before, *([NOW] if before else []))
    stored, recorded = await rows(database), await count(database, "events")
    bought = Bought(MARK, digest("r0"), expires_at=NOW + 900)
    assert await redemption.redeem_code(database, code, GRANT, bought, now) is not bool(reason)
    if not reason:
        assert (await standing(database, "r0")).code_used_at == now
        return
    assert (await rows(database), await count(database, "events")) == (stored, recorded)
    assert await database.write(redemption.refuse_code, code, now) == reason
    assert await database.read(grants.is_grant_alive, "g") is (reason in ("unknown", "expired"))
    if reason == "expired":
        assert await database.write(redemption.refuse_code, code, now) == "replayed"


async def rotate(database: Database, token: bytes = digest("1 r0")) -> bool:
    """Present a token of the family for rotation."""
    return await redemption.rotate_refresh_token(
        database, token, await standing(database, "1 r0"), mark=MARK, successor=digest("1 r1"),
        expires_at=NOW + 180 * 86_400, now=LATER,
    )  # fmt: skip


async def rotate_anew(database: Database, token: bytes = digest("1 r0")) -> bool:
    """As `rotate`, after the lifetime of families was lengthened."""
    return await redemption.rotate_refresh_token(
        database, token, await standing(database, "1 r0"), mark=MARK, successor=digest("1 r1"),
        expires_at=NOW + 400 * 86_400, now=LATER,
    )  # fmt: skip


async def use(database: Database, token: bytes = digest("1 r0")) -> bool:
    """Present a token that is not rotated."""
    found = await standing(database, "1 r0")
    return await database.write(
        redemption.use_refresh_token, token, found, expires_at=NOW + 900, now=LATER
    )  # fmt: skip


async def buy(database: Database) -> bool:
    """Redeem the grant inside an operation that has decided about it."""
    return await database.write(redemption.store_bought, "grant 1", Bought(MARK, digest("1 new"), NOW + 900))


@pytest.mark.parametrize("present", [rotate, rotate_anew, use, buy])
async def test_a_grant_that_has_ended_buys_nothing(database: Database, present: Use) -> None:
    await begin(database)
    await change(database, "UPDATE grants SET ended_at = $1", NOW)
    stored, recorded = await rows(database), await count(database, "events")
    assert not await present(database)
    assert (await rows(database), await count(database, "events")) == (stored, recorded)
    await change(database, "UPDATE grants SET ended_at = NULL")
    assert await present(database), "the honest variant"
    assert await rows(database) != stored


@pytest.mark.parametrize("present", [rotate, rotate_anew, use])
async def test_a_token_that_is_not_the_newest_buys_nothing(
    database: Database, present: Callable[[Database, bytes], Awaitable[bool]]
) -> None:
    await begin(database)
    stored, recorded = await rows(database), await count(database, "events")
    assert not await present(database, digest("1 older"))
    assert (await rows(database), await count(database, "events")) == (stored, recorded)


ALL = {"plain", "near", "unredeemed", "redeemed", "by device", "over"}
SCOPES = {"plain": "a b", "near": "a offline_accessible", "elsewhere": "a"}


async def grant_all(database: Database) -> None:
    """Make grants of every kind in the session s, and one elsewhere."""
    await prepare(database)
    for name in (*ALL, "elsewhere"):
        assert await create(database, id=name, scope=SCOPES.get(name, "a offline_access b"))
    used = "UPDATE grants SET code_used_at = $1 WHERE id IN ('redeemed', 'plain', 'near', 'over')"
    await change(database, used, NOW)
    await change(database, "UPDATE grants SET code_digest = NULL WHERE id = 'by device'")
    await change(database, "UPDATE grants SET session_id = 't' WHERE id = 'elsewhere'")
    await change(database, "UPDATE grants SET ended_at = $1 WHERE id = 'over'", NOW)


@pytest.mark.parametrize(
    ("lasting", "ends"),
    [
        pytest.param(False, {"plain", "near", "unredeemed"}, id="all but offline access that was redeemed"),
        pytest.param(True, {"plain", "near", "unredeemed", "redeemed", "by device"}, id="offline access too"),
    ],
)
async def test_what_ends_with_a_session(database: Database, lasting: bool, ends: set[str]) -> None:
    await grant_all(database)
    ended = await database.write(grants.end_grants_of_sessions, ["s"], lasting=lasting, actor="a", now=LATER)
    found = await database.read(select, "SELECT id FROM grants WHERE ended_at = $1", LATER)
    assert ({row["id"] for row in found}, dict(ended)) == (ends, {"s": len(ends)})
    told = await database.read(select, "SELECT target FROM events WHERE name = 'grant.ended'")
    assert sorted(row["target"] for row in told) == sorted(ends)


async def test_which_sessions_gave_access_that_lasts(database: Database) -> None:
    await grant_all(database)
    await change(database, "UPDATE grants SET session_id = id")
    assert await database.read(grants.sessions_with_lasting_access, "u_1") == {"redeemed", "by device"}
    assert await database.read(grants.sessions_with_lasting_access, "u_2") == frozenset()


async def test_a_grant_ends_once(database: Database) -> None:
    await prepare(database)
    for name in ("g", "other"):
        assert await create(database, id=name)

    async def end() -> bool:
        return await database.write(grants.end_grant, "g", reason="test", actor="a", now=LATER)

    recorded = await count(database, "events")
    assert (await end(), await end(), await count(database, "events")) == (True, False, recorded + 1)
    alive = [await database.read(grants.is_grant_alive, name) for name in ("g", "other", "none")]
    assert alive == [False, True, False]
