"""Sessions of a PostgreSQL server: what each is told at its beginning, and poolers that keep them apart or mix them up."""

import asyncio
import time

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import Store
from tests.store.backends import cluster_of, name_of, node, until
from tests.store.made import NOW, count, digest, execute, select

from watchword.store import migrate, tokens
from watchword.store.database import Database, StorageUnavailable

__all__ = ["node"]

pytestmark = pytest.mark.postgres
SHOWN = (
    ("statement_timeout", "7s"),
    ("idle_in_transaction_session_timeout", "7s"),
    ("default_transaction_isolation", "read committed"),
    ("synchronous_commit", "on"),
    ("jit", "off"),
)


async def shown(database: Database) -> list[tuple[str, str]]:
    """Return what a session of the database is told."""
    return [(name, (await database.read(select, f"SHOW {name}"))[0][name]) for name, _ in SHOWN]


async def test_a_session_is_told_its_limits_whatever_the_administrator_set_for_the_database(
    postgres_store: Store,
) -> None:
    name, cluster = name_of(postgres_store), cluster_of(postgres_store)
    chosen = {"default_transaction_isolation": "serializable", "statement_timeout": "'1s'", "jit": "on"}
    chosen |= {"client_min_messages": "error"}
    for setting, value in chosen.items():
        cluster.sql(f"ALTER DATABASE {name} SET {setting} = {value}")
    database = await postgres_store.node(timeout=7)
    assert await shown(database) == list(SHOWN)
    assert (await database.read(select, "SHOW client_min_messages"))[0]["client_min_messages"] == "warning"
    for setting in chosen:
        cluster.sql(f"ALTER DATABASE {name} RESET {setting}")


async def test_a_node_is_present_however_soon_the_administrator_ends_idle_sessions(
    postgres_store: Store,
) -> None:
    """The lock that keeps others from restoring ends with the session that holds it."""
    name, cluster = name_of(postgres_store), cluster_of(postgres_store)
    if cluster.version < 14:
        pytest.skip("PostgreSQL ends no idle sessions before 14")
    # Long enough for a node to say on a busy machine that its sessions may be idle
    cluster.sql(f"ALTER DATABASE {name} SET idle_session_timeout = '300ms'")
    watching = await asyncpg.connect(postgres_store.address, server_settings={"idle_session_timeout": "0"})
    ours = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
    await postgres_store.node()
    before = await watching.fetch(ours)
    assert len(before) == 1
    idle = await asyncpg.connect(postgres_store.address)
    await until(idle.is_closed)  # as a session is that is told nothing
    assert await watching.fetch(ours) == before
    await watching.close()
    cluster.sql(f"ALTER DATABASE {name} RESET idle_session_timeout")


async def test_a_session_that_became_another_is_unavailable_storage_and_says_why(node: Database) -> None:
    assert await count(node, "events") == 0
    await node.read(execute, "DEALLOCATE ALL")  # as a pooler does that lends the session to somebody else
    with pytest.raises(StorageUnavailable, match="pool_mode = session") as refused:
        await count(node, "events")
    assert not refused.value.unknown


async def test_a_migration_does_not_keep_others_waiting_behind_a_table_that_is_held(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await postgres_store.node()
    sound = migrate.migrations()
    added = (sound[-1][0] + 1, "grown", ["ALTER TABLE used_identifiers ADD COLUMN grown BIGINT"])
    monkeypatch.setattr(migrate, "migrations", lambda: [*sound, added])
    monkeypatch.setattr(migrate, "PAUSE", 0.1)
    backup = await asyncpg.connect(postgres_store.address)
    held = backup.transaction(isolation="repeatable_read", readonly=True)
    await held.start()
    await backup.execute("SELECT count(*) FROM used_identifiers")
    new = postgres_store.make()
    opening = asyncio.ensure_future(new.open())
    until = time.monotonic() + 3
    while time.monotonic() < until:  # each within its time limit, or it would be refused
        assert await old.write(tokens.use_identifier, digest(str(time.monotonic())), NOW)
    assert not opening.done()
    monkeypatch.setattr(migrate, "PATIENCE", 0.0)
    with pytest.raises(
        StorageUnavailable, match="a table that another transaction has locked, perhaps a backup"
    ):
        await postgres_store.make().open()
    await held.rollback()
    await opening
    assert await old.write(tokens.use_identifier, digest("after"), NOW)
    await new.close()
    await backup.close()
