"""The heartbeat of a server: one coarse clock and one timer for all of its HTTP connections.

Owns what the connections of one uvicorn server share, so that a request costs no timer and no clock reading of its
own. What a passed deadline means, and what a turn does, is `protocol`'s business.
"""

import asyncio
from contextvars import copy_context
from typing import ClassVar, Protocol, cast
from weakref import WeakKeyDictionary

from uvicorn.server import ServerState

from watchword.protocol_exchange import LOGGER, trace


class Connection(Protocol):
    """What the heartbeat needs of a connection."""

    transport: asyncio.Transport

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
        self.stopping = False  # uvicorn does not tell connections that are accepted while it stops

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

    def common_headers(self, fields: list[tuple[bytes, bytes]]) -> bytes:
        """uvicorn's date and configured headers, which it renews once a second, without `server`."""
        if fields is not self.fields:
            self.fields = fields
            self.lines = b"".join(b"%b: %b\r\n" % field for field in fields if field[0] != b"server")
        return self.lines
