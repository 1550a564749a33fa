"""Refresh-token families: a rotation costs the same however many came before it, and leaves one successor to hand out again."""

import sqlite3
from pathlib import Path

from tests.store.made import DAY, NOW, digest

from watchword.oauth.refresh import Limits
from watchword.store import grants
from watchword.store.database import Database, Row, Transaction
from watchword.store.grants import Bought, Grant
from watchword.store.sqlite import SqliteDatabase

LIMITS = Limits(idle=30 * DAY, lifetime=180 * DAY, grace=10)


async def begin(database: Database) -> None:
    """Store a grant with the first refresh token of its family."""
    grant = Grant(
        id="grant_1", client_id="cl", user_id="ada", session_id="se", scope="a offline_access", audience="aud", claims="{}",
        created_at=NOW, started_at=NOW, last_used_at=NOW,
    )  # fmt: skip

    async def store(tx: Transaction) -> None:
        await grants.store_grant(tx, grant)
        await grants.store_bought(
            tx, grant, Bought(refresh_token=digest("r0"), refresh_expires_at=NOW + 180 * DAY)
        )

    await database.write(store)


async def rotate(database: Database, generation: int) -> str:
    """Rotate the token of a generation, a minute after the one before."""
    found = await database.write(
        grants.rotate_refresh_token,
        digest(f"r{generation}"),
        successor=digest(f"r{generation + 1}"),
        sealed_successor=b"sealed",
        limits=LIMITS,
        now=NOW + 60 * generation,
        access_token=None,
    )
    assert found is not None
    return found.outcome


async def with_a_successor(tx: Transaction) -> list[Row]:
    return await tx.all("SELECT generation FROM refresh_tokens WHERE sealed_successor IS NOT NULL")


async def test_only_the_last_predecessor_keeps_its_successor(database: Database) -> None:
    await begin(database)
    for generation in range(6):
        assert await rotate(database, generation) == "rotate"
        kept = await database.read(with_a_successor)
        assert [row["generation"] for row in kept] == [generation]


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
    assert await rotate(database, generation) == "rotate"
    writer.set_progress_handler(None, 0)
    return taken
