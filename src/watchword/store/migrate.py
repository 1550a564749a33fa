"""The schema's versions: numbered SQL files, applied in order, each once, each in one transaction.

Owns the table `schema_versions`. Theory of operation. A migration *expands*: it adds tables, indexes and optional columns, so that
nodes of the previous release go on serving beside it. What is no longer used is dropped by a migration named `contract_…`, in a release
after the one that stopped using it. A node may therefore start on a schema that is newer by expansions alone, for `ROLLING` seconds after
they were applied: a rolling update, or its rollback, needs that. Any other newer schema is refused.
"""

import asyncio
import functools
import itertools
import re
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from watchword.store import faults
from watchword.store.database import StorageUnavailable, Transaction

FOLDER = Path(__file__).parent / "migrations"
TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_versions "
    "(version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)"
)

NAMES = {"version", "name", "applied_at"}
COLUMNS = (
    "SELECT attname AS name FROM pg_attribute WHERE attrelid = to_regclass('schema_versions') "
    "AND attnum > 0 AND NOT attisdropped"
)
SQLITE_COLUMNS = "SELECT name FROM pragma_table_info('schema_versions')"
OTHERS = (
    "the database holds a table schema_versions of something else: name a database that is Watchword's alone, "
    "or on PostgreSQL a schema of its own (?search_path=…)"
)

# Versions that no release has: no node opens a database that is being filled, or that was moved away.
FILLING = 2**31
MOVED = FILLING + 1
_ASIDE = {
    FILLING: "the database is being filled by `watchword move`: let it finish first",
    MOVED: "the database was moved away by `watchword move`: use the one that it was moved to",
}

LOCKED, DEADLOCK = "55P03", "40P01"
CONTRACT = "contract_"
ROLLING = 86_400
# One node migrates while the others wait for the lock on this row, which needs no advisory locks; committing the migration deletes it.
CLAIM = "INSERT INTO schema_versions VALUES (-1, 'migrating', 0) ON CONFLICT (version) DO UPDATE SET name = excluded.name"
UNCLAIM = "DELETE FROM schema_versions WHERE version = -1"
VERSIONS = "SELECT version, name, applied_at FROM schema_versions ORDER BY version"
ATTEMPTS = 5
# Waiting for a table's lock blocks everybody who asks for it later, so wait WAIT seconds and let others go first for PAUSE, up to PATIENCE in
# all: a backup may hold it for minutes.
WAIT, PAUSE, PATIENCE = 1, 2.0, 60.0
Applied = Sequence[tuple[int, str, int]]
# Text is compared byte by byte, as SQLite does: the order of identifiers must not depend on a server's locale, nor an index
# break when the locale's rules change with an update of the operating system.
_TEXT_COLUMN = re.compile(r"(?m)^(\s*\w+|ALTER TABLE \w+ ADD COLUMN \w+) TEXT\b")


@functools.cache
def migrations() -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Return every migration as its number, name and statements, in order."""
    found = []
    for path in sorted(FOLDER.glob("*.sql")):
        number, _, name = path.stem.partition("_")
        found.append((int(number), name, statements(path.read_text("utf-8"))))
    return tuple(found)


def statements(text: str) -> tuple[str, ...]:
    """Split a migration at the semicolons that end lines; whole-line comments are dropped."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return tuple(part.strip() for part in "\n".join(lines).split(";\n") if part.strip().rstrip(";"))


def for_postgres(statement: str) -> str:
    """Return a statement with the text columns that it creates compared byte by byte on PostgreSQL."""
    return _TEXT_COLUMN.sub(r'\1 TEXT COLLATE "C"', statement)


def is_ours(applied: Applied) -> bool:
    """Whether the rows of a table with the columns of ours are ours: none yet, or the first migration among them."""
    return not applied or any(row[:2] == migrations()[0][:2] for row in applied)


def refuse_newer(current: int) -> None:
    """Raise StorageUnavailable when the database was written by a newer release."""
    newest = migrations()[-1][0]
    if current in _ASIDE:
        raise StorageUnavailable(_ASIDE[current])
    if current > newest:
        raise StorageUnavailable(
            f"the database has schema version {current}, newer than this release knows ({newest}): install the newer release"
        )


def check_applied(applied: Applied, now: float) -> int:
    """Return the version of a schema; raise StorageUnavailable when a node of this release may not run on it."""
    current, newest = max((row[0] for row in applied), default=0), migrations()[-1][0]
    unknown = [row for row in applied if row[0] > newest]
    if current in _ASIDE or any(name.startswith(CONTRACT) or now - at > ROLLING for _, name, at in unknown):
        refuse_newer(current)
    return current


async def schema_version(tx: Transaction) -> int:
    """Return the version of the schema of a database that is open."""
    row = await tx.one("SELECT MAX(version) AS version FROM schema_versions")
    return int(row["version"]) if row else 0


def apply_sqlite(connection: sqlite3.Connection) -> None:
    """Bring an SQLite database up to date; concurrent processes wait for each other."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(TABLE)
        columns = {name for (name,) in connection.execute(SQLITE_COLUMNS)}
        rows = [tuple(row) for row in connection.execute(VERSIONS)] if columns == NAMES else []
        if columns != NAMES or not is_ours(rows):
            raise StorageUnavailable(OTHERS)
        current = check_applied(rows, time.time())
        for number, name, body in migrations():
            if number <= current:
                continue
            for statement in body:
                connection.execute(statement)
                faults.reach("migration.applied")
            connection.execute(
                "INSERT INTO schema_versions VALUES (?, ?, ?)", (number, name, int(time.time()))
            )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite itself rolls back when the disk is full
            connection.execute("ROLLBACK")
        raise


async def check_encoding(connection: Any) -> None:
    """Raise StorageUnavailable when a PostgreSQL database cannot hold every text."""
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StorageUnavailable(
            f"the database's encoding is {encoding}: create it anew with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


async def apply_postgres(connection: Any) -> None:
    """Bring a PostgreSQL database up to date in one transaction; nodes that start together wait for one another."""
    await check_encoding(connection)
    until = time.monotonic() + PATIENCE
    for attempt in itertools.count():
        try:
            await _expand(connection)
            return
        except Exception as error:
            await asyncio.sleep(_pause(error, attempt, until))


def _pause(error: Exception, attempt: int, until: float) -> float:
    """Return the seconds to wait before another attempt; raise what another attempt would not mend."""
    state = getattr(error, "sqlstate", None)
    if state == LOCKED:
        if time.monotonic() < until:
            return PAUSE
        raise StorageUnavailable(
            "a migration needs a table that another transaction has locked, perhaps a backup: try again when that has finished"
        ) from error
    # Another node made the first table at the same moment, or the database reports a conflict instead of waiting for a lock.
    if state in ("23505", "42P07", "42710", "40001", DEADLOCK) and attempt < ATTEMPTS - 1:
        return float(0.05 * 2**attempt)
    raise error


async def _expand(connection: Any) -> None:
    if await connection.fetchval("SELECT to_regclass('schema_versions')") is None:
        await connection.execute(TABLE)
    else:
        columns = {row["name"] for row in await connection.fetch(COLUMNS)}
        if columns != NAMES or not is_ours(applied := await _applied(connection)):
            raise StorageUnavailable(OTHERS)
        if check_applied(applied, time.time()) >= migrations()[-1][0]:
            return
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'")
        await connection.execute(CLAIM)
        await connection.execute(f"SET LOCAL lock_timeout = '{WAIT}s'")
        current = check_applied(await _applied(connection), time.time())
        for number, name, body in migrations():
            for statement in body if number > current else ():
                await connection.execute(for_postgres(statement))
                faults.reach("migration.applied")
            if number > current:
                await connection.execute(
                    "INSERT INTO schema_versions VALUES ($1, $2, $3)", number, name, int(time.time())
                )
        await connection.execute(UNCLAIM)


async def _applied(connection: Any) -> Applied:
    return [tuple(row) for row in await connection.fetch(VERSIONS)]
