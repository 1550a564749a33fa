"""A connection for copying whole tables, apart from those of the server: snapshots, batches, schema.

Owns no rules: `flows` decides what is copied, checked and reported. A snapshot is one transaction that sees one committed state
of the whole database while others go on writing.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Protocol

import msgspec

from watchword.oauth.errors import OAuthError
from watchword.store import migrate, schema
from watchword.store.database import StorageUnavailable, Transaction
from watchword.store.schema import Table

BATCH = 1000
# What changed while a database is moved away (`capture`), and which move that is. The triggers that record changes are dropped with their
# tables. If these two tables stayed behind, they would belong to a move that misses every further change.
CHANGES = "moving_changes"
IDENTITY = "moving_identity"
OTHERS = (
    "The database holds a table {} of something else, which would be deleted: name a database that is Watchword's alone, "
    "or on PostgreSQL a schema of its own (?search_path=…)."
)
Values = tuple[object, ...]

_encode = msgspec.json.Encoder().encode


class Conflict(StorageUnavailable):
    """Another transaction was in the way, as by a deadlock: nothing was done, and after a rollback the same may be tried again."""


class Bulk(Transaction, Protocol):
    """A connection of its own; nothing of it is shared with the running server."""

    @property
    def is_postgres(self) -> bool:
        """Whether it is one to PostgreSQL, where triggers and locks are other ones than in an SQLite file."""

    async def many(self, sql: str, rows: Sequence[Values]) -> None:
        """Execute a statement once for each row of values."""

    async def begin(self, *, snapshot: bool = False) -> None:
        """Begin a transaction: to write, or to read one committed state."""

    async def commit(self) -> None:
        """Commit; durable when it returns."""

    async def rollback(self) -> None:
        """Undo everything since `begin`."""

    async def has_table(self, name: str) -> bool:
        """Whether a table of this name is there."""

    async def has_versions(self) -> bool:
        """Whether the table of the schema's versions is there, with the columns that ours has."""

    def adapt(self, statement: str) -> str:
        """Return a statement of a migration as this database needs it."""

    def record_under(self, audit_key: bytes) -> None:
        """Chain what is recorded from now on under this key; nothing may be recorded before it is known."""

    async def close(self) -> None:
        """Disconnect; what was not committed is undone."""


async def is_ours(bulk: Bulk) -> bool:
    """Whether a database is one of ours, and not of another program that has a table of the same name for its versions."""
    if not await bulk.has_versions():
        return False
    return migrate.is_ours([tuple(row) for row in await bulk.all(migrate.VERSIONS)])


async def version(bulk: Bulk) -> int:
    """Return the schema version of a database, 0 when it holds nothing of ours."""
    if not await is_ours(bulk):
        return 0
    row = await bulk.one(f"SELECT COALESCE(MAX(version), 0) AS version FROM {schema.VERSIONS}")  # noqa: S608 - a literal
    return int(row["version"]) if row else 0


async def schema_version(bulk: Bulk) -> int:
    """Return the schema version as `version` does; refuse one that is newer than this program."""
    found = await version(bulk)
    migrate.refuse_newer(found)
    return found


async def make_tables(bulk: Bulk, upto: int, now: int) -> None:
    """Apply the migrations up to a version that are not applied yet, within the transaction that is open."""
    await bulk.run(migrate.TABLE)
    current = await schema_version(bulk)
    for number, name, body in migrate.migrations():
        if current < number <= upto:
            for statement in body:
                await bulk.run(bulk.adapt(statement))
            await bulk.run(f"INSERT INTO {schema.VERSIONS} VALUES ($1, $2, $3)", number, name, now)  # noqa: S608 - a literal


def _ours() -> tuple[str, ...]:
    """Return the names of the tables of this release or an earlier one, each before those that it refers to."""
    now = [table.name for table in reversed(schema.tables(schema.newest()))]
    return (*schema.taken_away(), *now, CHANGES, IDENTITY)


async def drop_tables(bulk: Bulk) -> None:
    """Drop every table of this release or an earlier one, and what a move noted of them, within the transaction that is open."""
    for name in (*_ours(), schema.VERSIONS):
        await bulk.run(f"DROP TABLE IF EXISTS {name}")


async def refuse_others(bulk: Bulk) -> None:
    """Raise `conflict` where a table has the name of one of ours and is another program's: whoever makes room for ours would drop it."""
    if await is_ours(bulk):
        return
    for name in (*_ours(), schema.VERSIONS):
        if await bulk.has_table(name):
            raise OAuthError("conflict", OTHERS.format(name))


async def clear(tx: Transaction, table: str) -> None:
    """Delete every row of a table."""
    await tx.run(f"DELETE FROM {table}")  # noqa: S608 - a literal of the caller


async def count(bulk: Bulk, table: Table) -> int:
    """Return how many rows a table has."""
    row = await bulk.one(f"SELECT COUNT(*) AS n FROM {table.name}")  # noqa: S608 - from the schema
    return int(row["n"]) if row else 0


async def next_rows(bulk: Bulk, table: Table, after: Values, limit: int | None = None) -> list[Values]:
    """Return the rows that follow a place in a table's order; an empty place is its beginning."""
    limit = limit or BATCH
    if table.level is None:
        return await _following(bulk, table, "", after, limit)
    level = after[0] if after else 0
    while True:
        rows = await _following(bulk, table, f"{table.level} = {level}", after[1:], limit)
        if rows:
            return rows
        upper = await bulk.one(
            f"SELECT MIN({table.level}) AS level FROM {table.name} WHERE {table.level} > $1",  # noqa: S608 - from the schema
            level,
        )
        if upper is None or upper["level"] is None:
            return []
        level, after = upper["level"], ()


async def is_last(bulk: Bulk, table: Table, rows: list[Values]) -> bool:
    """Whether these rows were the last ones when they were read; a table that keeps growing would never return an empty batch."""
    if not rows:
        return True
    if len(rows) >= BATCH:
        return False
    if table.level is None:
        return True
    level = rows[-1][table.columns.index(table.level)]
    above = f"SELECT 1 AS found FROM {table.name} WHERE {table.level} > $1 LIMIT 1"  # noqa: S608 - from the schema
    return await bulk.one(above, level) is None


async def _following(bulk: Bulk, table: Table, where: str, after: Values, limit: int) -> list[Values]:
    places = ", ".join(f"${n + 1}" for n in range(len(after)))
    conditions = [where] if where else []
    conditions += [f"({', '.join(table.key)}) > ({places})"] if after else []
    found = await bulk.all(
        f"SELECT {', '.join(table.columns)} FROM {table.name} "  # noqa: S608 - names come from the schema
        + (f"WHERE {' AND '.join(conditions)} " if conditions else "")
        + f"ORDER BY {', '.join(table.key)} LIMIT {limit}",
        *after,
    )
    return [tuple(row[column] for column in table.columns) for row in found]


def place(table: Table, row: Values) -> Values:
    """Return where in its table's order a row stands."""
    return tuple(row[table.columns.index(column)] for column in table.order)


async def walk(bulk: Bulk, table: Table) -> AsyncIterator[list[Values]]:
    """Return every row of a table in its order, batch by batch."""
    after: Values = ()
    while rows := await next_rows(bulk, table, after):
        yield rows
        after = place(table, rows[-1])


def insert_statement(table: Table) -> str:
    """Return the statement that inserts one row or replaces the row with the same key."""
    places = ", ".join(f"${n + 1}" for n in range(len(table.columns)))
    others = [column for column in table.columns if column not in table.key]
    change = ", ".join(f"{column} = excluded.{column}" for column in others)
    return (
        f"INSERT INTO {table.name} ({', '.join(table.columns)}) VALUES ({places}) "  # noqa: S608 - names come from the schema
        f"ON CONFLICT ({', '.join(table.key)}) DO {f'UPDATE SET {change}' if others else 'NOTHING'}"
    )


def encode_row(row: Iterable[object]) -> bytes:
    """Return a row as one line of JSON, the same for the same row of either database; bytes are base64."""
    return _encode(tuple(row))


def decode_row(table: Table, line: bytes) -> Values:
    """Return the row of a line; raise ValueError or msgspec.DecodeError when it does not fit the table."""
    values: list[object] = msgspec.json.decode(line, type=list[object])
    if len(values) != len(table.columns):
        raise ValueError(f"a row of {table.name} has {len(values)} values")
    return tuple(
        msgspec.convert(value, bytes) if n in table.binary and value is not None else value
        for n, value in enumerate(values)
    )


def checksum(rows: Iterable[Values]) -> str:
    """Return the SHA-256 of rows in their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(encode_row(row) + b"\n")
    return digest.hexdigest()


def not_there(path: str) -> StorageUnavailable:
    """Return the refusal of a database file that does not exist."""
    return StorageUnavailable(f"there is no database file {path}")
