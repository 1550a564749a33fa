"""RFC 9112: what honest clients see of the HTTP protocol, on a real socket."""

import asyncio
import datetime
import socket
import sys
import threading
from typing import Any

import pytest
import uvicorn
from tests.fixtures.loopback import LoopbackServer, read_answer, read_to_end
from tests.fixtures.protocol_application import both, get, post, read_until, server
from uvicorn.server import ServerState

from watchword.http_server.exchange import Scope
from watchword.http_server.protocol import LeanProtocol

__all__ = ["server"]


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


def test_a_client_that_waits_is_told_to_continue(server: LoopbackServer) -> None:
    with server.connect() as connection:
        connection.sendall(get("/hot/echo", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        assert read_until(connection.recv, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert read_answer(connection)[2] == b"abc"


class Patient(LeanProtocol):
    """For whom nobody hung up too long ago, however slowly a test goes on."""

    too_late = 600.0


class Impatient(LeanProtocol):
    """For whom whoever hung up before it was accepted did so too long ago."""

    too_late = 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a client hung up")
@pytest.mark.parametrize(
    ("protocol", "begun"),
    [
        pytest.param(Patient, ["/late", "/now"], id="a moment ago: it may still wait for the answer"),
        pytest.param(Impatient, ["/now"], id="too long ago"),
    ],
)
def test_nothing_is_begun_for_a_client_that_hung_up_while_nobody_was_there(
    protocol: type[LeanProtocol], begun: list[str]
) -> None:
    asked: list[str] = []

    async def application(scope: Scope, _receive: Any, send: Any) -> None:
        asked.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with socket.create_server(("127.0.0.1", 0)) as listening:
        with socket.create_connection(listening.getsockname()) as waiting:
            waiting.sendall(get("/late"))
        server = uvicorn.Server(uvicorn.Config(application, http=protocol, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        with socket.create_connection(listening.getsockname(), 5) as present:
            present.sendall(get("/now"))
            assert read_answer(present)[0] == 200
        server.should_exit = True
        thread.join()
    assert asked == begun


class Stopping:
    """A server that a test stops in the very moment that it wants to."""

    def __init__(self, application: Any) -> None:
        self.state = ServerState()
        self.config = uvicorn.Config(application, http=LeanProtocol, lifespan="off", log_config=None)
        self.config.load()

    async def connect(self) -> tuple[LeanProtocol, asyncio.StreamReader, asyncio.StreamWriter]:
        ours, theirs = socket.socketpair()
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: LeanProtocol(self.config, self.state, {}), ours
        )
        return protocol, *await asyncio.open_connection(sock=theirs)

    async def ask(self) -> bytes:
        """Ask for something on a connection of its own, and leave."""
        _, reader, writer = await self.connect()
        writer.write(get("/", "Connection: close"))
        answered = await reader.read()
        writer.close()
        return answered

    def stop(self) -> None:
        """Tell all that are to be told, as uvicorn does."""
        for told in list(self.state.connections):
            told.shutdown()

    async def stopped(self) -> None:
        """Wait until all have gone for whom the server waits; TimeoutError when somebody does not."""
        async with asyncio.timeout(10):
            while self.state.connections:
                await asyncio.sleep(0)


async def at_once(_scope: Scope, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def test_a_client_that_comes_in_while_the_server_stops_is_sent_elsewhere() -> None:
    server = Stopping(at_once)
    assert (await server.ask()).startswith(b"HTTP/1.1 200")
    server.stop()
    _, idle, asking = await server.connect()
    asking.write(get("/"))
    assert (await idle.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200"), "nobody has told it yet"
    server.stop()
    refused = await server.ask()
    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in refused
    assert await idle.read() == b""
    await server.stopped()


async def test_the_first_request_of_a_client_that_came_in_before_the_server_stopped_is_answered() -> None:
    """It may be on its way, or have arrived unread: lost, it would be no answer to somebody who had none before."""
    server = Stopping(at_once)
    _, asks, asking = await server.connect()
    _, says_nothing, _ = await server.connect()
    server.stop()
    asking.write(get("/"))
    answered = await asks.read()
    assert answered.startswith(b"HTTP/1.1 200")
    assert b"connection: close\r\n" in answered
    assert await says_nothing.read() == b"", "it is not waited for without end"
    await server.stopped()


@pytest.mark.parametrize("listens", ["while it writes", "when it has written"])
@pytest.mark.parametrize("stopped", ["before it is asked", "before it answers", "while it answers"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_an_endless_answer_ends_whenever_the_server_stops(
    method: str, stopped: str, listens: str
) -> None:
    asked, go = asyncio.Event(), asyncio.Event()

    async def endless(_scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        asked.set()
        await go.wait()
        if listens == "while it writes":
            leaving = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        message = await (leaving if listens == "while it writes" else receive())
        assert message["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"ended"})

    server = Stopping(endless)
    protocol, reader, _ = await server.connect()
    protocol.data_received(get("/").replace(b"GET", method.encode()))
    if stopped == "before it is asked":
        server.stop()
    await asked.wait()
    if stopped == "before it answers":
        server.stop()
    go.set()
    answered = await reader.readuntil(b"begun\r\n" if method == "GET" else b"\r\n\r\n")
    if stopped == "while it answers":
        server.stop()
    async with asyncio.timeout(10):
        answered += await reader.read()
    assert answered.startswith(b"HTTP/1.1 200")
    assert answered.endswith(b"5\r\nended\r\n0\r\n\r\n" if method == "GET" else b"\r\n\r\n")
    await server.stopped()
