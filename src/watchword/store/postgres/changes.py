"""PostgreSQL LISTEN/NOTIFY: how a node learns that another node may have changed something.

Theory of operation. What a node caches is tagged with a version, and dropped when the version moves. It moves when this node
has committed a change, when another node announces one, and by itself after `MAX_AGE` seconds. A node that hears no announcement
is therefore never stale by more than `MAX_AGE`, which is half a second, whatever happens to its listening connection.

Announcements are sent after the commit, on a connection of their own, many commits in one: a NOTIFY inside the transaction
would make every commit of every node wait for the one before it. When a node dies between commit and announcement, the others
depend on `MAX_AGE`. Whoever revokes a token and then asks another node about it must not be answered from that node's cache (MN-01): a
revocation is acknowledged once it is announced, or once everything cached before it is too old. What kept this node from listening, the
loss of the primary above all, may have cut off others as well: for `SHAKEN` seconds after it reconnects, an announcement alone is
not relied on.

The connection also holds a shared advisory lock for as long as it lives. Whoever replaces the contents of the database takes that lock
exclusively, since a node works from memory (its keys, its audit chain, the status lists whose indices it assigns). The lock is taken
before the node reads anything, or a restore could begin between the read and the lock. Each schema has one of its own.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from watchword.store.database import StorageUnavailable
from watchword.store.postgres.errors import FAILURES, sqlstate

CHANNEL = "watchword_changes"
# The lock, by its number: that of the schema `public` is the constant alone, by which a node of the release before knows it everywhere.
# The schema is the one that has the tables: roles that share them may each be given another one as the current schema.
SERVED = (
    f"{int.from_bytes(b'watchwor')} + COALESCE((SELECT CAST(oid AS BIGINT) FROM pg_namespace WHERE nspname <> 'public' AND oid = "  # noqa: S608 - literals
    "COALESCE((SELECT relnamespace FROM pg_class WHERE oid = to_regclass('schema_versions')), "
    "(SELECT oid FROM pg_namespace WHERE nspname = current_schema()))), 0)"
)
# Keepalives: half a minute after a machine loses power, its lock no longer keeps anybody from restoring.
PRESENT = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4; "
    f"SELECT pg_advisory_lock_shared({SERVED})"
)
ANNOUNCE = "SELECT pg_notify($1, $2)"
TAKEN = "57014"  # the wait for the lock was longer than a statement may take
# Classes of SQLSTATE (unsupported feature, unknown function): a database that speaks the protocol may lack advisory locks.
LACKING = ("0A", "42")
IN_WORK = "the database is being restored, or is being filled by `watchword move`: let it finish first"
MAX_AGE = 0.5
PING = 5.0
RETRY = 1.0
PATIENCE = MAX_AGE
SHAKEN = 10.0
HEARING = 0.005  # seconds for an announcement that was just sent to reach the other nodes

Connect = Callable[[], Awaitable[Any]]


class Changes:
    """The version that moves, and the connection that announces and listens."""

    def __init__(self, connect: Connect, node: str, timeout: float) -> None:
        self._connect = connect
        self._node = node
        self._timeout = timeout  # seconds that the server may take for a statement
        self._numbers = itertools.count()
        self._number = next(self._numbers)
        self._since = 0.0
        self._unsent = asyncio.Event()
        self._due = self._told = 0  # changes of this node, and how many of them the others have been told of
        self._turn = asyncio.Event()  # set, and replaced by a new one, whenever `_told` has moved
        self._was_cut = False
        self._shaken_until = 0.0
        self._closing = False
        self._first: Any = None
        self._task: asyncio.Task[None] | None = None

    def version(self) -> int:
        """Return the version; what was cached under another one may be stale."""
        if time.monotonic() - self._since >= MAX_AGE:
            self._move()
        return self._number

    def changed(self) -> None:
        """Note that this node has committed a change, and tell the others."""
        self._move()
        self._due += 1
        self._unsent.set()

    async def announced(self) -> None:
        """Return once the other nodes have been told of what this one changed, or have nothing older cached."""
        due = self._due
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while self._told < due or time.monotonic() < self._shaken_until:
                    await self._turn.wait()
                await asyncio.sleep(HEARING)

    def _wake(self) -> None:
        self._turn.set()
        self._turn = asyncio.Event()

    def _move(self) -> None:
        self._number = next(self._numbers)  # never one that was used before, whichever thread moves it
        self._since = time.monotonic()

    def _heard(self, _connection: object, _pid: int, _channel: str, node: str) -> None:
        if node != self._node:
            self._move()

    async def enter(self, connection: Any) -> None:
        """Take the lock, before anything is read; raise StorageUnavailable while somebody has the database alone.

        The connection is kept, to listen later; it may have no time limit of its own.
        """
        self._first = connection
        try:
            await connection.execute(PRESENT, timeout=self._timeout)
        except FAILURES as error:
            if sqlstate(error) == TAKEN:
                raise StorageUnavailable(IN_WORK) from error
            if sqlstate(error)[:2] not in LACKING:
                raise

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._follow(), name="watchword-changes")

    async def close(self) -> None:
        """Send what is still to be announced, then disconnect."""
        if self._task is None:
            return
        self._closing = True
        self._unsent.set()
        await asyncio.wait({self._task}, timeout=RETRY)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        if self._first is not None:  # it was closed before it began
            self._first.terminate()

    async def _follow(self) -> None:
        while not self._closing:
            with contextlib.suppress(*FAILURES):
                connection = self._first or await self._present()
                self._first = None
                try:
                    await self._listen(connection)
                finally:
                    self._was_cut = True
                    connection.terminate()
            self._move()
            if not self._closing:
                await asyncio.sleep(RETRY)

    async def _present(self) -> Any:
        connection = await self._connect()
        try:
            await connection.execute(PRESENT)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _listen(self, connection: Any) -> None:
        connection.add_termination_listener(lambda _connection: self._unsent.set())
        async with asyncio.timeout(self._timeout):
            await connection.add_listener(CHANNEL, self._heard)
        self._move()
        if self._was_cut:
            self._shaken_until = time.monotonic() + SHAKEN
        while not self._closing or self._unsent.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._unsent.wait(), PING)
            self._unsent.clear()
            due = self._due
            try:
                await connection.execute(ANNOUNCE, CHANNEL, self._node, timeout=self._timeout)
            except BaseException:
                self._unsent.set()
                raise
            self._told = due
            self._wake()
