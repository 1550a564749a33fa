"""The heartbeat of a server: one coarse clock and one timer for all of its HTTP connections, and one measure of what they keep.

Owns what the connections of one uvicorn server share, so that a request costs no timer and no clock reading of its
own. What a passed deadline means, what a turn does, and what is refused for lack of room, is `protocol`'s business.
"""

import asyncio
import math
from contextvars import copy_context
from typing import ClassVar, Final, Protocol, cast
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

from watchword.http_server.exchange import LOGGER, Application, trace
from watchword.http_server.syntax import ChunkedBody, Head

KEPT_FREE: Final = 8 * 1024  # bytes that a connection may keep, however much others do: most requests
TELL: Final = (
    60.0  # seconds between two lines of the log that say how many requests were refused for lack of room
)


class Connection(Protocol):
    """What the heartbeat needs of a connection."""

    app: Application
    transport: asyncio.Transport
    buffer: bytearray
    head: Head | None  # while its body is on its way in
    raw: bytes
    chunked: ChunkedBody | None
    kept: int  # as it was counted last
    kept_limit: ClassVar[int]

    def check(self, now: float) -> None: ...
    def advance(self) -> None: ...


class Pulse:
    """What all connections of one server share: a coarse clock, one timer, the common header lines."""

    of: ClassVar[WeakKeyDictionary[ServerState, "Pulse"]] = WeakKeyDictionary()

    def __init__(self, state: ServerState, loop: asyncio.AbstractEventLoop, interval: float) -> None:
        self.connections = cast("set[Connection]", state.connections)
        self.loop = loop
        self.context = copy_context()  # not a request's: variables that one sets must not reach the next
        self.interval = interval
        self.now = loop.time()
        self.timer: asyncio.TimerHandle | None = None
        self.fields: list[tuple[bytes, bytes]] | None = None
        self.lines = b""
        self.ready: list[Connection] = []
        self.kept = 0  # bytes of requests that are on their way in, of all connections
        self.crowded_out = 0  # requests, since the log was told last
        self.told_at = -math.inf
        self.stopping = False  # uvicorn does not tell connections that are accepted while it stops

    @classmethod
    def shared(cls, state: ServerState, loop: asyncio.AbstractEventLoop, interval: float) -> "Pulse":
        """Return the one of a server, made for its first connection."""
        found = cls.of.get(state)
        if found is None:
            found = cls.of[state] = cls(state, loop, interval)
        return found

    def soon(self, connection: Connection) -> None:
        """Advance the connection in the loop's next turn, together with all others that have input.

        Reading all, answering all, writing all costs a sixth less than doing the three for each in turn.
        """
        if not self.ready:
            self.loop.call_soon(self.advance_ready, context=self.context)
        self.ready.append(connection)

    def advance_ready(self) -> None:
        """Start one request on every connection that has input."""
        ready, self.ready = self.ready, []
        for connection in ready:
            try:
                connection.advance()
            except Exception as error:  # a fault of ours must not take the others down
                LOGGER.error("Unhandled fault in the protocol: %s", trace(error))
                connection.transport.abort()

    def has_room(self, connection: Connection) -> bool:
        """Count what a connection keeps of its input; return whether that is little, or all keep no more than they may together.

        Whoever is told that it has no room refuses what it keeps, which is counted here, and by an application that has a function
        `crowded_out`.
        """
        chunked = connection.chunked
        kept = len(connection.buffer) + (0 if chunked is None else len(chunked.body))
        if connection.head is not None:
            kept += 2 * len(connection.raw)  # as it arrived, and taken apart
        self.kept += kept - connection.kept
        connection.kept = kept
        if kept <= KEPT_FREE or self.kept <= connection.kept_limit:
            return True
        self.crowded_out += 1
        getattr(connection.app, "crowded_out", object)()
        return False

    def tell(self) -> None:
        """Say in the log, now and then, how many requests found no room."""
        if self.crowded_out and self.now >= self.told_at + TELL:
            LOGGER.warning("%d requests refused: there was no room beside what others send", self.crowded_out)
            self.crowded_out, self.told_at = 0, self.now

    def start(self) -> None:
        """Beat as long as there are connections."""
        if self.timer is None:
            self.now = self.loop.time()
            self.timer = self.loop.call_later(self.interval, self.beat)

    def beat(self) -> None:
        """Look at every connection's deadlines."""
        self.timer = None
        if self.connections:
            self.start()
        for connection in tuple(self.connections):
            connection.check(self.now)
        self.tell()

    def common_headers(self, fields: list[tuple[bytes, bytes]]) -> bytes:
        """uvicorn's date and configured headers, which it renews once a second, without `server`."""
        if fields is not self.fields:
            self.fields = fields
            self.lines = b"".join(b"%b: %b\r\n" % field for field in fields if field[0] != b"server")
        return self.lines
