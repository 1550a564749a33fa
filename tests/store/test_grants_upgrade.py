"""Migration 0020 on what there was before: codes and families in every state go on as they were, in a time that grows with their number."""

import sqlite3
from pathlib import Path

import pytest
from tests.fixtures.postgres import Cluster, Store, fresh_postgres
from tests.store.made import DAY, NOW, digest, select

from watchword.flows.databases import backup
from watchword.oauth.refresh import Limits
from watchword.settings import Settings
from watchword.store import migrate, redemption, soundness
from watchword.store.database import Database, Row, Transaction
from watchword.store.grants import Standing

LIMITS = Limits(idle=30 * DAY, lifetime=180 * DAY, grace=10)
BEFORE = [one for one in migrate.migrations() if one[0] < 20]
GRANT = (
    "INSERT INTO grants (id, client_id, user_id, session_id, scope, audience, claims, created_at, started_at, last_used_at, "
    "generation, rotated_at, ended_at) VALUES ($1, 'cl', '1', 's', 'a offline_access', 'aud', '{}', $2, $2, $2, $3, $4, $5)"
)
CODE = "INSERT INTO codes (digest, grant_id, request, expires_at, used_at) VALUES ($1, $2, '{}', $3, $4)"
TOKEN = "INSERT INTO refresh_tokens (digest, grant_id, generation, expires_at) VALUES ($1, $2, $3, $4)"
# Name, generation of the newest token, generations that are kept, end, and when its code was used (0: no code is kept).
FAMILIES: tuple[tuple[str, int, tuple[int, ...], int | None, int | None], ...] = (
    ("code unused", 0, (), None, None),
    ("code used for no family", 0, (), None, NOW),
    ("first token", 0, (0,), None, NOW),
    ("rotated", 2, (0, 1, 2), None, NOW),
    ("code forgotten", 1, (0, 1), None, 0),
    ("burned", 1, (0, 1), NOW, NOW),
    ("tokens forgotten", 3, (), NOW, 0),
)


@pytest.fixture
def has_tables() -> bool:
    """Databases begin with nothing at all."""
    return False


async def fill(tx: Transaction) -> None:
    for name, generation, kept, ended_at, used_at in FAMILIES:
        await tx.run(GRANT, name, NOW, generation, NOW if generation else None, ended_at)
        if used_at != 0:
            await tx.run(CODE, digest(f"code {name}"), name, NOW + 60, used_at)
        for number in kept:
            await tx.run(TOKEN, digest(f"{name} {number}"), name, number, NOW + 180 * DAY)


async def upgraded(store: Store) -> Database:
    """Return a database that was filled before the migration and opened after it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "migrations", lambda: BEFORE)
        await (await store.node()).write(fill)
        await store.close()
    return await store.node()


async def presented(database: Database, name: str, number: int, now: int = NOW) -> str | None:
    """Return what comes of a token of a family, of which nothing but the text is shown."""
    mark = f"m {name}"[:8].encode()
    return await database.write(
        redemption.settle_refresh_token, mark, digest(f"{name} {number}"), LIMITS, now
    )


async def test_what_there_was_before_is_sound_and_nothing_of_it_is_forgotten_early(store: Store) -> None:
    database = await upgraded(store)
    assert await database.read(soundness.find_flaws, "ww") == []
    rows = await database.read(select, "SELECT id, expires_at, family FROM grants")
    assert {row["id"] for row in rows} == {name for name, *_ in FAMILIES}
    for row in rows:
        lasts = 180 * DAY if row["family"] is not None else 0
        assert row["expires_at"] == NOW + lasts + 2 * DAY, row["id"]


async def test_families_of_before_go_on_with_their_newest_token_and_notice_the_one_before(
    store: Store,
) -> None:
    database = await upgraded(store)
    mark, newest = b"m rotate", digest("rotated 2")
    standing = await database.read(redemption.find_refresh_token, mark, newest, NOW)
    assert standing is not None
    again = {"mark": mark, "successor": digest("rotated 3"), "expires_at": NOW + 180 * DAY, "now": NOW + 5}
    assert await redemption.rotate_refresh_token(database, newest, standing, **again)  # type: ignore[arg-type]  # by name
    assert not await redemption.rotate_refresh_token(database, newest, standing, **again)  # type: ignore[arg-type]  # by name
    assert await presented(database, "rotated", 2, NOW + 6) == "replay"
    assert await presented(database, "rotated", 2, NOW + 60) == "burn"
    assert await presented(database, "rotated", 3, NOW + 61) == "burned"


@pytest.mark.postgres
async def test_a_family_of_before_is_found_while_another_process_gives_it_its_mark(
    postgres_cluster: Cluster,
) -> None:
    """Each statement of a read sees the latest state: one may come before a concurrent refresh, the next after it."""
    async with fresh_postgres(postgres_cluster, has_tables=False) as store:
        one, other = await upgraded(store), await store.node()
        mark, newest = b"m rotate", digest("rotated 2")
        standing = await other.read(redemption.find_refresh_token, mark, newest, NOW)
        assert standing is not None
        again = {
            "mark": mark,
            "successor": digest("rotated 3"),
            "expires_at": NOW + 180 * DAY,
            "now": NOW + 5,
        }
        statements: list[str] = []

        class Between:
            """The statements of a read, after the first of which the other process refreshes."""

            def __init__(self, tx: Transaction) -> None:
                self._tx = tx

            async def all(self, sql: str, *values: object) -> list[Row]:
                rows = await self._tx.all(sql, *values)
                statements.append(sql)
                if len(statements) == 1:
                    assert await redemption.rotate_refresh_token(other, newest, standing, **again)  # type: ignore[arg-type]  # by name
                return rows

        async def find(tx: Transaction) -> Standing | None:
            return await redemption.find_refresh_token(Between(tx), mark, newest, NOW)  # type: ignore[arg-type]  # all it uses

        found = await one.read(find)
        assert found is not None
        assert found.superseded_digest == newest


@pytest.mark.parametrize(
    ("name", "number", "outcome"),
    [
        ("first token", 0, "rotate"),
        ("rotated", 2, "rotate"),
        ("rotated", 1, None),
        ("rotated", 0, None),
        ("code forgotten", 1, "rotate"),
        ("burned", 1, "burned"),
        ("tokens forgotten", 3, None),
    ],
)
async def test_a_token_of_before_is_what_it_was_if_it_is_the_newest_and_else_unknown(
    store: Store, name: str, number: int, outcome: str | None
) -> None:
    assert await presented(await upgraded(store), name, number) == outcome


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("code unused", "expired"),
        ("code used for no family", "replayed"),
        ("first token", "replayed"),
        ("burned", "replayed"),
        ("code forgotten", "unknown"),
    ],
)
async def test_a_code_of_before_is_as_used_as_it_was(store: Store, name: str, outcome: str) -> None:
    database = await upgraded(store)
    assert await database.write(redemption.refuse_code, digest(f"code {name}"), NOW + 90) == outcome


async def test_a_backup_of_before_takes_the_place_of_a_database_of_before(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o600)
    settings = Settings(issuer="https://id.example", database=store.address, key_file=str(tmp_path / "key"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "migrations", lambda: BEFORE)
        await (await store.node()).write(fill)
        await store.close()
        made = await backup.write_backup(settings, tmp_path / "b.gz", NOW)
        assert made.tables["codes"] == 5
    await backup.restore_backup(settings, tmp_path / "b.gz", NOW, replace=True, exact=True)
    database = await store.node()
    assert await presented(database, "rotated", 2) == "rotate"
    assert await presented(database, "burned", 1) == "burned"
    assert await database.read(soundness.find_flaws, "ww") == []


def test_the_work_grows_with_the_number_of_grants_and_not_with_its_square() -> None:
    few, many = _steps(100), _steps(400)
    assert many < 8 * few


def _steps(grants: int) -> int:
    """Return how many thousands of steps the database's machine takes for a number of grants with a code each."""
    connection = sqlite3.connect(":memory:")
    for _, _, body in BEFORE:
        for statement in body:
            connection.execute(statement)
    for number in range(grants):
        connection.execute(GRANT.replace("$", "?"), (f"g{number}", NOW, 0, None, None))
        connection.execute(CODE.replace("$", "?"), (digest(f"c{number}"), f"g{number}", NOW, NOW))
        connection.execute(TOKEN.replace("$", "?"), (digest(f"r{number}"), f"g{number}", 0, NOW))
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    connection.set_progress_handler(count, 100)
    for statement in next(body for number, _, body in migrate.migrations() if number == 20):
        connection.execute(statement)
    connection.close()
    return steps
