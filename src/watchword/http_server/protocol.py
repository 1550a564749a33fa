"""RFC 9112: the HTTP/1.1 server protocol that uvicorn runs (`uvicorn.Config(http=LeanProtocol)`).

Theory of operation. A connection is in one phase at a time:

    idle     between requests            → head when a byte arrives
    head     a head is on its way in     → body when it is complete and a body is due, else running
    body     a body is on its way in     → running when it is complete
    running  the application has it      → idle or head when the answer is written, closing if it was the last
    linger   refused: the answer is out, the rest of the input is discarded until the client has seen it
    closing  waiting for the last bytes to leave

Each phase has a deadline; one coarse timer per server checks all of them. Input beyond the current request
stays unparsed in the buffer, so answers are sequential, and a refused request ends all parsing. Syntax lives
in `syntax`, the ASGI side in `exchange`. HTTP/2, WebSockets and access logs are not here.

Applications name their hot handlers in an attribute `hot`, a set of (method, path). A hot handler runs in no
task: it may await plain futures of the running loop, and nothing that needs a current task. An application may also
have a method `prepare`. Clients repeat the head of a hot request byte for byte on a connection, so `prepare` turns its
scope into a function that answers any number of bodies; where it returns None, the request takes the way of ASGI. It is also
given a function that tells whether the client has left: a question for the system, which costs nothing until it is asked.
"""

import asyncio
import math
from typing import Any, ClassVar, Final, cast

from uvicorn import Config
from uvicorn.server import ServerState

from watchword.http_server.exchange import (
    NOSNIFF,
    Application,
    DirectExchange,
    Exchange,
    Prepare,
    Respond,
    plain_answer,
    run_hot,
    unprepared,
)
from watchword.http_server.peer import address, has_ended, has_input, has_left, tls_facts
from watchword.http_server.pulse import KEPT_FREE, Pulse
from watchword.http_server.syntax import (
    BODY_LIMIT,
    HEAD_LIMIT,
    ChunkedBody,
    Head,
    Refused,
    check_begun,
    parse_head,
)

PIPELINE_LIMIT: Final = 64 * 1024  # bytes kept for later requests before reading pauses
WRITE_PROGRESS: Final = 32 * 1024  # bytes that a client has to take within each `write_timeout`
RETRY: Final = b"retry-after: 1\r\n"
ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class LeanProtocol(asyncio.Protocol):
    """One connection. Subclass it to change a limit: sizes in bytes, times in seconds."""

    body_limit: ClassVar[int] = BODY_LIMIT
    kept_limit: ClassVar[int] = 32 * 1024 * 1024  # of unfinished requests, all connections together
    interval: ClassVar[float] = 0.5  # between two checks of the deadlines
    timeouts: ClassVar[dict[str, float]] = {
        "head": 10.0,
        "body": 30.0,
        "running": math.inf,
        "linger": 2.0,
        "closing": 30.0,
    }
    write_timeout: ClassVar[float] = 30.0  # without progress of WRITE_PROGRESS bytes, or to the end
    parting: ClassVar[float] = 0.05  # from the order to stop until an idle connection is closed
    too_late: ClassVar[float] = 2.0  # when a client that hung up is not served: it has retried elsewhere

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.config = config
        self.state = server_state
        self.app_state = app_state
        self.app: Application = config.loaded_app
        self.hot: frozenset[tuple[str, str]] = getattr(self.app, "hot", frozenset())
        self.security: bytes = getattr(self.app, "security_lines", NOSNIFF)
        self.prepare: Prepare = getattr(self.app, "prepare", unprepared)
        self.loop = _loop or asyncio.get_running_loop()
        self.pulse = Pulse.shared(server_state, self.loop, self.interval)
        self.transport: asyncio.Transport
        self.buffer = bytearray()
        self.scanned = self.unsent = self.kept = 0
        self.head: Head | None = None
        self.raw = b""  # the head of a request that the application has not got yet, as it arrived
        self.hot_raw = b""  # the last head that was hot
        self.hot_head: Head | None = None
        self.chunked: ChunkedBody | None = None
        self.exchange: Exchange | DirectExchange | None = None
        self.respond: Respond | None = None
        self.writable: asyncio.Event | None = None
        self.reading = True
        self.lost = self.eof = self.overloaded = False
        self.write_deadline = math.inf
        self.enter("head")

    # the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register, learn the addresses, start the clock."""
        self.transport = cast("asyncio.Transport", transport)
        connections = self.pulse.connections
        connections.add(self)
        limit = self.config.limit_concurrency
        self.overloaded = self.pulse.stopping or (limit is not None and len(connections) > limit)
        if (limit is not None and len(connections) > 2 * limit) or has_left(transport, self.too_late):
            self.transport.abort()
        self.client = address(transport.get_extra_info("peername"))
        self.server = address(transport.get_extra_info("sockname"))
        self.tls = tls_facts(transport.get_extra_info("ssl_object"))
        self.pulse.start()
        self.enter("head")

    def connection_lost(self, exc: Exception | None) -> None:
        """Deregister; tell the application if it is still at work."""
        self.lost = True
        self.pulse.connections.discard(self)
        self.drop_input()
        self.respond = None  # it may know this connection, by what it was prepared with
        self.resume_writing()
        if self.exchange is not None:
            self.exchange.disconnected()

    def data_received(self, data: bytes) -> None:
        """Keep what arrives; parse unless a request is being answered."""
        if self.phase in ("linger", "closing"):
            return
        if self.overloaded:
            self.refuse(Refused(503, RETRY))
            return
        self.buffer += data
        if self.exchange is None:
            self.pulse.soon(self)
        elif len(self.buffer) > PIPELINE_LIMIT and self.reading:
            self.reading = False
            self.transport.pause_reading()
            if not self.pulse.has_room(self):
                self.transport.abort()  # an answer may be half out: there is no place for another

    def eof_received(self) -> bool:
        """The client sends no more: it has left, unless it waits for the answer to what it sent before."""
        self.eof = True
        if self.tls is not None:
            return False  # TLS has no half-closed state here
        if self.exchange is not None:
            return self.exchange.pending()
        if self.buffer:
            self.pulse.soon(self)
        return bool(self.buffer)

    def pause_writing(self) -> None:
        """The client reads more slowly than the application writes."""
        self.writable = asyncio.Event()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.write_deadline = math.inf
        if self.writable is not None:
            self.writable.set()
            self.writable = None

    # the server's side

    def shutdown(self) -> None:
        """Finish the present request, even one that has only begun to arrive or is still on its way, and close."""
        self.pulse.stopping = True
        if self.exchange is not None:
            self.exchange.wind_up()
        elif self.phase == "idle":
            self.loop.call_later(self.parting, self.part)
        elif self.phase == "head" and not self.buffer:  # the first request
            self.enter("head", within="linger")

    def part(self) -> None:
        """Close if nothing has come: a request that stays unread is lost, and few clients dare to repeat it (RFC 9110 §9.2.2)."""
        if self.phase == "idle" and not (self.lost or self.buffer):
            if has_input(self.transport):
                self.loop.call_later(self.parting, self.part)
            else:
                self.close()

    def has_left(self) -> bool:
        """Whether the client has closed the connection or ended its side, as far as is known; called from any thread."""
        return self.lost or self.eof or has_ended(self.transport)

    def stopping(self) -> bool:
        """Whether the server is to stop."""
        return self.pulse.stopping

    def common_headers(self) -> bytes:
        """Header lines of every answer."""
        return self.pulse.common_headers(self.state.default_headers)

    def check(self, now: float) -> None:
        """End a connection whose time is up."""
        unsent = self.transport.get_write_buffer_size()
        if self.stalled(unsent, now):
            self.transport.abort()
        elif now >= self.deadline:
            self.expire(unsent)

    def stalled(self, unsent: int, now: float) -> bool:
        """Whether the client has stopped reading, or hardly reads, what is written for it."""
        if unsent == 0:
            self.write_deadline = math.inf
        elif self.write_deadline == math.inf or unsent <= self.unsent - WRITE_PROGRESS:
            self.unsent = unsent
            self.write_deadline = now + self.write_timeout - self.interval
        return now >= self.write_deadline

    def expire(self, unsent: int) -> None:
        """The client was too slow, or has nothing more to say."""
        if self.phase == "closing":
            if not unsent:
                self.transport.abort()
        elif self.phase == "body" or (self.phase == "head" and self.buffer):
            self.refuse(Refused(408))
        else:
            self.close()

    # requests

    def enter(self, phase: str, within: str = "") -> None:
        """Change the phase; its deadline never passes later than its timeout says, or that of the phase `within`."""
        timeout = self.config.timeout_keep_alive if phase == "idle" else self.timeouts[within or phase]
        self.phase = phase
        self.deadline = self.pulse.now + timeout - self.interval

    def advance(self) -> None:
        """Start the next request if it is complete."""
        if self.exchange is not None or self.phase in ("linger", "closing") or self.lost:
            return
        try:
            request = self.take_request()
            if (self.kept or self.head or len(self.buffer) > KEPT_FREE) and not self.pulse.has_room(self):
                raise Refused(503, RETRY)
        except Refused as refusal:
            self.refuse(refusal)
            return
        if not self.reading and (request is None or len(self.buffer) <= PIPELINE_LIMIT):
            self.reading = True
            self.transport.resume_reading()
        if request is not None:
            self.run(*request)
        elif self.eof:
            self.close()

    def take_request(self) -> tuple[Head, bytes] | None:
        """Take one complete request out of the buffer; raises Refused."""
        head = self.head or self.take_head()
        if head is None:
            if self.phase == "idle" and self.buffer:
                self.enter("head")
            return None
        body = self.take_body(head)
        self.head = head if body is None else None
        return None if body is None else (head, body)

    def take_head(self) -> Head | None:
        """Take one head out of the buffer, if all of it is there; raises Refused."""
        buffer = self.buffer
        if buffer.startswith(b"\r\n"):
            del buffer[:2]  # one empty line before a request is forgiven: §2.2
        end = buffer.find(b"\r\n\r\n", self.scanned, HEAD_LIMIT) + 4
        if end < 4:
            check_begun(buffer, self.scanned)
            self.scanned = max(0, len(buffer) - 3)
            return None
        raw = bytes(buffer[:end])
        del buffer[:end]
        self.scanned, self.raw = 0, raw
        # Clients repeat the heads of hot requests byte for byte.
        head = self.hot_head if raw == self.hot_raw else None
        head = self.head = head or parse_head(raw)
        self.await_body(head)
        return head

    def await_body(self, head: Head) -> None:
        """Prepare for the body that the head announces; raises Refused when it is too long."""
        if head.length is None:
            self.chunked = ChunkedBody(self.body_limit)
        elif head.length > self.body_limit:
            raise Refused(413)
        elif head.length <= len(self.buffer):
            return
        self.enter("body")
        if head.expects_continue and not self.buffer:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def take_body(self, head: Head) -> bytes | None:
        """Take the body out of the buffer, if all of it is there; raises Refused."""
        if head.length == 0:
            return b""
        if self.chunked is not None:
            body = self.chunked.take(self.buffer)
            if body is not None:
                self.chunked = None
            return body
        if len(self.buffer) < (head.length or 0):
            return None
        body = bytes(self.buffer[: head.length])
        del self.buffer[: head.length]
        return body

    def run(self, head: Head, body: bytes) -> None:
        """Hand a complete request to the application."""
        self.enter("running")
        respond = self.respond if head is self.hot_head else self.meet(head)
        self.raw = b""
        keep_alive = head.keep_alive and not self.pulse.stopping
        if respond is not None:
            direct = self.exchange = DirectExchange(self, keep_alive)
            run_hot(direct.serve(respond, body), self.loop, self.state.tasks)
            return
        exchange = self.exchange = Exchange(self, self.scope(head), body, keep_alive)
        coroutine = exchange.serve(self.app)
        if (head.method, head.path) in self.hot:
            run_hot(coroutine, self.loop, self.state.tasks)
        else:
            task = self.loop.create_task(coroutine)
            self.state.tasks.add(task)
            task.add_done_callback(self.state.tasks.discard)

    def meet(self, head: Head) -> Respond | None:
        """Prepare for requests with this head; return how they are answered, or None for the general way through ASGI."""
        if (head.method, head.path) not in self.hot or head.method == "HEAD" or len(self.raw) > KEPT_FREE:
            return None
        respond = self.prepare(self.scope(head), self.has_left)
        if respond is not None:
            self.hot_head, self.hot_raw, self.respond = head, self.raw, respond
        return respond

    def scope(self, head: Head) -> dict[str, Any]:
        """The ASGI scope of a request."""
        root = self.config.root_path
        scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": head.http_version,
            "server": self.server,
            "client": self.client,
            "scheme": "http" if self.tls is None else "https",
            "method": head.method,
            "root_path": root,
            "path": root + head.path if root else head.path,
            "raw_path": root.encode() + head.raw_path if root else head.raw_path,
            "query_string": head.query_string,
            "headers": head.headers.copy(),
            "state": self.app_state.copy(),
        }
        if self.tls is not None:
            scope["extensions"] = {"watchword.tls": self.tls}
        return scope

    def finished(self, keep_alive: bool) -> None:
        """An answer is complete: go on to the next request, or close."""
        self.exchange = None
        self.state.total_requests += 1
        if not keep_alive or (self.eof and not self.buffer):
            self.close()
        elif self.buffer:
            self.enter("head")
            self.pulse.soon(self)  # one request per turn: other connections come in between
        else:
            self.enter("idle")

    def refuse(self, refusal: Refused) -> None:
        """Answer a request that can't be served, and never parse the rest of the input."""
        self.transport.write(plain_answer(self, refusal.status, refusal.headers))
        self.drop_input()
        self.enter("linger")  # closing with input unread would reset the connection and lose the answer: §9.6
        if self.transport.can_write_eof():
            self.transport.write_eof()
        if not self.reading:
            self.reading = True
            self.transport.resume_reading()

    def drop_input(self) -> None:
        """Forget what has arrived of the next request."""
        self.buffer.clear()
        self.head = self.chunked = None
        self.pulse.has_room(self)

    def close(self) -> None:
        """Close after the last byte has left."""
        # An idle client does not see the end of TLS, and so does not answer it.
        self.enter("closing", within="linger" if self.pulse.stopping and self.tls is not None else "")
        self.transport.close()
