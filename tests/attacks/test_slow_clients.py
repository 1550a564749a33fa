"""HP-05, F-13: clients that are slow, silent or too many, on a real socket."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks.raw_requests import CHUNKED, HONEST_LENGTH, Brisk, echo, in_pieces, post, server, status
from tests.fixtures.loopback import LoopbackServer, read_answer, read_to_end
from uvicorn.server import ServerState

from watchword.app import App
from watchword.http_server.exchange import Scope
from watchword.http_server.protocol import LeanProtocol
from watchword.http_server.pulse import Pulse
from watchword.settings import Settings
from watchword.telemetry import own_tally

__all__ = ["server"]


@pytest.fixture(scope="module")
def brisk() -> Iterator[LoopbackServer]:
    with LoopbackServer(echo, Brisk, timeout_keep_alive=1) as running:
        yield running


def test_hp_05_bodies_that_never_come_end_in_time_and_hurt_nobody(brisk: LoopbackServer) -> None:
    idle = [brisk.connect() for _ in range(120)]
    for connection in idle:
        connection.sendall(post(b"Content-Length: 100", body=b"abc"))
    started = time.monotonic()
    assert status(brisk.talk(HONEST_LENGTH)) == 200
    assert time.monotonic() - started < 3
    for connection in idle:
        assert status(read_to_end(connection)) == 408
        connection.close()


class Counted:
    """Echoes, and counts as the application does."""

    crowded_out = staticmethod(App(Settings(issuer="http://localhost")).crowded_out)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await echo(scope, receive, send)


class Narrow(LeanProtocol):
    """The protocol with room for two large requests that are on their way in."""

    kept_limit = 90_000


LARGE = b"a" * 60_000
UNFINISHED = {
    "a head": post(b"Content-Length: 3", b"X: " + LARGE[:20_000]),
    "a body": post(b"Content-Length: 60000", body=LARGE[:40_000]),
    "a chunk": post(CHUNKED, body=b"ea60\r\n" + LARGE[:40_000]),
    "whole chunks": post(CHUNKED, body=b"9c40\r\n" + LARGE[:40_000] + b"\r\n"),
}
REST = {
    "a head": b"abc",
    "a body": LARGE[40_000:],
    "a chunk": LARGE[40_000:] + b"\r\n0\r\n\r\n",
    "whole chunks": b"0\r\n\r\n",
}


def kept(server: LoopbackServer, expected: int) -> bool:
    """Whether the server comes to keep so many bytes of unfinished requests."""
    deadline = time.monotonic() + 5
    while (found := Pulse.of[server.server.server_state].kept) != expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return found == expected


def crowded_out() -> int:
    """Return how many requests were refused for lack of room."""
    return sum(value for name, _, _, value in own_tally().counts if name == "requests_crowded_out")


def test_hp_05_the_log_tells_now_and_then_how_many_found_no_room(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(loop, "time", lambda: now[0])
    pulse = Pulse(ServerState(), loop, 0.5)
    for more, moment in ((3, 1.0), (1, 2.0), (1, 61.5), (0, 200.0)):
        pulse.crowded_out += more
        now[0] = moment
        pulse.start()
        pulse.beat()
    loop.close()
    assert [int(record.getMessage().split()[0]) for record in caplog.records] == [3, 2]


@pytest.mark.parametrize("kind", UNFINISHED)
def test_hp_05_unfinished_requests_together_take_no_more_memory_than_they_may(kind: str) -> None:
    begun, rest = UNFINISHED[kind], REST[kind]
    head, end, body = begun.partition(b"\r\n\r\n")
    taken = 2 * len(head + end) + (40_000 if kind == "whole chunks" else len(body))
    before = crowded_out()
    with LoopbackServer(Counted(), Narrow) as server:
        assert status(server.talk(HONEST_LENGTH)) == 200
        connections = [server.connect() for _ in range(2)]
        for connection in connections:
            connection.sendall(begun)
        assert kept(server, 2 * taken)
        raw = server.talk(begun)
        assert status(raw) == 503
        assert b"\r\nretry-after: 1\r\n" in raw
        assert status(server.talk(begun)) == 503
        assert crowded_out() == before + 2
        assert status(server.talk(HONEST_LENGTH[:-2], HONEST_LENGTH[-2:])) == 200, "a small one finds room"
        connections[0].sendall(rest)
        assert read_answer(connections[0])[0] == 200, "what was begun is finished"
        connections[1].close()
        assert kept(server, 0)
        assert status(server.talk(begun.replace(b"Host: a", b"Host: a\r\nConnection: close"), rest)) == 200
        connections[0].close()


@pytest.mark.parametrize(
    ("piece", "refusal"),
    [
        pytest.param(b"", None, id="a client that never speaks"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 408, id="a head that never ends"),
        pytest.param(post(b"Content-Length: 9", body=b"a"), 408, id="a body that never ends"),
        pytest.param(post(CHUNKED, body=b"5\r\nab"), 408, id="a chunk that never ends"),
    ],
)
def test_f_13_a_slow_client_is_cut_off(brisk: LoopbackServer, piece: bytes, refusal: int | None) -> None:
    assert status(brisk.talk(in_pieces(HONEST_LENGTH)[0], HONEST_LENGTH[7:])) == 200
    raw = brisk.talk(piece)
    assert (status(raw) if raw else None) == refusal


def test_f_13_a_dripping_head_gains_no_time(brisk: LoopbackServer) -> None:
    started = time.monotonic()
    with brisk.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        connection.settimeout(0.05)
        raw = b""
        while time.monotonic() - started < 3 and not raw:
            connection.sendall(b"X: a\r\n")
            try:
                raw = connection.recv(1000)
            except TimeoutError:
                continue
    assert status(raw) == 408


def test_f_13_an_idle_connection_is_closed_after_the_keep_alive_time(brisk: LoopbackServer) -> None:
    with brisk.connect() as connection:
        for _ in range(2):
            connection.sendall(post(b"Content-Length: 3", body=b"abc"))
            assert read_answer(connection)[2] == b"POST /t abc"
        assert read_to_end(connection) == b""


def test_f_13_a_client_that_does_not_read_is_cut_off() -> None:
    async def flood(scope: Scope, receive: Any, send: Any) -> None:
        size = 50_000_000 if scope["path"] == "/flood" else 5
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a" * size})

    with LoopbackServer(flood, Brisk) as server:
        assert len(server.talk(b"GET /flood HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) > 50_000_000
        with server.connect() as connection:
            connection.sendall(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
            deadline = time.monotonic() + 10
            while server.server.server_state.connections and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not server.server.server_state.connections
        assert status(server.talk(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == 200


def closed_without_answer(server: LoopbackServer) -> bool:
    try:
        return server.talk(HONEST_LENGTH) == b""
    except ConnectionError:
        return True


def test_f_13_connections_beyond_the_limit_get_503_and_later_ones_nothing() -> None:
    with LoopbackServer(echo, limit_concurrency=3) as server:
        kept = [server.connect() for _ in range(3)]
        for connection in kept:
            connection.sendall(post(b"Content-Length: 0"))
            assert read_answer(connection)[0] == 200
        raw = server.talk(HONEST_LENGTH)
        assert status(raw) == 503
        assert b"retry-after: 1\r\n" in raw
        kept += [server.connect() for _ in range(3)]
        assert closed_without_answer(server)
        for connection in kept:
            connection.close()
        deadline = time.monotonic() + 5
        while server.server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        assert status(server.talk(HONEST_LENGTH)) == 200


def test_pipelined_requests_without_reader_do_not_fill_the_memory() -> None:
    started: list[str] = []

    async def stuck(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            started.append(scope["path"])
            await asyncio.Event().wait()

    with LoopbackServer(stuck, timeout_graceful_shutdown=1) as server:
        with server.connect(timeout=0.3) as connection, pytest.raises(TimeoutError):
            connection.sendall(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n" * 1_000_000)
        assert started == ["/first"]
