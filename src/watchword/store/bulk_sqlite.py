"""Copying to and from an SQLite file: a connection of its own, and a reader's snapshot while others write (WAL)."""

import os
import sqlite3
from collections.abc import Sequence

from watchword.store.bulk import Values, not_there
from watchword.store.chain import Chain
from watchword.store.database import Row, StorageUnavailable, check_values
from watchword.store.sqlite import PRAGMAS
from watchword.store.sqlite_file import address, create_file
from watchword.store.sqlite_transaction import SqliteTransaction

WAIT = 30  # seconds for which it waits until another writer is done


class SqliteBulk(SqliteTransaction):
    """A connection for copying; transactions are begun and ended by hand."""

    __slots__ = ()

    @classmethod
    def connect(cls, path: str, chain: Chain, audit_key: bytes, *, create: bool) -> "SqliteBulk":
        """Open a file; make it, for its owner alone, only when asked to."""
        if not create and not (os.path.exists(path) and os.path.getsize(path)):
            raise not_there(path)
        try:
            create_file(path)
            connection = sqlite3.connect(address(path), uri=True, timeout=WAIT, isolation_level=None)
            connection.row_factory = sqlite3.Row
            for pragma in PRAGMAS:
                connection.execute(pragma)
        except (sqlite3.Error, OSError) as error:
            raise StorageUnavailable(f"cannot use the database file {path}: {error}") from error
        return cls(connection, chain, audit_key)

    async def one(self, sql: str, *values: object) -> Row | None:
        """Return the first row, or None."""
        rows = await self.all(sql, *values)
        return rows[0] if rows else None

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Return every row, as it is kept."""
        try:
            return self._rows(sql, values)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"the database file failed: {error}") from error

    async def run(self, sql: str, *values: object) -> int:
        """Execute a statement and return how many rows it touched."""
        try:
            return await super().run(sql, *values)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"the database file failed: {error}") from error

    async def many(self, sql: str, rows: Sequence[Values]) -> None:
        """Execute a statement once for each row of values."""
        for row in rows:
            check_values(row)
        try:
            self._connection.executemany(sql.replace("$", "?"), rows)
        except sqlite3.Error as error:
            raise StorageUnavailable(f"the database file failed: {error}") from error

    async def begin(self, *, snapshot: bool = False) -> None:
        """Begin a transaction; a snapshot is taken by the first statement that reads, which is the one here."""
        await self.run("BEGIN" if snapshot else "BEGIN IMMEDIATE")
        await self.all("SELECT COUNT(*) FROM sqlite_master")

    async def commit(self) -> None:
        """Commit; durable when it returns."""
        await self.run("COMMIT")

    async def rollback(self) -> None:
        """Undo everything since `begin`."""
        if self._connection.in_transaction:
            await self.run("ROLLBACK")

    async def has_table(self, name: str) -> bool:
        """Whether a table of this name is there."""
        return bool(await self.all("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1", name))

    def adapt(self, statement: str) -> str:
        """Return a statement of a migration as it is."""
        return statement

    def record_under(self, audit_key: bytes) -> None:
        """Chain what is recorded from now on under this key; nothing is to be recorded before it is known."""
        self._key = audit_key

    async def close(self) -> None:
        """Disconnect; what was not committed is undone."""
        self._connection.close()
