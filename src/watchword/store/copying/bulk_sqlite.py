"""Copying to and from an SQLite file: a connection of its own, and a reader's snapshot while others write (WAL).

A connection that is `alone` holds SQLite's own lock on the whole file: it is refused while anybody has the file open, even an idle server,
and nobody can open the file until it is closed. The operating system releases that lock when the process dies. A new file is put into WAL
mode only after its contents are committed: a process killed before leaves an empty file, which no server opens.
"""

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Sequence

from watchword.store import migrate
from watchword.store.audit.chain import Chain
from watchword.store.copying.bulk import Values, not_there
from watchword.store.database import Row, StorageUnavailable, check_values
from watchword.store.sqlite.database import LOG, PRAGMAS
from watchword.store.sqlite.file import address, create_file, unusable
from watchword.store.sqlite.transaction import SqliteTransaction, all_bound

WAIT = 30  # seconds to wait for another writer
WAIT_ALONE = 5  # seconds to wait for another command
IN_USE = "the database file {} is open elsewhere: stop the server, and whatever else has it open, then call this again"


class SqliteBulk(SqliteTransaction):
    """A connection for copying; transactions are begun and ended by hand."""

    __slots__ = ("_alone", "_path")
    is_postgres = False

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        chain: Chain,
        audit_key: bytes,
        *,
        alone: bool = False,
    ) -> None:
        super().__init__(connection, chain, audit_key)
        self._path = path
        self._alone = alone

    @classmethod
    def connect(
        cls, path: str, chain: Chain, audit_key: bytes, *, create: bool, alone: bool = False
    ) -> "SqliteBulk":
        """Open a file; make it, for its owner alone, only when asked to. Raise StorageUnavailable, also where it cannot be `alone`."""
        if not create and not (os.path.exists(path) and os.path.getsize(path)):
            raise not_there(path)
        try:
            create_file(path)
            connection = _taken_alone(path) if alone else _connect(path, WAIT)
            for pragma in PRAGMAS:
                if pragma != LOG or not alone:
                    connection.execute(pragma)
        except (sqlite3.Error, OSError) as error:
            raise unusable(path, error) from error
        return cls(connection, path, chain, audit_key, alone=alone)

    async def one(self, sql: str, *values: object) -> Row | None:
        """Return the first row, or None."""
        rows = await self.all(sql, *values)
        return rows[0] if rows else None

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Return every row, as it is kept."""
        return self._rows(sql, values)

    def _rows(self, sql: str, values: tuple[object, ...]) -> list[Row]:
        try:
            return super()._rows(sql, values)
        except sqlite3.Error as error:
            raise unusable(self._path, error) from error

    async def run(self, sql: str, *values: object) -> int:
        """Execute a statement and return how many rows it touched."""
        try:
            return await super().run(sql, *values)
        except sqlite3.Error as error:
            raise unusable(self._path, error) from error

    async def many(self, sql: str, rows: Sequence[Values]) -> None:
        """Execute a statement once for each row of values."""
        for row in rows:
            check_values(row)
        try:
            self._connection.executemany(sql.replace("$", "?"), all_bound(rows))
        except sqlite3.Error as error:
            raise unusable(self._path, error) from error

    async def begin(self, *, snapshot: bool = False) -> None:
        """Begin a transaction; the first statement that reads takes the snapshot, so one is executed here."""
        await self.run("BEGIN" if snapshot else "BEGIN IMMEDIATE")
        await self.all("SELECT COUNT(*) FROM sqlite_master")

    async def commit(self) -> None:
        """Commit; durable when it returns."""
        await self.run("COMMIT")
        if self._alone:
            with contextlib.suppress(sqlite3.Error):  # otherwise whoever opens the file next turns WAL on
                self._connection.execute(LOG)

    async def rollback(self) -> None:
        """Undo everything since `begin`."""
        if self._connection.in_transaction:
            await self.run("ROLLBACK")

    async def has_table(self, name: str) -> bool:
        """Whether a table of this name is there."""
        return bool(await self.all("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1", name))

    async def has_versions(self) -> bool:
        """Whether the table of the schema's versions is there, with the columns that ours has."""
        return {row["name"] for row in await self.all(migrate.SQLITE_COLUMNS)} == migrate.NAMES

    def adapt(self, statement: str) -> str:
        """Return a statement of a migration as it is."""
        return statement

    def record_under(self, audit_key: bytes) -> None:
        """Chain what is recorded from now on under this key; nothing may be recorded before it is known."""
        self._key = audit_key

    async def close(self) -> None:
        """Disconnect; what was not committed is undone."""
        self._connection.close()


def _connect(path: str, wait: float) -> sqlite3.Connection:
    connection = sqlite3.connect(address(path), uri=True, timeout=wait, isolation_level=None)
    connection.row_factory = sqlite3.Row
    return connection


def _taken_alone(path: str) -> sqlite3.Connection:
    until = time.monotonic() + WAIT_ALONE
    while True:
        connection = _connect(path, 0)
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")  # the lock stays
            return connection
        except sqlite3.Error as error:
            connection.close()  # two that wait here would each hold what the other needs
            if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            if time.monotonic() > until:
                raise StorageUnavailable(IN_USE.format(path)) from error
        time.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - jitter, not a secret
