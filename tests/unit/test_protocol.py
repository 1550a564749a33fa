"""RFC 9112 and ASGI 3: what honest clients and applications see of the HTTP protocol, on a real socket."""

import asyncio
import contextvars
import datetime
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from watchword.protocol import LeanProtocol
from watchword.protocol_exchange import Message, Scope
from watchword.testing.loopback import LoopbackServer, read_answer, read_to_end

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
TRACE: contextvars.ContextVar[str] = contextvars.ContextVar("TRACE", default="none")
CLOSE = b"Connection: close\r\n"


async def answer(send: Send, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})


class Application:
    """One behaviour per path; each works hot (under /hot) and in a task (under /task)."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.log: list[str] = []
        names = [name for name in dir(self) if name.startswith("do_")]
        self.hot = frozenset(
            (method, f"/hot/{name[3:]}") for name in names for method in ("GET", "POST", "HEAD")
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
            return
        handler = getattr(self, "do_" + scope["path"].rpartition("/")[2], None)
        if handler is None:
            await answer(send, scope["path"].encode())
        else:
            await handler(scope, receive, send)

    async def lifespan(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "lifespan.startup":
            self.log.append("startup")
            await send({"type": "lifespan.startup.complete"})
        self.log.append(str(message["type"]))
        await send({"type": "lifespan.shutdown.complete"})

    async def do_echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await receive()
        assert request["more_body"] is False
        await answer(send, request["body"])

    async def do_scope(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, repr(dict(scope)).encode())

    async def do_where(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        await answer(send, b"no task" if task is None else b"a task")

    async def do_future(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        results = []
        for delay in (0.0, 0.01):
            future: asyncio.Future[str] = loop.create_future()
            loop.call_later(delay, future.set_result, "kept")
            results.append(await future)
        await asyncio.sleep(0)
        failing: asyncio.Future[str] = loop.create_future()
        loop.call_soon(failing.set_exception, KeyError("late"))
        try:
            await failing
        except KeyError:
            results.append("raised")
        await answer(send, " ".join(results).encode())

    async def do_context(self, scope: Scope, receive: Receive, send: Send) -> None:
        before = TRACE.get()
        TRACE.set("of another request")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, None)
        await future
        await answer(send, f"{before}, {TRACE.get()}".encode())

    async def do_fault(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError((await receive())["body"].decode())

    async def do_late_fault(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise ValueError("too late")

    async def do_silence(self, scope: Scope, receive: Receive, send: Send) -> None:
        return

    async def do_split(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", (b"location", b"/\r\nset-cookie: a=b"))

    async def do_wrong_length(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"abc", (b"content-length", b"5"))

    async def do_empty(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", status=204)

    async def do_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one", b"", b"three"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def do_measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"def"})

    async def do_flood(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200):
            await send({"type": "http.response.body", "body": b"a" * 100_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def do_disconnect(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        self.log.append(str((await receive())["type"]))
        await send({"type": "http.response.body", "body": b"nobody hears this", "more_body": True})
        self.release.set()

    async def do_slow(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.release.set()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.4, future.set_result, None)
        await future
        await answer(send, b"finished")

    async def do_stuck(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.release.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.log.append("cancelled")


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(Application()) as running:
        yield running


def get(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: a", *headers]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n"


def post(path: str, body: bytes, *headers: str) -> bytes:
    return get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body


both = pytest.mark.parametrize("kind", ["hot", "task"])


@both
def test_answers_follow_one_another_on_one_connection(server: LoopbackServer, kind: str) -> None:
    with server.connect() as connection:
        for body in (b"first", b"", b"third"):
            connection.sendall(post(f"/{kind}/echo", body))
            assert read_answer(connection)[::2] == (200, body)


@both
def test_pipelined_requests_are_answered_in_order(server: LoopbackServer, kind: str) -> None:
    bodies = [b"%d" % number for number in range(50)]
    with server.connect() as connection:
        connection.sendall(b"".join(post(f"/{kind}/echo", body) for body in bodies))
        assert [read_answer(connection)[2] for _ in bodies] == bodies


def test_a_slow_answer_holds_back_the_pipelined_one_behind_it(server: LoopbackServer) -> None:
    with server.connect() as connection:
        connection.sendall(get("/hot/slow") + get("/hot/where"))
        assert [read_answer(connection)[2] for _ in range(2)] == [b"finished", b"no task"]


@both
@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_a_request_arrives_whole_however_it_is_cut(server: LoopbackServer, kind: str, size: int) -> None:
    body = b"abcdefghij" * 100_000
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in cut(body, max(size, 1000)))
    raw = get(f"/{kind}/echo", "Transfer-Encoding: chunked", "Connection: close", method="POST")
    pieces = [*cut(raw, size), *cut(chunks, max(size, 1000)), *cut(b"0\r\n\r\n", size)]
    assert server.talk(*pieces).endswith(b"\r\n\r\n" + body)


def cut(raw: bytes, size: int) -> list[bytes]:
    return [raw[at : at + size] for at in range(0, len(raw), size)]


@both
def test_a_client_may_end_its_side_behind_its_last_request(server: LoopbackServer, kind: str) -> None:
    for rest in (b"", b"GET /unfinished"):
        with server.connect() as connection:
            connection.sendall(get(f"/{kind}/where") + rest)
            connection.shutdown(socket.SHUT_WR)
            assert read_to_end(connection).endswith(b" task")


def test_one_empty_line_before_a_request_is_forgiven(server: LoopbackServer) -> None:
    with server.connect() as connection:
        for raw in (b"\r\n" + get("/hot/where"), b"\r\n" + get("/hot/where")):
            connection.sendall(raw)
            assert read_answer(connection)[0] == 200


@pytest.mark.parametrize(
    ("head", "path", "raw_path"),
    [
        pytest.param("GET /a%2Fb%20%C3%A9?x=%20y HTTP/1.1", "/a/b é", "/a%2Fb%20%C3%A9", id="escapes"),
        pytest.param("GET http://a/p?x=%20y HTTP/1.1", "/p", "/p", id="absolute-form"),
        pytest.param("GET //a/../b?x=%20y HTTP/1.1", "//a/../b", "//a/../b", id="dots untouched"),
    ],
)
def test_the_target_is_split_and_decoded(server: LoopbackServer, head: str, path: str, raw_path: str) -> None:
    raw = server.talk(
        head.replace(raw_path, raw_path + "/scope").encode() + b"\r\nHost: a\r\n" + CLOSE + b"\r\n"
    )
    text = raw.partition(b"\r\n\r\n")[2].decode()
    assert f"'path': {path + '/scope'!r}" in text
    assert f"'raw_path': {(raw_path + '/scope').encode()!r}" in text
    assert "'query_string': b'x=%20y'" in text


def test_the_scope_is_standard(server: LoopbackServer) -> None:
    with server.connect() as connection:
        name = connection.getsockname()
        connection.sendall(get("/scope", "X-Odd: \t a b \t ", "x-odd: \xe9", "X-Empty:"))
        text = read_answer(connection)[2].decode()
    scope = eval(text)  # a repr of literals that the test's own application made
    assert scope["headers"] == [
        (b"host", b"a"),
        (b"x-odd", b"a b"),
        (b"x-odd", "\xe9".encode()),
        (b"x-empty", b""),
    ]
    assert scope["client"] == name
    assert scope["server"] == ("127.0.0.1", server.port)
    assert (scope["type"], scope["http_version"], scope["scheme"], scope["method"]) == (
        "http",
        "1.1",
        "http",
        "GET",
    )
    assert (scope["root_path"], scope["state"]) == ("", {})
    assert scope["asgi"]["version"] == "3.0"
    assert "extensions" not in scope


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(get("/hot/where", "Connection: close"), id="asked to close"),
        pytest.param(get("/hot/where", "Connection: x, Close", "Connection: y"), id="asked in a list"),
        pytest.param(get("/hot/where", version="1.0"), id="HTTP/1.0"),
    ],
)
def test_the_connection_ends_when_the_client_wants_it(server: LoopbackServer, raw: bytes) -> None:
    answered = server.talk(raw + get("/hot/where"))
    assert answered.count(b"HTTP/1.1 200") == 1
    assert b"connection: close\r\n" in answered


@both
def test_head_is_answered_without_body(server: LoopbackServer, kind: str) -> None:
    with server.connect() as connection:
        for path, length in ((f"/{kind}/where", "content-length"), (f"/{kind}/stream", "transfer-encoding")):
            connection.sendall(get(path, method="HEAD"))
            status, headers, _ = read_answer(connection, "HEAD")
            assert status == 200
            assert length in headers
        connection.sendall(get("/hot/where"))
        assert read_answer(connection)[2] == b"no task"


def test_an_answer_without_content_says_nothing_of_its_length(server: LoopbackServer) -> None:
    raw = server.talk(get("/hot/empty") + get("/hot/where", "Connection: close"))
    assert raw.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"content-length" not in raw.partition(b"\r\n\r\n")[0]
    assert raw.endswith(b"no task")


def test_answers_carry_a_date_and_no_server_name(server: LoopbackServer) -> None:
    with server.connect() as connection:
        connection.sendall(get("/hot/where"))
        headers = read_answer(connection)[1]
    assert datetime.datetime.strptime(headers["date"], "%a, %d %b %Y %H:%M:%S GMT").year > 2020  # noqa: DTZ007 - only its form is checked
    assert "server" not in headers


@both
def test_a_stream_is_chunked_for_http_1_1_and_plain_for_1_0(server: LoopbackServer, kind: str) -> None:
    raw = server.talk(get(f"/{kind}/stream", "Connection: close"))
    assert raw.endswith(b"\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n")
    raw = server.talk(get(f"/{kind}/stream", version="1.0"))
    assert raw.endswith(b"\r\n\r\nonethree")
    assert b"transfer-encoding" not in raw
    assert server.talk(get(f"/{kind}/measured", "Connection: close")).endswith(b"\r\n\r\nabcdef")


def wait_for_pause(server: LoopbackServer) -> int:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        for connection in list(server.server.server_state.connections):
            if isinstance(connection, LeanProtocol) and connection.writable is not None:
                return connection.transport.get_write_buffer_size()
    raise AssertionError("the application was never held back")


@both
def test_a_slow_reader_holds_the_application_back(server: LoopbackServer, kind: str) -> None:
    with server.connect() as connection:
        connection.sendall(get(f"/{kind}/flood", "Connection: close"))
        unsent = wait_for_pause(server)
        assert 0 < unsent < 300_000
        assert len(read_to_end(connection)) > 20_000_000


@both
def test_the_application_learns_that_the_client_has_left(kind: str) -> None:
    application = Application()
    with LoopbackServer(application) as server:
        with server.connect() as connection:
            connection.sendall(get(f"/{kind}/disconnect"))
            assert b"begun" in read_until(connection.recv, b"begun")
        assert application.release.wait(5)
    assert "http.disconnect" in application.log


def read_until(receive: Callable[[int], bytes], end: bytes) -> bytes:
    raw = b""
    while end not in raw:
        raw += receive(1000)
    return raw


def test_a_client_that_waits_is_told_to_continue(server: LoopbackServer) -> None:
    with server.connect() as connection:
        connection.sendall(get("/hot/echo", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert read_until(connection.recv, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert read_answer(connection)[2] == b"abc"


def test_a_hot_handler_runs_in_no_task_and_any_other_in_one(server: LoopbackServer) -> None:
    with server.connect() as connection:
        connection.sendall(get("/hot/where") + get("/task/where"))
        assert [read_answer(connection)[2] for _ in range(2)] == [b"no task", b"a task"]


@both
def test_a_handler_may_wait_for_futures(server: LoopbackServer, kind: str) -> None:
    with server.connect() as connection:
        connection.sendall(get(f"/{kind}/future"))
        assert read_answer(connection)[2] == b"kept kept raised"


@both
def test_context_variables_do_not_leak_into_the_next_request(server: LoopbackServer, kind: str) -> None:
    with server.connect() as connection, server.connect() as other:
        connection.sendall(get(f"/{kind}/context") * 3)
        other.sendall(get(f"/{kind}/context") * 3)
        for _ in range(3):
            assert read_answer(connection)[2] == b"none, of another request"
            assert read_answer(other)[2] == b"none, of another request"


@both
@pytest.mark.parametrize("fault", ["fault", "silence", "split", "wrong_length"])
def test_a_fault_is_answered_with_a_plain_500_and_logged_without_the_request(
    server: LoopbackServer, caplog: pytest.LogCaptureFixture, kind: str, fault: str
) -> None:
    with caplog.at_level(logging.ERROR, "watchword.http"):
        raw = server.talk(post(f"/{kind}/{fault}", b"s3cret"))
    assert raw.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert raw.endswith(b"\r\n\r\nInternal Server Error")
    assert b"set-cookie" not in raw
    assert len(caplog.records) == 1
    assert "s3cret" not in caplog.text
    assert "Error" in caplog.text or "without a complete answer" in caplog.text


@both
def test_a_fault_in_the_middle_of_an_answer_breaks_the_connection(server: LoopbackServer, kind: str) -> None:
    try:
        raw = server.talk(get(f"/{kind}/late_fault"))
    except ConnectionResetError:
        return
    assert not raw.endswith(b"0\r\n\r\n")


@both
def test_graceful_shutdown_finishes_the_requests_in_hand_and_on_their_way(kind: str) -> None:
    application = Application()
    late = post("/hot/echo", b"late")
    with LoopbackServer(application) as server:
        with server.connect() as idle, server.connect() as begun, server.connect() as connection:
            begun.sendall(late[:9])
            connection.sendall(get(f"/{kind}/slow"))
            assert application.release.wait(5)
            server.server.should_exit = True
            assert idle.recv(1) == b""
            begun.sendall(late[9:])
            for waiting, expected in ((begun, b"late"), (connection, b"finished")):
                status, headers, body = read_answer(waiting)
                assert (status, headers["connection"], body) == (200, "close", expected)
                assert read_to_end(waiting) == b""
        server.stop()
        assert server.server.server_state.total_requests == 2
    assert application.log == ["startup", "lifespan.shutdown"]


@both
def test_a_request_that_outlives_the_grace_period_is_cancelled(kind: str) -> None:
    application = Application()
    with LoopbackServer(application, timeout_graceful_shutdown=0) as server:
        with server.connect() as connection:
            connection.sendall(get(f"/{kind}/stuck"))
            assert application.release.wait(5)
            server.stop()
        assert not server.server.server_state.connections
    assert "cancelled" in application.log


def test_starlette_works_with_streams_lifespan_state_and_background_tasks() -> None:
    done = threading.Event()

    async def ticks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"data: tick\n\n"
                await asyncio.sleep(0.01)
        finally:
            done.set()

    async def events(request: Request) -> Response:
        return StreamingResponse(ticks(), media_type="text/event-stream")

    async def form(request: Request) -> Response:
        text = json.dumps([request.state.greeting, (await request.body()).decode(), str(request.url)])
        return PlainTextResponse(text, background=BackgroundTask(done.clear))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[dict[str, Any]]:
        yield {"greeting": "hello"}

    routes = [Route("/events", events), Route("/form", form, methods=["POST"])]
    with LoopbackServer(Starlette(routes=routes, lifespan=lifespan)) as server:
        with server.connect() as connection:
            connection.sendall(get("/events"))
            assert read_until(connection.recv, b"\n\n\r\nc\r\n").count(b"tick") >= 1
        assert done.wait(5)
        with server.connect() as connection:
            connection.sendall(post("/form", b"x=y") * 2)
            for _ in range(2):
                assert json.loads(read_answer(connection)[2]) == ["hello", "x=y", "http://a/form"]


def self_signed(directory: Path) -> tuple[Path, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "pair.pem"
    path.write_bytes(pem)
    return path, certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("presents", [True, False], ids=["with a client certificate", "without one"])
def test_tls_requests_say_so_and_carry_the_client_certificate(tmp_path: Path, presents: bool) -> None:
    pair, der = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    context.load_verify_locations(pair)
    context.verify_mode = ssl.CERT_OPTIONAL
    client = ssl.create_default_context(cafile=str(pair))
    if presents:
        client.load_cert_chain(pair)
    with (
        LoopbackServer(Application(), tls=context) as server,
        client.wrap_socket(server.connect(), server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(get("/scope"))
        scope = eval(read_answer_tls(connection))  # a repr of literals that the test's own application made
        assert scope["scheme"] == "https"
        shown = {"client_certificate": der, "client_certificate_chain": (der,)}
        nothing = {"client_certificate": None, "client_certificate_chain": ()}
        assert scope["extensions"] == {"watchword.tls": shown if presents else nothing}
        connection.sendall(post("/hot/echo", b"a" * 300_000, "Connection: close"))
        assert read_to_end(connection).endswith(b"a" * 300_000)


def read_answer_tls(connection: ssl.SSLSocket) -> str:
    status, _, body = read_answer(connection)
    assert status == 200
    return body.decode()
