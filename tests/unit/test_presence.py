"""Whether whoever sent a request still waits for its answer: what the HTTP server says about it, on a real socket."""

import asyncio
import gc
import queue
import socket
import ssl
import struct
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tests.fixtures import certificates
from tests.fixtures.loopback import STEP, LoopbackServer, read_answer, read_to_end
from tests.fixtures.protocol_application import post

from watchword.http_server.exchange import Message, Respond, Scope
from watchword.http_server.protocol import LeanProtocol

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
PATIENCE = 30.0
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what was not read yet")


class Application:
    """Holds each request until it is released, and then asks whether its client has left."""

    hot = frozenset({("POST", "/")})

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.release = threading.Event()
        self.found: queue.SimpleQueue[bool] = queue.SimpleQueue()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": f"{message['type']}.complete"})

    def prepare(self, _scope: Scope, has_left: Callable[[], bool]) -> Respond | None:
        async def respond(body: bytes) -> tuple[int, bytes, bytes]:
            self.asked.set()
            if body:
                await asyncio.to_thread(self.release.wait, PATIENCE)
            else:  # The loop stands still: nobody reads what the client does meanwhile.
                assert self.release.wait(PATIENCE)
            self.found.put(has_left())
            return 200, b"", b""

        return respond


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def server(application: Application) -> Iterator[LoopbackServer]:
    with LoopbackServer(application) as running:
        yield running


def ask(application: Application, connection: socket.socket, body: bytes = b"") -> None:
    """Send a request, and wait until it is being answered; while one with a body is, the loop goes on."""
    connection.sendall(post("/", body))
    assert application.asked.wait(PATIENCE)


def found(application: Application) -> bool:
    """Let the application look, and return what it found."""
    application.release.set()
    return application.found.get(timeout=PATIENCE)


def connections(server: LoopbackServer) -> list[LeanProtocol]:
    """Return the connections of a server."""
    return [one for one in server.server.server_state.connections if isinstance(one, LeanProtocol)]


def until(reached: Callable[[], bool]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(STEP)


def break_off(connection: socket.socket) -> None:
    """Close a connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_client_that_waits_has_not_left(server: LoopbackServer, application: Application) -> None:
    with server.connect() as connection:
        for _ in range(2):
            ask(application, connection)
            assert found(application) is False
            assert read_answer(connection)[0] == 200


@ON_LINUX
@pytest.mark.parametrize("leave", [socket.socket.close, break_off], ids=["closed", "broken off"])
def test_a_client_that_closed_has_left_before_that_was_read(
    server: LoopbackServer, application: Application, leave: Callable[[socket.socket], None]
) -> None:
    connection = server.connect()
    ask(application, connection)
    leave(connection)
    assert found(application) is True


@ON_LINUX
def test_a_client_that_ended_its_side_is_taken_to_have_left_and_still_has_its_answer(
    server: LoopbackServer, application: Application
) -> None:
    with server.connect() as connection:
        ask(application, connection)
        connection.shutdown(socket.SHUT_WR)
        assert found(application) is True
        assert read_to_end(connection).startswith(b"HTTP/1.1 200")


def test_a_client_whose_end_was_read_has_left(server: LoopbackServer, application: Application) -> None:
    connection = server.connect()
    ask(application, connection, b"goes on")
    (served,) = connections(server)
    connection.close()
    until(lambda: served.eof)
    assert found(application) is True


def test_nothing_is_kept_of_a_connection_that_has_ended(
    server: LoopbackServer, application: Application
) -> None:
    """What answers its requests knows the connection, and the connection knows what answers them."""
    gc.disable()
    try:
        with server.connect() as connection:
            ask(application, connection)
            assert found(application) is False
            assert read_answer(connection)[0] == 200
            served = weakref.ref(*connections(server))
        until(lambda: served() is None)
    finally:
        gc.enable()


@ON_LINUX
@pytest.mark.parametrize("leaves", [False, True], ids=["stays", "leaves"])
def test_it_is_known_over_tls(tmp_path: Path, application: Application, leaves: bool) -> None:
    own = certificates.make(tmp_path, "localhost", names=certificates.LOCALHOST)
    with LoopbackServer(application, tls=certificates.serving(own)) as server:
        trusting: ssl.SSLContext = certificates.trusting(own)
        connection = trusting.wrap_socket(server.connect(), server_hostname="localhost")
        ask(application, connection)
        if leaves:
            connection.close()
        assert found(application) is leaves
        connection.close()
