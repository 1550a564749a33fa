"""The schema's versions: numbered SQL files, applied in order, each once, each in one transaction.

Owns the table `schema_versions`. A database whose schema is newer than this program is refused, not guessed at.
"""

import re
import sqlite3
import time
from importlib import resources
from typing import Any

from watchword.store.database import StorageUnavailable

TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_versions "
    "(version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)"
)

# Versions that no release knows: a node does not open a database that is being filled, or that was moved away.
FILLING = 2**31
MOVED = FILLING + 1
_ASIDE = {
    FILLING: "the database is being filled by `watchword move`: let it finish first",
    MOVED: "the database was moved away by `watchword move`: use the one that it was moved to",
}

LOCK = 0x77617463  # of the advisory lock under which one node migrates and the others wait
# Text is compared byte by byte, as SQLite does: the order of identifiers must not depend on a server's locale, nor an index
# break when the locale's rules change with an update of the operating system.
_TEXT_COLUMN = re.compile(r"(?m)^(\s*\w+|ALTER TABLE \w+ ADD COLUMN \w+) TEXT\b")


def migrations() -> list[tuple[int, str, list[str]]]:
    """Return every migration as its number, name and statements, in order."""
    folder = resources.files("watchword.store") / "migrations"
    found = []
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".sql"):
            number, _, name = entry.name.removesuffix(".sql").partition("_")
            found.append((int(number), name, statements(entry.read_text("utf-8"))))
    return found


def statements(text: str) -> list[str]:
    """Split a migration at the semicolons that end lines; whole-line comments are dropped."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    return [part.strip() for part in "\n".join(lines).split(";\n") if part.strip().rstrip(";")]


def for_postgres(statement: str) -> str:
    """Return a statement whose text columns PostgreSQL compares byte by byte."""
    return _TEXT_COLUMN.sub(r'\1 TEXT COLLATE "C"', statement)


def refuse_newer(current: int) -> None:
    """Raise StorageUnavailable when the database was written by a newer release."""
    newest = migrations()[-1][0]
    if current in _ASIDE:
        raise StorageUnavailable(_ASIDE[current])
    if current > newest:
        raise StorageUnavailable(
            f"the database has schema version {current}, newer than this release knows ({newest}): install the newer release"
        )


def apply_sqlite(connection: sqlite3.Connection) -> None:
    """Bring an SQLite database up to date; concurrent processes wait for one another."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(TABLE)
        current = connection.execute("SELECT COALESCE(MAX(version), 0) FROM schema_versions").fetchone()[0]
        refuse_newer(current)
        for number, name, body in migrations():
            if number <= current:
                continue
            for statement in body:
                connection.execute(statement)
            connection.execute(
                "INSERT INTO schema_versions VALUES (?1, ?2, ?3)", (number, name, int(time.time()))
            )
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


async def apply_postgres(connection: Any) -> None:
    """Bring a PostgreSQL database up to date in one transaction; nodes that start together wait for one another."""
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StorageUnavailable(
            f"the database's encoding is {encoding}: create it anew with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )
    async with connection.transaction(isolation="read_committed"):
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if await connection.fetchval("SELECT to_regclass('schema_versions')") is None:
            await connection.execute(TABLE)
        current = await connection.fetchval("SELECT COALESCE(MAX(version), 0) FROM schema_versions")
        refuse_newer(current)
        for number, name, body in migrations():
            if number > current:
                for statement in body:
                    await connection.execute(for_postgres(statement))
                await connection.execute(
                    "INSERT INTO schema_versions VALUES ($1, $2, $3)", number, name, int(time.time())
                )
