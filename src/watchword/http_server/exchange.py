"""ASGI 3: one request and its answer on a connection.

Owns `receive` and `send`, the framing of the answer (RFC 9112 §6) and the two ways to drive the application: in
an asyncio task, or, for hot handlers, directly from the socket callback. Does not read from the socket, parse,
or time anything: that is `protocol`. The request is complete before the application is called, so `receive`
yields one message, and a second call waits for the end of the exchange.

`DirectExchange` is the short cut for applications that have `prepare`: from the body to the whole answer, without messages.
"""

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping, Sequence
from contextvars import Context, copy_context
from http import HTTPStatus
from typing import Any, Final, Protocol

from watchword.http_server.syntax import Head

Message = MutableMapping[str, Any]  # open by the ASGI specification, as the scope is
Scope = MutableMapping[str, Any]
Application = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
# Takes the body of a request; returns status, header lines (see `field_lines`) and body of the response.
Respond = Callable[[bytes], Awaitable[tuple[int, bytes, bytes]]]
# Takes the scope of requests, and a function that tells whether their client has left; returns how they are answered.
Prepare = Callable[[Scope, Callable[[], bool]], Respond | None]

LOGGER: Final = logging.getLogger("watchword.http")
PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {PHRASES.get(status, '')}\r\n".encode() for status in range(200, 600)
}
BODILESS: Final = frozenset({204, 304})
NOSNIFF: Final = b"x-content-type-options: nosniff\r\n"


class Connection(Protocol):
    """What an exchange needs of the connection that it runs on."""

    app: Application
    head: Head | None  # of a request whose body is on its way in
    raw: bytes  # the head of a request that the application has not got yet, as it arrived
    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    writable: asyncio.Event | None  # None: write at will
    lost: bool
    eof: bool  # the client sends no more, but may still read
    security: bytes  # the lines that the application sends with every answer

    def stopping(self) -> bool: ...
    def common_headers(self) -> bytes: ...
    def finished(self, keep_alive: bool) -> None: ...


class Exchange:
    """One request being answered."""

    __slots__ = ("body", "complete", "connection", "ended", "keep_alive", "left", "phase", "scope", "start")

    def __init__(self, connection: Connection, scope: Scope, body: bytes, keep_alive: bool) -> None:
        self.connection = connection
        self.scope = scope
        self.body: bytes | None = body
        self.keep_alive = keep_alive
        self.start: Message | None = None
        # How the body is delimited, once the head is out: "length", "chunked", "close", "none".
        self.phase = ""
        self.left = 0
        self.complete = False
        self.ended: asyncio.Event | None = None

    async def receive(self) -> Message:
        """The request, once; then the end of the exchange, when it comes."""
        body, self.body = self.body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        if not (self.complete or self.connection.lost or self.connection.eof or self.may_end()):
            self.ended = self.ended or asyncio.Event()
            await self.ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take one message of the answer; head and first body part leave in one write."""
        kind = message["type"]
        if kind == "http.response.start" and self.start is None:
            self.start = message
            return
        if kind != "http.response.body" or self.start is None or self.complete:
            raise RuntimeError("unexpected ASGI message")
        if self.connection.writable is not None:
            await self.connection.writable.wait()
        if self.connection.lost:
            return
        more = message.get("more_body", False)
        part = message.get("body", b"")
        head = self.head(self.start, None if more else len(part)) if not self.phase else b""
        self.connection.transport.write(head + self.framed(part, more))
        if not more:
            self.end()
        elif head and self.may_end():
            self.disconnected()

    def head(self, start: Message, size: int | None) -> bytes:
        """The answer's head; `size` is that of the whole body where it is known already."""
        status, fields = start["status"], list(start.get("headers", ()))
        known = {name.lower(): value for name, value in fields}
        if b"transfer-encoding" in known:
            raise RuntimeError("the server frames the body")
        line = STATUS_LINES[status]
        declared = known.get(b"content-length")
        framing, phase = self.framing(status, size, declared)
        if known.get(b"connection", b"").lower() == b"close":
            self.keep_alive = False
        elif phase == "close" or not self.keep_alive:
            self.keep_alive = False
            framing += b"connection: close\r\n"
        head = line + self.connection.common_headers() + field_lines(fields) + framing + b"\r\n"
        self.phase = phase
        return head

    def framing(self, status: int, size: int | None, declared: bytes | None) -> tuple[bytes, str]:
        """Header line and rule that delimit the body (RFC 9112 §6)."""
        if status in BODILESS:
            return b"", "none"
        phase = "none" if self.scope["method"] == "HEAD" else "length"
        if declared is not None:
            self.left = int(declared)
            if phase == "length" and size is not None and size != self.left:
                raise RuntimeError("content-length differs from the body")
            return b"", phase
        if size is not None:
            self.left = size
            return b"content-length: %d\r\n" % size, phase
        if self.scope["http_version"] == "1.0":
            return b"", "close"
        return b"transfer-encoding: chunked\r\n", "none" if phase == "none" else "chunked"

    def framed(self, part: bytes, more: bool) -> bytes:
        """One body part as it goes over the wire."""
        if self.phase == "length":
            self.left -= len(part)
            if self.left < 0 or (self.left and not more):
                raise RuntimeError("content-length differs from the body")
            return part
        if self.phase == "chunked":
            chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
            return chunk if more else chunk + b"0\r\n\r\n"
        return part if self.phase == "close" else b""

    def end(self) -> None:
        """The answer is written: wake whoever waits for that, hand the connection on."""
        self.complete = True
        self.disconnected()
        self.connection.finished(self.keep_alive)

    def disconnected(self) -> None:
        """Wake a pending `receive`."""
        if self.ended is not None:
            self.ended.set()

    async def serve(self, application: Application) -> None:
        """Call the application; whatever it does, the client gets an answer or the end of the connection."""
        try:
            await application(self.scope, self.receive, self.send)
        except Exception as error:
            self.failed(trace(error))
        except asyncio.CancelledError:
            self.connection.transport.abort()
            raise
        else:
            if not self.complete and not self.connection.lost:
                self.incomplete()

    def wind_up(self) -> None:
        """The server is to stop: this is the last answer here."""
        self.keep_alive = False
        if self.may_end():
            self.disconnected()

    def may_end(self) -> bool:
        """Whether the server is stopping and this answer has begun without a declared length, or has no body to send (HEAD)."""
        return self.phase not in ("", "length") and self.connection.stopping()

    def pending(self) -> bool:
        """Whether the answer has still to begin, and the application does not watch for a disconnect."""
        return not self.phase and self.ended is None

    def incomplete(self) -> None:
        """The application returned early: rightly so when it was told that the client has left."""
        if self.connection.eof:
            self.connection.transport.abort()
        else:
            self.failed("the application returned without a complete answer")

    def failed(self, reason: str) -> None:
        """Log a fault of the application and end the answer."""
        LOGGER.error("Unhandled fault in the application: %s", reason)
        if self.complete or self.connection.lost:
            return
        self.keep_alive = False
        if self.phase:
            self.connection.transport.abort()  # half an answer must not pass for a whole one
        else:
            answer = plain_answer(self.connection, 500, method=self.scope["method"])
            self.connection.transport.write(answer)
        self.end()


class DirectExchange:
    """One request being answered without ASGI messages: its head was prepared before, its answer comes whole."""

    __slots__ = ("connection", "keep_alive")

    def __init__(self, connection: Connection, keep_alive: bool) -> None:
        self.connection = connection
        self.keep_alive = keep_alive

    async def serve(self, respond: Respond, body: bytes) -> None:
        """Answer; whatever the application does, the client gets an answer or the end of the connection."""
        connection = self.connection
        try:
            status, lines, answer = await respond(body)
            if connection.writable is not None:
                await connection.writable.wait()
        except Exception as error:
            LOGGER.error("Unhandled fault in the application: %s", trace(error))
            self.keep_alive = False
            self.write(plain_answer(connection, 500))
        except asyncio.CancelledError:
            connection.transport.abort()
            raise
        else:
            end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
            self.write(
                b"%b%b%bcontent-length: %d\r\n%b%b"
                % (STATUS_LINES[status], connection.common_headers(), lines, len(answer), end, answer)
            )

    def write(self, answer: bytes) -> None:
        """Send a whole answer and hand the connection on."""
        if not self.connection.lost:
            self.connection.transport.write(answer)
            self.connection.finished(self.keep_alive)

    def wind_up(self) -> None:
        """The server is to stop: this is the last answer here."""
        self.keep_alive = False

    def pending(self) -> bool:
        """Whether the answer has still to begin: always, since it leaves in one piece."""
        return True

    def disconnected(self) -> None:
        """Do nothing: a direct answer does not wait for a disconnect."""


def trace(error: BaseException) -> str:
    """The type and traceback of an exception, without its text, which may quote the request."""
    return f"{type(error).__qualname__}\n{''.join(traceback.format_tb(error.__traceback__))}"


def field_lines(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Header lines of an answer; raises RuntimeError when a field would break out of its line (response splitting)."""
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    count = len(fields)
    if lines.count(b"\n") != count or lines.count(b"\r") != count or b"\x00" in lines:
        raise RuntimeError("a header field holds a control character")
    return lines


def plain_answer(connection: Connection, reason: int, headers: bytes = b"", *, method: str = "") -> bytes:
    """A complete answer with a fixed text that ends the connection, with what the application sends with every answer.

    `method` is that of a request that the application has; of any other, the connection knows it.
    """
    is_bare = method == "HEAD" or connection.raw.startswith(b"HEAD ")  # RFC 9110 §9.3.2
    status, code = _said(connection, reason)
    text = b'{"error":"%b","error_description":"%b."}' % (code, PHRASES[reason].encode())
    fields = connection.common_headers() + connection.security + headers
    return (
        b"%bcontent-type: application/json\r\ncache-control: no-store\r\n"
        b"content-length: %d\r\n%bconnection: close\r\n\r\n%b"
        % (STATUS_LINES[status], len(text), fields, b"" if is_bare else text)
    )


def _said(connection: Connection, reason: int) -> tuple[int, bytes]:
    """Status and error code of a refusal; an application may have its own for a body over the limit, in a function `too_large`."""
    own: Callable[[str, str], tuple[int, str]] | None = getattr(connection.app, "too_large", None)
    if reason == 413 and connection.head is not None and own is not None:
        status, code = own(connection.head.method, connection.head.path)
        return status, code.encode()
    return reason, _code(reason)


def _code(status: int) -> bytes:
    if status < 500:
        return b"invalid_request"
    return b"temporarily_unavailable" if status == 503 else b"server_error"


def unprepared(_scope: Scope, _has_left: Callable[[], bool]) -> None:
    """Stand in for the `prepare` of an application that has none."""


def run_hot(
    coroutine: Coroutine[object, None, None],
    loop: asyncio.AbstractEventLoop,
    tasks: set[asyncio.Task[None]],
) -> None:
    """Drive a hot handler in place, in a context of its own, to its end or its first suspension."""
    context = copy_context()
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration:
        return
    HotRun(coroutine, loop, context, tasks).wait(awaited)


class HotRun:
    """The rest of a suspended hot handler: the part of a task that awaiting plain futures needs.

    It is counted among the server's tasks, so that a graceful shutdown waits for it and can cancel it.
    """

    __slots__ = ("__weakref__", "awaited", "context", "coroutine", "loop", "tasks")

    def __init__(
        self,
        coroutine: Coroutine[object, None, None],
        loop: asyncio.AbstractEventLoop,
        context: Context,
        tasks: set[Any],
    ) -> None:
        self.coroutine = coroutine
        self.loop = loop
        self.context = context
        self.tasks = tasks
        self.awaited: asyncio.Future[object] | None = None
        tasks.add(self)

    def wait(self, awaited: object) -> None:
        """Go on when `awaited` is done, or in the loop's next turn after a bare yield."""
        if isinstance(awaited, asyncio.Future):
            awaited._asyncio_future_blocking = False  # the handshake by which a task accepts a future
            self.awaited = awaited
            awaited.add_done_callback(self.step, context=self.context)
        else:
            self.awaited = None
            self.loop.call_soon(self.step, context=self.context)

    def step(self, _done: object = None) -> None:
        """Run to the next suspension."""
        try:
            awaited = self.coroutine.send(None)
        except (StopIteration, asyncio.CancelledError):
            self.tasks.discard(self)
            return
        self.wait(awaited)

    def cancel(self, msg: str | None = None) -> bool:
        """Cancel what the handler waits for."""
        return self.awaited is not None and self.awaited.cancel(msg)
