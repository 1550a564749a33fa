"""A pool of connections to PostgreSQL: bounded, and the most recently used one is lent first.

The driver's own pool costs three times what a query costs, for resets that are not needed here: no operation changes the state of
its session. A connection that was interrupted in the middle of something is not lent again.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from watchword.store.database import StorageUnavailable
from watchword.store.postgres.errors import FAILURES, unavailable

# Seconds after which a firewall or balancer in between may have dropped an idle connection.
LONGEST_IDLE = 300.0


class Connection(asyncpg.Connection):  # type: ignore[misc]  # the driver ships no types
    """A connection that keeps the warnings of its last statements, and the time since which it is idle."""

    __slots__ = ("idle_since", "warnings")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.idle_since = time.monotonic()
        self.warnings: list[str] = []
        self.add_log_listener(_note)


def _note(connection: Connection, message: Any) -> None:
    if getattr(message, "severity_en", None) == "WARNING":
        connection.warnings.append(str(message.message))


class Pool:
    """Connections made by `connect` on demand; waiting for one longer than `patience` seconds fails."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], size: int, patience: float) -> None:
        self._connect = connect
        self._free = size  # how many more may be made
        self._patience = patience
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._expired: set[Connection] = set()
        self._is_closed = False

    def lend(self) -> "Loan":
        """Return a context manager that lends a connection; entering it raises StorageUnavailable when there is none."""
        return Loan(self)

    def add(self, connection: Connection) -> None:
        """Add a connection that was made elsewhere."""
        self._free -= 1
        self._pass_on(connection)

    async def take(self) -> Connection:
        """Take a connection, an idle one if there is any; raise StorageUnavailable when there is none in time."""
        connection = self._take_idle()
        if connection is None:
            try:
                # Not wait_for: that of Python 3.11 forgets that it was cancelled when a connection fails in that moment.
                async with asyncio.timeout(self._patience):
                    connection = await self._wait_or_connect()
            except TimeoutError as error:
                reason = f"no database connection was free within {self._patience:g} s"
                raise StorageUnavailable(reason) from error
            except FAILURES as error:
                raise unavailable(error) from error
        self._lent.add(connection)
        return connection

    def _take_idle(self) -> Connection | None:
        if self._is_closed:
            raise StorageUnavailable("the database is closed")
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed() and time.monotonic() - connection.idle_since < LONGEST_IDLE:
                return connection
            self._discard(connection)
        return None

    async def _wait_or_connect(self) -> Connection:
        # Check for an idle one again after each wait: one may have come back since one was allowed to be made.
        while (connection := self._take_idle()) is None and not self._free:
            if (given := await self._wait()) is not None:
                return given
        return connection or await self._make()

    async def _wait(self) -> Connection | None:
        """Wait for a connection; None means that one may be made."""
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was handed over just before the cancellation
                self._pass_on(turn.result())
            raise

    async def _make(self) -> Connection:
        self._free -= 1
        try:
            connection = await self._connect()
        except BaseException:
            self._free += 1
            self._pass_on(None)
            raise
        if self._is_closed:
            self._discard(connection)
            raise StorageUnavailable("the database is closed")
        return connection

    def give_back(self, connection: Connection, *, whole: bool) -> None:
        """Take a connection back; it is closed unless it is `whole`, that is, was not interrupted."""
        self._lent.discard(connection)
        is_good = not self._is_closed and not connection.is_closed() and connection not in self._expired
        if whole and is_good:
            connection.idle_since = time.monotonic()
            self._pass_on(connection)
        else:
            self._discard(connection)

    def _pass_on(self, connection: Connection | None) -> None:
        """Give a connection, or None as the permission to make one, to whoever has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is not None:
            self._idle.append(connection)

    def _discard(self, connection: Connection) -> None:
        self._expired.discard(connection)
        cut(connection)
        self._free += 1
        self._pass_on(None)

    def expire(self) -> None:
        """Never lend any of the present connections again: they may lead to a server that is gone."""
        idle, self._idle = self._idle, []
        for connection in idle:
            self._discard(connection)
        self._expired |= self._lent

    async def close(self, timeout: float) -> None:
        """Stop lending. Close idle connections in order where the server answers within `timeout` seconds, and cut the others."""
        self._is_closed = True
        while self._waiting:
            self._pass_on(None)
        idle, self._idle = self._idle, []
        with contextlib.suppress(*FAILURES):
            await asyncio.wait_for(
                asyncio.gather(*(connection.close() for connection in idle), return_exceptions=True), timeout
            )
        for connection in (*idle, *self._lent):
            cut(connection)


class Loan:
    """The time for which a connection is lent."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: Connection | None = None

    async def __aenter__(self) -> Connection:
        self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        assert self._connection is not None
        # A BaseException (a cancelled task, a closed coroutine) may have stopped the borrower in the middle of a statement.
        whole = kind is None or (issubclass(kind, Exception) and not issubclass(kind, TimeoutError))
        self._pool.give_back(self._connection, whole=whole)


_ending: set[Connection] = set()  # those of which the driver has not been told yet that they have ended


def cut(connection: Connection) -> None:
    """Abort a connection as if the server had gone, which the driver reports to whoever is using it.

    The driver's own `terminate` clears state that a borrower between two steps of a query still needs. It hears of the end with the
    next turns of the loop; one that nobody holds until then would be reported as never closed.
    """
    connection._transport.abort()
    if not connection.is_closed():
        _ending.add(connection)
        connection.add_termination_listener(_ending.discard)
