"""The short way past ASGI: heads are understood once, bodies are answered, and nobody can tell the difference."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tests.fixtures.loopback import LoopbackServer, read_answer, read_to_end

from watchword.http_server.exchange import Message, Respond, Scope

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("SEEN", default="nothing")
LINES = b"content-type: text/plain\r\n"


class Application:
    """Answers under /direct the short way, unless the head says `refuse: yes`; everything else through ASGI."""

    def __init__(self) -> None:
        paths = ("/direct/echo", "/direct/wait", "/direct/fault", "/direct/context")
        self.hot = frozenset((method, path) for method in ("GET", "POST", "HEAD") for path in paths)
        self.prepared = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        length = (b"content-length", b"4")
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else b"long"})

    def prepare(self, scope: Scope, _has_left: Callable[[], bool]) -> Respond | None:
        headers = dict(scope["headers"])
        if headers.get(b"refuse") == b"yes":
            return None
        self.prepared += 1
        name = headers.get(b"authorization", b"nobody")
        handler: Callable[[bytes, bytes], Awaitable[bytes]] = getattr(self, "do_" + scope["path"][8:])

        async def respond(body: bytes) -> tuple[int, bytes, bytes]:
            return 200, LINES, await handler(name, body)

        return respond

    async def do_echo(self, name: bytes, body: bytes) -> bytes:
        return name + b": " + body

    async def do_wait(self, name: bytes, body: bytes) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, future.set_result, body)
        return await future

    async def do_fault(self, name: bytes, body: bytes) -> bytes:
        raise ValueError("of the application")

    async def do_context(self, name: bytes, body: bytes) -> bytes:
        before = SEEN.get()
        SEEN.set(body.decode())
        return before.encode()


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def server(application: Application) -> Iterator[LoopbackServer]:
    with LoopbackServer(application) as running:
        yield running


def post(path: str, body: bytes, *headers: str, version: str = "1.1", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a", f"Content-Length: {len(body)}", *headers]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n" + body


def test_a_repeated_head_is_understood_once(server: LoopbackServer, application: Application) -> None:
    with server.connect() as connection:
        for body in (b"one", b"two", b"six"):
            connection.sendall(post("/direct/echo", body))
            status, headers, answer = read_answer(connection)
            assert (status, answer) == (200, b"nobody: " + body)
            assert headers["content-type"] == "text/plain"
    assert application.prepared == 1


def test_another_head_on_the_connection_is_never_taken_for_the_one_before(server: LoopbackServer) -> None:
    with server.connect() as connection:
        for name in ("ada", "eve", "ada"):
            connection.sendall(post("/direct/echo", b"x", f"Authorization: {name}"))
            assert read_answer(connection)[2] == f"{name}: x".encode()
        connection.sendall(post("/direct/echo", b"x"))
        assert read_answer(connection)[2] == b"nobody: x"


def test_a_head_that_the_application_refuses_goes_the_long_way(server: LoopbackServer) -> None:
    with server.connect() as connection:
        connection.sendall(post("/direct/echo", b"x", "Refuse: yes") + post("/direct/echo", b"x"))
        assert [read_answer(connection)[2] for _ in range(2)] == [b"long", b"nobody: x"]


def test_a_head_request_goes_the_long_way(server: LoopbackServer) -> None:
    raw = server.talk(post("/direct/echo", b"", "Connection: close", method="HEAD"))
    assert b"content-length: 4\r\n" in raw
    assert raw.endswith(b"\r\n\r\n")


def test_pipelined_requests_are_answered_in_order_though_some_wait(server: LoopbackServer) -> None:
    bodies = [b"%d" % number for number in range(4)]
    paths = ["/direct/wait", "/direct/wait", "/direct/echo", "/elsewhere"]
    expected = [b"0", b"1", b"nobody: 2", b"long"]
    with server.connect() as connection:
        connection.sendall(b"".join(post(path, body) for path, body in zip(paths, bodies, strict=True)))
        assert [read_answer(connection)[2] for _ in paths] == expected


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(post("/direct/echo", b"x", "Connection: close"), id="asked to close"),
        pytest.param(post("/direct/echo", b"x", version="1.0"), id="HTTP/1.0"),
    ],
)
def test_the_last_answer_says_so_and_ends_the_connection(
    server: LoopbackServer, request_bytes: bytes
) -> None:
    raw = server.talk(request_bytes + post("/direct/echo", b"never"))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert body == b"nobody: x"


def test_a_fault_is_a_500_without_its_text_and_takes_no_other_connection_down(server: LoopbackServer) -> None:
    with server.connect() as other, server.connect() as connection:
        connection.sendall(post("/direct/fault", b"x"))
        raw = read_to_end(connection)
        assert raw.startswith(b"HTTP/1.1 500 ")
        assert b"of the application" not in raw
        other.sendall(post("/direct/echo", b"y"))
        assert read_answer(other)[2] == b"nobody: y"


def test_context_variables_do_not_leak_into_the_next_request(server: LoopbackServer) -> None:
    with server.connect() as connection:
        for body in (b"first", b"second"):
            connection.sendall(post("/direct/context", body))
            assert read_answer(connection)[2] == b"nothing"


def test_a_client_that_leaves_early_harms_nobody(server: LoopbackServer) -> None:
    with server.connect() as connection:
        connection.sendall(post("/direct/wait", b"x"))
    with server.connect() as connection:
        connection.sendall(post("/direct/wait", b"y"))
        assert read_answer(connection)[2] == b"y"
