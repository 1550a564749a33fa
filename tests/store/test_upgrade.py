"""Upgrades while others serve: from every earlier schema, beside a node of the release before, killed in the middle (F-19)."""

import asyncio
import functools
import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.commands import run_cli
from tests.fixtures.lent import KEEPER
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.store.made import select

from watchword.store import migrate, schema
from watchword.store.database import StorageUnavailable, Transaction
from watchword.store.migrate import schema_version
from watchword.store.schema import Table

MIGRATIONS = migrate.migrations()
NEWEST = MIGRATIONS[-1][0]
NEXT = (
    NEWEST + 1,
    "next_release",
    [
        "CREATE TABLE invented (id TEXT PRIMARY KEY, value BIGINT)",
        "ALTER TABLE access_tokens ADD COLUMN invented TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE grants ADD COLUMN invented BIGINT",
        "CREATE INDEX grants_invented ON grants (invented)",
    ],
)
# What a migration may do while nodes of the release before go on serving.
EXPANDS = re.compile(
    r"CREATE TABLE \w+ \(|CREATE (UNIQUE )?INDEX \w+ ON \w+|INSERT INTO \w+ |"
    r"ALTER TABLE \w+ ADD COLUMN \w+ (TEXT|BIGINT|BYTEA|DOUBLE PRECISION)( NOT NULL DEFAULT \S+)?(?: REFERENCES .*)?$",
    re.DOTALL,
)
# Statements that do more, and why the release before does not mind.
HARMLESS = {
    "UPDATE sessions SET idle_expires_at = expires_at WHERE idle_expires_at > expires_at": "a session ends at either date",
    **dict.fromkeys(
        (statement.rstrip(";") for number, _, body in MIGRATIONS if number == 25 for statement in body),
        "looks are compared only when a name is given out, and it tells fewer addresses apart by the letters before the @",
    ),
    "DROP INDEX refresh_tokens_grant": "another index of the same migration begins with the same column",
}


@pytest.fixture
def has_tables() -> bool:
    """Databases begin with nothing at all."""
    return False


@pytest.mark.parametrize(
    "migration", MIGRATIONS[1:], ids=lambda migration: f"{migration[0]:04}_{migration[1]}"
)
def test_a_migration_only_adds_what_the_release_before_need_not_know(
    migration: tuple[int, str, list[str]],
) -> None:
    number, name, body = migration
    if name.startswith(migrate.CONTRACT):
        return
    for statement in (one.rstrip(";") for one in body):
        assert EXPANDS.match(statement) or statement in HARMLESS, f"{number:04}: {statement}"
        made = re.findall(r"CREATE UNIQUE INDEX \w+ ON (\w+)", statement)
        created = {table for one in body for table in re.findall(r"^CREATE TABLE (\w+)", one)}
        assert set(made) <= created, "a unique index on an old table refuses what old nodes write"


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE users",
        "ALTER TABLE users DROP COLUMN email",
        "ALTER TABLE users RENAME TO people",
        "ALTER TABLE users ADD COLUMN colour TEXT NOT NULL",
        "UPDATE users SET email = NULL",
        "DELETE FROM users",
    ],
)
def test_the_rule_notices_what_breaks_the_release_before(statement: str) -> None:
    assert not EXPANDS.match(statement)


def value_for(table: Table, column: int, kind: str) -> object:
    """Return a value of a column that satisfies whatever refers to it."""
    if column in table.binary:
        return b"\x01" * 32
    if column in table.whole:
        return 2_000_000_000
    return 1.0 if kind.startswith(("DOUBLE", "REAL")) else "1"


@functools.cache
def rows_at(version: int) -> list[tuple[Table, tuple[object, ...]]]:
    """Return one row for each table of a schema version, those that are referred to first."""
    connection = sqlite3.connect(":memory:")
    for _, _, body in [one for one in MIGRATIONS if one[0] <= version]:
        for statement in body:
            connection.execute(statement)
    rows = []
    for table in schema.tables(version):
        if table.name in ("schema_versions", "facts", "signing_keys"):
            continue
        kinds = [row[2] for row in connection.execute(f"PRAGMA table_info({table.name})")]
        values = [value_for(table, n, kind) for n, kind in enumerate(kinds)]
        if table.level:  # the root of a tree refers to nothing
            values[table.columns.index("parent_id")] = None
        rows.append((table, tuple(values)))
    connection.close()
    return rows


async def make_at(store: Store, version: int) -> None:
    """Make a database as the release of a schema version left it, with a row in every table."""
    known = [one for one in MIGRATIONS if one[0] <= version]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "migrations", lambda: known)
        database = await store.node()
        await database.write(insert_rows, version)
        await store.close()


async def insert_rows(tx: Transaction, version: int) -> None:
    """Write a row into every table of a schema version."""
    for table, values in rows_at(version):
        places = ", ".join(f"${n + 1}" for n in range(len(values)))
        await tx.run(f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({places})", *values)


async def read_rows(tx: Transaction, tables: list[Table]) -> list[tuple[object, ...]]:
    """Return the only row of each of these tables."""
    found: list[tuple[object, ...]] = []
    for table in tables:
        (row,) = await tx.all(f"SELECT {', '.join(table.columns)} FROM {table.name}")
        values = [row[name] for name in table.columns]
        found.append(tuple(bytes(one) if n in table.binary else one for n, one in enumerate(values)))
    return found


@pytest.mark.parametrize("version", [number for number, _, _ in MIGRATIONS[:-1]])
async def test_a_database_of_every_earlier_schema_is_brought_up_to_date_and_keeps_what_it_has(
    store: Store, tmp_path: Path, version: int
) -> None:
    await make_at(store, version)
    database = await store.node()
    assert await database.read(schema_version) == NEWEST
    kept = {table.name for table in schema.tables(NEWEST)}
    before = [(table, values) for table, values in rows_at(version) if table.name in kept]
    after = await database.read(read_rows, [table for table, _ in before])
    assert [(table.name, values) for (table, _), values in zip(before, after, strict=True)] == [
        (table.name, values) for table, values in before
    ]
    await store.close()
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o600)
    async with open_server(tmp_path, on=store.address) as server:
        client = await register(server, access_token_format="opaque")
        tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
        assert (await refresh(server, client, tokens["refresh_token"])).status_code == 200


async def test_a_node_of_the_release_before_serves_while_the_next_migrates_and_after_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_server(tmp_path, on=store.address) as old:
        client = await register(old, access_token_format="opaque")
        tokens = (await redeem(old, client, (await obtain_code(old, client))["code"])).json()
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(old, client, tokens["refresh_token"], stop))
        await asyncio.sleep(0.1)
        with monkeypatch.context() as patch:
            patch.setattr(migrate, "migrations", lambda: [*MIGRATIONS, NEXT])
            new = await store.node()
        assert await new.read(schema_version) == NEWEST + 1
        await asyncio.sleep(0.3)
        stop.set()
        assert await serving > 5
        await store.close()
    # The way back, and a node that starts again in the middle of it: the release before opens what was only added to.
    async with open_server(tmp_path, on=store.address) as again:
        client = await register(again, access_token_format="opaque")
        assert (await again.http.get("/readyz")).status_code == 200


async def serve(server: Server, client: Any, refresh_token: str, stop: asyncio.Event) -> int:
    """Refresh and introspect without a single failure until told to stop; return how often."""
    done = 0
    while not stop.is_set():
        answer = await refresh(server, client, refresh_token)
        assert answer.status_code == 200, answer.text
        refresh_token = answer.json()["refresh_token"]
        asked = await server.post("/introspect", client, token=answer.json()["access_token"])
        assert asked.json()["active"] is True
        done += 1
        await asyncio.sleep(0)
    return done


@pytest.mark.parametrize(
    ("name", "age", "opens"),
    [
        pytest.param("more", 60, True, id="an expansion of a minute ago is served"),
        pytest.param("more", migrate.ROLLING + 60, False, id="one of the day before yesterday is refused"),
        pytest.param("contract_less", 60, False, id="a contraction is refused"),
    ],
)
async def test_a_newer_schema_is_served_during_an_update_and_refused_otherwise(
    store: Store, name: str, age: int, opens: bool
) -> None:
    database = await store.node()
    at = int(time.time()) - age
    await database.write(
        lambda tx: tx.run("INSERT INTO schema_versions VALUES ($1, $2, $3)", NEWEST + 1, name, at)
    )
    await store.close()
    if opens:
        assert await (await store.node()).read(schema_version) == NEWEST + 1
    else:
        with pytest.raises(StorageUnavailable, match="newer than this release"):
            await store.make().open()
    await store.close()


async def test_commands_of_the_release_before_work_as_long_as_its_nodes_may_start(
    store: Store, tmp_path: Path
) -> None:
    """Whoever has to revoke something during an update has perhaps no other command at hand than that of an old node."""
    variables = {"WATCHWORD_DATABASE": store.address, "WATCHWORD_KEY_FILE": str(tmp_path / "key")}

    async def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return await asyncio.to_thread(run_cli, tmp_path, *arguments, variables=variables)

    assert (await run("migrate")).returncode == 0
    made = json.loads((await run("token", "create", "x", "--owner", "y", "--scope", "a", "--json")).stdout)
    database = await store.node()
    newer = "INSERT INTO schema_versions VALUES ($1, $2, $3)"
    await database.write(lambda tx: tx.run(newer, NEWEST + 1, "more", int(time.time())))
    revoked = await run("token", "revoke", made["id"])
    assert (revoked.returncode, revoked.stderr) == (0, "")
    checked = await run("doctor", "--json")
    assert checked.returncode == 0
    found = {one["code"]: one["message"] for one in json.loads(checked.stdout)["findings"]}
    assert "newer than this release" in found["schema"]
    assert "database" not in found, "nor is it said to be the one of this release"
    refused = await run("backup", "b.gz")
    assert (refused.returncode, "newer than this release" in refused.stderr) == (1, True)
    await database.write(lambda tx: tx.run("UPDATE schema_versions SET applied_at = 0"))
    assert "newer than this release" in (await run("token", "list")).stderr


MIGRATE = """
import asyncio, sys
from watchword.store import faults
if sys.argv[1].startswith("postgresql:"):
    from watchword.store.postgres.database import PostgresDatabase as Database
else:
    from watchword.store.sqlite.database import SqliteDatabase as Database
faults.arm("migration.applied=exit@" + sys.argv[2])
asyncio.run(Database(sys.argv[1], bytes(range(32))).open())
"""


@pytest.mark.parametrize("step", [1, 30, 60])
async def test_a_migration_that_is_killed_in_the_middle_is_done_by_whoever_comes_next(
    store: Store, step: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MIGRATE, store.address, str(step)],
        check=False,
        timeout=60,
        capture_output=True,
    )
    assert done.returncode == -9, done.stderr
    await wait_until(lambda: free(store))
    database = await store.node()
    assert await database.read(schema_version) == NEWEST
    rows = await database.read(select, "SELECT version FROM schema_versions")
    assert len(rows) == len(MIGRATIONS)
    await store.close()


async def free(store: Store) -> bool:
    """Whether no connection of the killed one is left."""
    if store.cluster is None:
        return True
    connection = await asyncpg.connect(store.address)
    try:
        return not await connection.fetch(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' AND application_name <> $1",
            KEEPER,
        )
    finally:
        await connection.close()


async def wait_until(is_so: Callable[[], Any], patience: float = 10.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + patience
    while not await is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
