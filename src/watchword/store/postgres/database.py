"""PostgreSQL as the database that many nodes share: a pool of connections, one transaction for each operation.

Owns connections, timeouts, retries and durability. READ COMMITTED is enough because every operation decides by a conditional
statement, or first locks the row that it depends on. What cannot be made durable is refused with StorageUnavailable; a COMMIT whose
answer was lost, or that a standby did not confirm in time, is `unknown`.

The address may name several hosts, of which only the primary is used (`hosts`). A pooler in between must run in session mode.
"""

import asyncio
import contextlib
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from watchword.store import faults, migrate
from watchword.store.audit.chain import Chain
from watchword.store.database import AuditEntry, Change, StorageUnavailable, check_values
from watchword.store.postgres import connecting
from watchword.store.postgres.batches import Batches
from watchword.store.postgres.changes import Changes
from watchword.store.postgres.errors import (
    FAILURES,
    OPENING,
    POOLED,
    is_conflict,
    is_definite,
    is_duplicate,
    is_lost,
    is_unavailable,
    unavailable,
)
from watchword.store.postgres.hosts import Hosts
from watchword.store.postgres.pool import Connection, Loan, Pool, cut
from watchword.store.postgres.transaction import Audit, PostgresTransaction
from watchword.store.quiet import QUIET, SINGLE, ends

P = ParamSpec("P")
T = TypeVar("T")


POOL_SIZE = 10
PATIENCE = 1.0
ATTEMPTS = 6
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
# Sent as statements, because PgBouncer refuses them as connection parameters. A session that listens is idle for seconds, and the lock
# that keeps others from restoring ends with it.
SESSION = f"""
SET statement_timeout = {{limit}}; SET idle_in_transaction_session_timeout = {{limit}};
SET default_transaction_isolation = 'read committed';
SELECT set_config('idle_session_timeout', '0', false) WHERE current_setting('idle_session_timeout', true) <> '0';
SELECT set_config('jit', 'off', false) WHERE current_setting('jit', true) = 'on';
{connecting.DURABLE}"""
PROCESS = "SELECT pg_backend_pid()"


class _Again(Exception):
    """Nothing was done, and another attempt is worth it."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class PostgresDatabase:
    """An open PostgreSQL database."""

    def __init__(
        self,
        address: str,
        audit_key: bytes = b"",
        timeout: int = 5,
        *,
        longest: int | None = None,
        pool_size: int = POOL_SIZE,
        patience: float = PATIENCE,
    ) -> None:
        """Set the server's address.

        In seconds, `timeout` bounds a statement, unless it may take `longest`, and `patience` the wait for a connection.
        """
        self._hosts = Hosts(address, self._connect)
        self._audit_key = audit_key
        self._timeout = timeout
        self._longest = longest or timeout
        self._pool_size = pool_size
        self._patience = patience
        self._pool: Pool | None = None
        self._chains: list[Chain] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._batches = Batches(self._transacted, self._start, patience)
        self._changes = Changes(self._hosts.connect, secrets.token_hex(8), self._longest + 1)

    async def open(self) -> None:
        """Bring the schema up to date and start to listen for changes."""
        pool = Pool(self._hosts.connect, self._pool_size, self._patience)
        try:
            connection = await self._hosts.connect(command_timeout=None)
            try:
                pool.add(await self._another(connection))
                await self._changes.enter(connection)
                await migrate.apply_postgres(connection)
            except BaseException:
                with contextlib.suppress(*FAILURES):  # a server that is silent may be why; then it is cut
                    await connection.close(timeout=self._timeout)
                await pool.close(self._timeout)
                raise
        except OPENING as error:
            raise StorageUnavailable(f"cannot use the PostgreSQL server: {unavailable(error)}") from error
        self._pool = pool
        self._changes.start()
        self._hosts.watch()

    def record_under(self, audit_key: bytes) -> None:
        """Chain what is recorded from now on under this key; nothing may be recorded before it is known."""
        self._audit_key = audit_key

    def _options(self) -> dict[str, Any]:
        return {
            "timeout": self._timeout,
            "command_timeout": self._longest + 1,
            "statement_cache_size": 512,
            "server_settings": {"application_name": "watchword"},
        }

    async def _connect(self, address: str, **changed: Any) -> Connection:
        connection = await connecting.connect(address, **self._options() | changed)
        try:
            await connection.execute(SESSION.format(limit=self._longest * 1000), timeout=self._timeout)
        except BaseException:
            cut(connection)
            raise
        return connection

    async def _another(self, connection: Connection) -> Connection:
        """Connect again; refuse a pooler that gives two connections one session, to which timeouts and durability settings belong."""
        other = await self._hosts.connect()
        try:
            process = await other.fetchval(PROCESS)
            # A compatible database without processes gives every session the same number, which is not positive.
            if process > 0 and process == await connection.fetchval(PROCESS, timeout=self._timeout):
                raise StorageUnavailable(POOLED)
        except BaseException:
            cut(other)
            raise
        return other

    async def close(self) -> None:
        """Finish what was accepted, announce it, then disconnect."""
        if self._pool is None:
            return
        while self._tasks:
            await asyncio.wait(self._tasks)
        pool, self._pool = self._pool, None
        await self._changes.close()
        await self._hosts.close()
        await pool.close(self._timeout)

    def version(self) -> int:
        """Return a number that moves when another transaction may have changed what was read before.

        It moves with every change of this node at once, with those of other nodes as soon as they are announced (a millisecond),
        and after half a second in any case: a node that hears nothing is late by half a second at most.
        """
        return self._changes.version()

    def _lent(self) -> Loan:
        if self._pool is None:
            raise StorageUnavailable("the database is closed")
        return self._pool.lend()

    async def read(
        self,
        operation: Callable[Concatenate[PostgresTransaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that changes nothing; each of its statements sees the latest committed state."""

        async def attempt() -> T:
            async with self._lent() as connection:
                try:
                    return await operation(PostgresTransaction(connection, None), *args, **kwargs)
                except FAILURES as error:
                    await self._fail(connection, error)

        # The hot handlers run outside of any task, where the driver's time limits cannot work.
        work = _repeated(attempt)
        return await (work if asyncio.current_task() else asyncio.create_task(work))

    async def write(
        self,
        operation: Callable[Concatenate[PostgresTransaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation in one transaction; it runs to its end even when the caller goes away."""

        try:
            result = await self._transacted(operation, *args, **kwargs)
        finally:
            if operation not in QUIET:
                self._changes.changed()
                faults.reach("cache.moved", operation)
        if ends(operation, args):
            await asyncio.shield(self._start(self._changes.announced()))
        return result

    async def _transacted(
        self,
        operation: Callable[Concatenate[PostgresTransaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        async def attempt() -> T:
            async with self._lent() as connection:
                if operation in SINGLE:
                    return await self._single(connection, operation, *args, **kwargs)
                return await self._transact(connection, operation, *args, **kwargs)

        return await asyncio.shield(self._start(_repeated(attempt)))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio logs nothing when nobody waits any more

    async def _single(
        self,
        connection: Connection,
        operation: Callable[Concatenate[PostgresTransaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        connection.warnings.clear()
        try:
            result = await operation(PostgresTransaction(connection, None), *args, **kwargs)
        except FAILURES as error:
            await self._fail(connection, error, sent=True)
        if connection.warnings:
            raise StorageUnavailable(connection.warnings[0], unknown=True)
        return result

    async def _transact(
        self,
        connection: Connection,
        operation: Callable[Concatenate[PostgresTransaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        audit = Audit(self._chains, self._audit_key)
        try:
            await connection.execute(BEGIN)
            result = await operation(PostgresTransaction(connection, audit), *args, **kwargs)
        except BaseException as error:
            if await _roll_back(connection, error):
                audit.rolled_back()
            await self._fail(connection, error)
        await self._commit(connection, audit, operation)
        return result

    async def _commit(self, connection: Connection, audit: Audit, operation: object) -> None:
        connection.warnings.clear()
        try:
            faults.reach("commit.begun", operation)
            status = await connection.execute("COMMIT")
        except FAILURES as error:
            if is_definite(error):
                audit.rolled_back()
            await self._fail(connection, error, sent=not is_definite(error))
        if status != "COMMIT":
            audit.rolled_back()
            raise StorageUnavailable("the database server rolled the transaction back")
        # A COMMIT that a standby did not confirm in time is answered with success and a warning.
        if connection.warnings:
            raise StorageUnavailable(connection.warnings[0], unknown=True)
        audit.committed()
        faults.reach("commit.done", operation)

    async def _fail(self, connection: Connection, error: BaseException, *, sent: bool = False) -> NoReturn:
        """Raise what a failure means; `sent` when the server may have committed before it."""
        if isinstance(error, TimeoutError):
            cut(connection)
        lost = is_lost(error)
        # A server that exceeded its own statement timeout is paused or out of reach: drop the idle connections to it as well.
        if (lost or isinstance(error, TimeoutError)) and self._pool is not None:
            self._pool.expire()
        if is_conflict(error) or (lost and not sent):
            # A unique value that is there at every attempt is the statement's fault, not the server's.
            raise _Again(error if is_duplicate(error) else unavailable(error)) from error
        if is_unavailable(error):
            raise unavailable(error, unknown=sent) from error
        raise error

    def append(self, sql: str, *values: object) -> asyncio.Future[None]:
        """Insert one row, together with the other rows that are appended at this moment."""
        return self._submit(sql, values)

    def change(
        self,
        change: Change,
        values: tuple[object, ...],
        entry: AuditEntry,
        *,
        after: Awaitable[object] | None = None,
    ) -> asyncio.Future[bool]:
        """Make a change and record it, together with the others that are made at this moment, after a row that it needs."""
        if after is None:
            return self._submit(change, values, entry)
        return self._start(self._change_after(after, change, values, entry))

    async def _change_after(
        self, after: Awaitable[object], change: Change, values: tuple[object, ...], entry: AuditEntry
    ) -> bool:
        await after
        made: bool = await self._submit(change, values, entry)
        return made

    def _submit(
        self, statement: Change | str, values: tuple[object, ...], entry: AuditEntry | None = None
    ) -> asyncio.Future[Any]:
        if self._pool is None:
            raise StorageUnavailable("the database is closed")
        check_values(values)
        return self._batches.submit(statement, values, entry)


async def _repeated(attempt: Callable[[], Awaitable[T]]) -> T:
    for number in range(ATTEMPTS - 1):
        try:
            return await attempt()
        except _Again:
            await asyncio.sleep(random.uniform(0, 0.01 * 2**number))  # noqa: S311 - jitter, not a secret
    try:
        return await attempt()
    except _Again as again:
        raise again.error from again


async def _roll_back(connection: Connection, error: BaseException) -> bool:
    """Roll back; return whether the server confirmed it: otherwise the transaction may be open still, and its audit chain not reusable."""
    if isinstance(error, TimeoutError):
        return False  # the connection is given up anyway
    try:
        await connection.execute("ROLLBACK")
    except FAILURES:
        cut(connection)
        return False
    return True
