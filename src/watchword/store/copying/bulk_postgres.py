"""Copying to and from PostgreSQL: a connection of its own without time limits, and REPEATABLE READ as the snapshot."""

from collections.abc import Sequence
from typing import Any

from watchword.store import migrate
from watchword.store.copying.bulk import Conflict, Values
from watchword.store.database import Row, StorageUnavailable, check_values
from watchword.store.postgres import connecting
from watchword.store.postgres.changes import CHANNEL, SERVED
from watchword.store.postgres.errors import FAILURES, OPENING, sqlstate, unavailable
from watchword.store.postgres.hosts import Hosts
from watchword.store.postgres.pool import Connection
from watchword.store.postgres.transaction import Audit, PostgresTransaction

# A process killed a moment ago may still hold its lock.
ALONE = f"SET lock_timeout = '5s'; SELECT pg_advisory_lock({SERVED}); SET lock_timeout = '60s'"
IN_USE = (
    "the database to be filled is in use: stop every server on it, and let another restore or move finish, "
    "then call this again"
)
TIMEOUT = 10  # seconds for a connection; what is then done with it takes as long as it takes
SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
UNLIMITED = (
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '60s'; "
    "SELECT set_config('idle_session_timeout', '0', false) WHERE current_setting('idle_session_timeout', true) <> '0'; "
    + connecting.DURABLE
)


async def connect(
    address: str, audit_key: bytes, *, create: bool = False, alone: bool = False
) -> "PostgresBulk":
    """Connect to a database, of several hosts to the one that takes writes; raise StorageUnavailable, which never shows the address.

    With `create`, its encoding has to be one that a server accepts.
    """
    try:
        connection = await Hosts(address, _connect).connect()
        await connection.execute(UNLIMITED)
        if create:
            await _check(connection)
        if alone:
            await _take_alone(connection)
    except OPENING as error:
        raise StorageUnavailable(f"cannot use the PostgreSQL server: {unavailable(error)}") from error
    return PostgresBulk(connection, Audit([], audit_key))


async def _check(connection: Connection) -> None:
    try:
        await migrate.check_encoding(connection)
    except BaseException:
        connection.terminate()
        raise


async def _take_alone(connection: Connection) -> None:
    try:
        await connection.execute(ALONE)  # the lock of a session, which ends with whoever is killed
    except BaseException as error:
        connection.terminate()
        if sqlstate(error) == migrate.LOCKED:
            raise StorageUnavailable(IN_USE) from error
        raise


async def _connect(address: str, **options: Any) -> Connection:
    named = {"application_name": "watchword copy"}
    return await connecting.connect(address, timeout=TIMEOUT, server_settings=named, **options)


class PostgresBulk(PostgresTransaction):
    """A connection for copying; transactions are begun and ended by hand."""

    __slots__ = ()
    is_postgres = True

    async def one(self, sql: str, *values: object) -> Row | None:
        """Return the first row, or None."""
        try:
            return await super().one(sql, *values)
        except FAILURES as error:
            raise _failed(error) from error

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Return every row."""
        try:
            return await super().all(sql, *values)
        except FAILURES as error:
            raise _failed(error) from error

    all_as_kept = all

    async def run(self, sql: str, *values: object) -> int:
        """Execute a statement and return how many rows it touched."""
        try:
            return await super().run(sql, *values)
        except FAILURES as error:
            raise _failed(error) from error

    async def many(self, sql: str, rows: Sequence[Values]) -> None:
        """Execute a statement once for each row of values."""
        for row in rows:
            check_values(row)
        try:
            await self._connection.executemany(sql, rows)
        except FAILURES as error:
            raise _failed(error) from error

    async def begin(self, *, snapshot: bool = False) -> None:
        """Begin a transaction; the first statement that reads takes the snapshot, so one is executed here."""
        await self.run(SNAPSHOT if snapshot else "BEGIN ISOLATION LEVEL READ COMMITTED")
        await self.all("SELECT 1 AS one")

    async def commit(self) -> None:
        """Commit, durable when it returns, and tell the nodes that their caches may be stale."""
        await self.run("SELECT pg_notify($1, 'copied')", CHANNEL)
        self._connection.warnings.clear()
        await self.run("COMMIT")
        if self._connection.warnings:  # no standby has confirmed it
            raise StorageUnavailable(self._connection.warnings[0], unknown=True)

    async def rollback(self) -> None:
        """Undo everything since `begin`."""
        await self.run("ROLLBACK")

    async def has_table(self, name: str) -> bool:
        """Whether a table of this name is there."""
        row = await self.one("SELECT to_regclass($1) AS found", name)
        return row is not None and row["found"] is not None

    async def has_versions(self) -> bool:
        """Whether the table of the schema's versions is there, with the columns that ours has."""
        return {row["name"] for row in await self.all(migrate.COLUMNS)} == migrate.NAMES

    def adapt(self, statement: str) -> str:
        """Return a statement of a migration whose text columns are compared byte by byte."""
        return migrate.for_postgres(statement)

    def record_under(self, audit_key: bytes) -> None:
        """Chain what is recorded from now on under this key; nothing may be recorded before it is known."""
        self._audit = Audit([], audit_key)

    async def close(self) -> None:
        """Disconnect; what was not committed is undone."""
        connection: Any = self._connection
        connection.terminate()


def _failed(error: BaseException) -> StorageUnavailable:
    failed = Conflict if sqlstate(error) == migrate.DEADLOCK else StorageUnavailable
    return failed(f"the PostgreSQL server failed: {unavailable(error)}")
