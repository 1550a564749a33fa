"""SQLite as the embedded database: one writer thread with group commit, reads on the event loop.

Owns connections, pragmas and durability. `synchronous=FULL`, because in WAL mode anything less can undo a revocation after a
power loss. Concurrent writes share one transaction and one fsync; each has its own savepoint, so that one failing operation takes no
other with it. A batch of nothing but changes is executed on the event loop and committed by the thread (`errand`). Several
processes may use the file at once: SQLite's own lock orders them.
"""

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from watchword.durable_files import settle
from watchword.store import faults, migrate
from watchword.store.audit.chain import INSERT_EVENT, Chain, written
from watchword.store.database import AuditEntry, Change, StorageUnavailable, check_values, drive
from watchword.store.quiet import QUIET, SINGLE
from watchword.store.sqlite.errand import Errand
from watchword.store.sqlite.file import DAMAGED, Files, address, prepare, refuse_empty, unusable
from watchword.store.sqlite.job import Job, Queue, answer, deliver, finished, reach, waiting_in
from watchword.store.sqlite.reader import Commits, Reader, Readers
from watchword.store.sqlite.transaction import (
    Events,
    SqliteTransaction,
    Undecodable,
    all_bound,
    placeholders,
    stepped,
)

P = ParamSpec("P")
T = TypeVar("T")

MAX_BATCH = 256
# Seconds for which a commit may wait while every turn of the event loop adds to it.
LONGEST_GATHERING = 0.01
COUNT_CHANGE = "UPDATE facts SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) WHERE name = 'changes'"
STATEMENT_ERRORS = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
LOG = "PRAGMA journal_mode=WAL"
PRAGMAS = (
    LOG,
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA temp_store=MEMORY",
    "PRAGMA cache_size=-1024",
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA trusted_schema=OFF",
)


class SqliteDatabase:
    """An open SQLite file."""

    def __init__(self, path: str, audit_key: bytes = b"", timeout: int = 5, *, durable: bool = True) -> None:
        """Set the file; `timeout` is in seconds; `durable=False` skips every fsync, for databases that a test throws away."""
        self.path = path
        self._durable = durable
        self._audit_key = audit_key
        self._timeout = timeout
        self._queue: Queue = queue.SimpleQueue()
        self._gate = threading.Lock()  # nothing is queued after the None that ends the queue
        self._is_closing = False
        # Jobs accepted in the present turns of a loop: handed over together, so that one commit holds them all.
        self._accepted: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        self._local = threading.local()
        self._readers = Readers()
        self._commits = Commits()
        self._thread: threading.Thread | None = None
        self._chain = Chain()
        self._events: Events = []  # audit events of the present batch

    async def open(self) -> None:
        """Open or create the file, bring its schema up to date and start the writer thread."""
        prepare(self.path)
        try:
            self._writer = self._connect()
            try:
                self._bring_up_to_date()
            except BaseException:
                self._writer.close()  # a restore needs the file alone
                raise
        except sqlite3.DatabaseError as error:
            raise unusable(self.path, error) from error
        self._is_closing = False
        self._thread = threading.Thread(target=self._write_loop, name="watchword-writer", daemon=True)
        self._thread.start()

    def _bring_up_to_date(self) -> None:
        check = self._writer.execute("PRAGMA quick_check(1)").fetchone()[0]
        if check != "ok":
            raise StorageUnavailable(DAMAGED.format(self.path, " ".join(check.split())))
        refuse_empty(self._writer, self.path)
        migrate.apply_sqlite(self._writer)
        # The directory entry of the WAL file is on disk before any write to it is acknowledged.
        if self._durable:
            settle(self.path)
        self._files = Files(self.path)

    def record_under(self, audit_key: bytes) -> None:
        """Chain what is recorded from now on under this key; nothing may be recorded before it is known."""
        self._audit_key = audit_key

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            address(self.path),
            uri=True,
            timeout=self._timeout,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        connection.row_factory = sqlite3.Row
        try:
            for pragma in PRAGMAS if self._durable else (*PRAGMAS, "PRAGMA synchronous=OFF"):
                connection.execute(pragma)
        except BaseException:
            connection.close()  # for whoever needs the file alone, as a restore does
            raise
        return connection

    async def close(self) -> None:
        """Commit what was accepted, then close."""
        if self._thread is None:
            return
        self._hand_over(asyncio.get_running_loop())
        with self._gate:
            self._is_closing = True
            self._queue.put(None)
        await finished(self._thread.join)
        self._thread = None
        self._readers.close()
        self._local = threading.local()
        self._writer.close()

    def _reader(self) -> Reader:
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
            reader = self._local.reader = Reader(connection, self._commits)
            self._readers.keep(reader)
        return reader

    async def read(
        self,
        operation: Callable[Concatenate[SqliteTransaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that changes nothing, on the calling thread."""
        return self.read_now(operation, *args, **kwargs)

    def read_now(
        self,
        operation: Callable[Concatenate[SqliteTransaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Like `read`, for callers that are not coroutines: reading the embedded database never waits."""
        try:
            return drive(operation(SqliteTransaction(self._reader().look(), None, b""), *args, **kwargs))
        except (sqlite3.Error, Undecodable) as error:
            raise StorageUnavailable(f"the database file {self.path} cannot be read: {error}") from error

    def version(self) -> int:
        """Return the number of the last change that is not QUIET, by any process.

        The database is asked once in a turn of the event loop. Whatever a turn answers had arrived before it began, so every
        request sees at least what was committed when it was sent.
        """
        try:
            return self._reader().version()
        except (sqlite3.Error, TypeError, ValueError) as error:  # TypeError, ValueError: the count is damaged
            raise StorageUnavailable(f"the database file {self.path} cannot be read: {error}") from error

    async def write(
        self,
        operation: Callable[Concatenate[SqliteTransaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Hand an operation to the writer thread and wait until it is committed and on disk."""
        if self._thread is None:
            raise StorageUnavailable("the database is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._accept(Job(operation, args, kwargs, loop, future))
        result = await future
        if operation not in QUIET:
            faults.reach("cache.moved", operation)
        return result

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
        """Make a change and record it; concurrent changes, and the rows appended in the same turn, share the commit."""
        return self._submit(change, values, entry)

    def _submit(
        self, statement: Change | str, values: tuple[object, ...], entry: AuditEntry | None = None
    ) -> asyncio.Future[Any]:
        if self._thread is None:
            raise StorageUnavailable("the database is closed")
        check_values(values)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._accept(Job(statement, values, {}, loop, future, entry))
        return future

    def _accept(self, job: Job) -> None:
        accepted = self._accepted.get(job.loop)
        if accepted is None:
            self._accepted[job.loop] = [job]
            job.loop.call_soon(self._gather, job.loop, 0, time.monotonic() + LONGEST_GATHERING)
        else:
            accepted.append(job)

    def _gather(self, loop: asyncio.AbstractEventLoop, known: int, until: float) -> None:
        """Hand over what was accepted as soon as a turn of the loop adds nothing to it."""
        count = len(self._accepted.get(loop, ()))
        if known < count < MAX_BATCH and time.monotonic() < until:
            loop.call_soon(self._gather, loop, count, until)
        else:
            self._hand_over(loop)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        accepted = self._accepted.pop(loop, None)
        if accepted is None:
            return
        with self._gate:
            if not self._is_closing:
                self._queue.put(accepted)
                return
        for job in accepted:
            job.error = StorageUnavailable("the database is closed")
        deliver(accepted)

    def _write_loop(self) -> None:
        while True:
            batch, last = self._collect()
            if batch:
                self._commit(batch)
                answer(batch)
            if last:
                return

    def _collect(self) -> tuple[list[Job], bool]:
        batch: list[Job] = []
        jobs = self._queue.get()
        while jobs is not None:
            batch += jobs
            if len(batch) >= MAX_BATCH:
                return batch, False
            try:
                jobs = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, batch: list[Job]) -> None:
        saved, committing = self._chain.copy(), False
        self._events = []
        try:
            self._files.check()
            self._writer.execute("BEGIN IMMEDIATE")
            named = [job for job in batch if not isinstance(job.operation, str)]
            fill = partial(self._fill, batch, named)
            if named and all(
                isinstance(job.operation, Change) and job.loop is batch[0].loop for job in named
            ):
                Errand(fill).do(batch[0].loop)  # each is one statement: short enough for a turn of the loop
            else:
                fill()
            if any(job.operation not in QUIET for job in named if not isinstance(job.operation, Change)):
                self._writer.execute(COUNT_CHANGE)
            reach("commit.begun", named)
            committing = True
            self._writer.execute("COMMIT")
            self._commits.count += 1
            reach("commit.done", named)
        except Exception as error:  # whatever it is, the writer goes on and nobody is left waiting
            # A failed COMMIT may have reached the file all the same, so the chain must not go on from the head before it.
            self._chain = Chain() if committing else saved
            self._recover(error)
            unavailable = StorageUnavailable(str(error), unknown=committing)
            if _kind(error) == sqlite3.SQLITE_BUSY and not committing:
                batch += waiting_in(self._queue)  # or they would wait for the file one batch after the other
            for job in batch:
                job.result, job.error = None, unavailable

    def _fill(self, batch: list[Job], named: list[Job]) -> None:
        self._append([job for job in batch if isinstance(job.operation, str)])
        for job in named:
            self._run(job)
        if self._events:
            self._writer.executemany(placeholders(INSERT_EVENT), all_bound(self._events))
            written(self._events)

    def _recover(self, error: Exception) -> None:
        usable = _kind(error) != sqlite3.SQLITE_READONLY
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            usable = False
        if not usable:  # the next batch starts on a new connection, or learns why there is none
            with contextlib.suppress(sqlite3.Error):
                writer, self._writer = self._writer, self._connect()
                writer.close()

    def _append(self, jobs: list[Job]) -> None:
        groups: dict[str, list[Job]] = {}
        for job in jobs:
            groups.setdefault(str(job.operation), []).append(job)
        for sql, group in groups.items():
            self._insert(placeholders(sql), group)

    def _insert(self, sql: str, jobs: list[Job]) -> None:
        self._writer.execute("SAVEPOINT rows")
        try:
            self._writer.executemany(sql, all_bound([job.args for job in jobs]))
        except STATEMENT_ERRORS as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
                raise
            self._writer.execute("ROLLBACK TO rows")
            if len(jobs) == 1:
                jobs[0].error = error
            else:  # find the row at fault, and store the others
                for job in jobs:
                    self._insert(sql, [job])
        self._writer.execute("RELEASE rows")

    def _run(self, job: Job) -> None:
        tx = SqliteTransaction(self._writer, self._chain, self._audit_key, self._events)
        saved, recorded = self._chain.copy(), len(self._events)
        single = isinstance(job.operation, Change) or job.operation in SINGLE
        if not single:
            self._writer.execute("SAVEPOINT job")
        try:
            if isinstance(job.operation, Change):
                job.result = drive(_change(tx, job))
                if not job.result:
                    self._chain = saved
                    del self._events[recorded:]
            else:
                assert not isinstance(job.operation, str)
                job.result = drive(job.operation(tx, *job.args, **job.kwargs))
        except BaseException as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, STATEMENT_ERRORS):
                raise  # the disk or the file is at fault, not the operation: none of the batch may be acknowledged
            if single and isinstance(error, Undecodable):
                raise  # it may have changed what it read, and has no savepoint
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
                raise  # the fence of a database that was moved away
            job.error = error
            self._chain = saved
            del self._events[recorded:]
            if not single:
                self._writer.execute("ROLLBACK TO job")
        if not single:
            self._writer.execute("RELEASE job")


def _kind(error: BaseException) -> int:
    """Return the code of an error of SQLite, without its subdivision; 0 for any other error."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


async def _change(tx: SqliteTransaction, job: Job) -> bool:
    change, entry = job.operation, job.entry
    assert isinstance(change, Change)
    assert entry is not None
    # The event comes first: without a savepoint, nothing may fail after the change has taken effect.
    await tx.append(entry)
    if not await tx.run(stepped(change.sql), *job.args):
        return False
    faults.reach("change.made", change.name)
    return True
