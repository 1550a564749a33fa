"""PostgreSQL LISTEN/NOTIFY: how a node learns that another node may have changed something.

Theory of operation. What a node remembers is tagged with a number, and forgotten when the number moves. It moves when this node
has committed a change, when another node announces one, and by itself after `MAX_AGE` seconds. A node whose announcements are cut
off is therefore never late by more than `MAX_AGE`, which is half a second, whatever happens to its listening connection.

Announcements are sent after the commit and on a connection of their own, many commits in one: a NOTIFY inside the transaction
would make every commit of every node wait for the one before it. A node that dies between commit and announcement leaves the
others to `MAX_AGE`. Who revoked a token and asks the next node about it must not be told by what that node remembers (MN-01): an ending is
acknowledged when it was announced, or when whatever was remembered from before is too old. What kept this node from listening, the loss of
the primary above all, may have made others deaf as well: for `SHAKEN` seconds after it hears again an announcement alone is
not believed.

The connection also holds a lock, shared with those of other nodes, for as long as it is there: whoever puts another database in the place of
this one wants it alone, since what a node goes by (its keys, its chain of audit events, lists of which it gives places away) is in its memory.
It is there before the node reads anything, or a restore could begin between what was read and the lock.
"""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any

from watchword.store.database import StorageUnavailable
from watchword.store.postgres_errors import FAILURES, sqlstate

CHANNEL = "watchword_changes"
SERVED = int.from_bytes(b"watchwor")  # the lock, by its number
# A machine that lost its power is not there any more half a minute later, nor does its lock keep anybody from restoring.
PRESENT = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 4; "
    f"SELECT pg_advisory_lock_shared({SERVED})"
)
TAKEN = "57014"  # the wait for the lock was longer than a statement may take
# Features and functions: a database that speaks the protocol may lack locks of this kind.
LACKING = ("0A", "42")
IN_WORK = "the database is being restored, or is being filled by `watchword move`: let it finish first"
MAX_AGE = 0.5
PING = 5.0
RETRY = 1.0
PATIENCE = MAX_AGE
SHAKEN = 10.0
HEARING = 0.005  # until the others, who are told at this moment, have heard it

Connect = Callable[[], Awaitable[Any]]


class Changes:
    """The number that moves, and the connection that announces and listens."""

    def __init__(self, connect: Connect, node: str) -> None:
        self._connect = connect
        self._node = node
        self._numbers = itertools.count()
        self._number = next(self._numbers)
        self._since = 0.0
        self._unsent = asyncio.Event()
        self._due = self._told = 0  # changes of this node, and how many of them the others have been told of
        self._turn = asyncio.Event()  # set when there is something to say of that, and then another one
        self._was_cut = False
        self._shaken_until = 0.0
        self._closing = False
        self._first: Any = None
        self._task: asyncio.Task[None] | None = None

    def version(self) -> int:
        """Return the number; what was remembered under another one may be wrong."""
        if time.monotonic() - self._since >= MAX_AGE:
            self._move()
        return self._number

    def changed(self) -> None:
        """Note that this node has committed a change, and tell the others."""
        self._move()
        self._due += 1
        self._unsent.set()

    async def announced(self) -> None:
        """Return once the other nodes have been told of what this one changed, or remember nothing from before it."""
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
        self._number = next(self._numbers)  # never one that was there before, whichever thread moves it
        self._since = time.monotonic()

    def _heard(self, _connection: object, _pid: int, _channel: str, node: str) -> None:
        if node != self._node:
            self._move()

    async def enter(self) -> None:
        """Take the lock, before anything is read; raise StorageUnavailable while somebody has the database alone."""
        try:
            self._first = await self._present()
        except FAILURES as error:
            if sqlstate(error) == TAKEN:
                raise StorageUnavailable(IN_WORK) from error
            if sqlstate(error)[:2] not in LACKING:
                raise

    def leave(self) -> None:
        """Give the lock back where the node did not begin to listen."""
        if self._first is not None:
            self._first.terminate()

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
        self.leave()

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
                await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, self._node)
            except BaseException:
                self._unsent.set()
                raise
            self._told = due
            self._wake()
