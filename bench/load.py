"""A load generator for HTTP/1.1 on keep-alive connections, far cheaper than any server that it drives.

Each connection sends a request, waits for the whole answer and sends the next. The bytes of a request come from a factory, so that
proofs and assertions can be made fresh; or from a conversation, in which a request is made from the answer before it, as a code is
redeemed and a refresh token used that the answer before has brought. Answers need a Content-Length or chunked framing.
"""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import uvloop

RequestFactory = Callable[[], bytes]
# Given the answer before (nothing at first), the next request; one for each connection.
Conversation = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Load:
    """What was measured: answers per second, seconds each took, and how often each status came."""

    rate: float
    latencies: list[float]
    statuses: Counter[int]
    seconds: float
    failures: int = 0

    def percentile(self, share: float) -> float:
        """Seconds within which that share of the answers came, `share` from 0 to 1."""
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


@dataclass(slots=True)
class Tally:
    """What all connections of one run share."""

    begin: Callable[[], Conversation]
    running: bool = True
    counting: bool = False
    failures: int = 0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


class Client(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.converse = tally.begin()
        self.received = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self.started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.ask(b"")

    def ask(self, answer: bytes) -> None:
        """Send the next request."""
        request = self.converse(answer)
        self.started = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.received:
            data = self.received + data
        if not complete(data):
            self.received = data
            return
        self.received = b""
        tally = self.tally
        if tally.counting:
            tally.latencies.append(time.perf_counter() - self.started)
            tally.statuses[int(data[9:12])] += 1
        if tally.running:
            self.ask(data)
        else:
            self.converse(data)  # what the last answer brought is not lost for the next run
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.tally.running:
            self.tally.failures += 1
        self.closed.set_result(None)


def complete(data: bytes) -> bool:
    """Whether the data is one whole answer."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return False
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        return len(data) >= end + int(head[at + 17 : head.find(b"\r", at + 17)])
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        return data.endswith(b"\r\n0\r\n\r\n")
    return head.startswith((b"http/1.1 204", b"http/1.1 304"))


async def drive(
    host: str, port: int, tally: Tally, connections: int, seconds: float, warm_up: float
) -> float:
    """Run the load; the seconds that counted."""
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: Client(tally), host, port))[1] for _ in range(connections)
    ]
    await asyncio.sleep(warm_up)
    tally.counting = True
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    tally.counting = tally.running = False
    elapsed = time.perf_counter() - started
    await asyncio.wait([client.closed for client in clients], timeout=5)
    return elapsed


def always(request: RequestFactory) -> Callable[[], Conversation]:
    """Return conversations in which no request depends on an answer."""
    return lambda: lambda _answer: request()


def run(
    host: str,
    port: int,
    begin: Callable[[], Conversation],
    connections: int = 32,
    seconds: float = 5.0,
    warm_up: float = 0.5,
) -> Load:
    """Load a server for so many seconds after a warm-up; connections that broke are counted as failures."""
    tally = Tally(begin)
    elapsed = uvloop.run(drive(host, port, tally, connections, seconds, warm_up))
    return Load(len(tally.latencies) / elapsed, tally.latencies, tally.statuses, elapsed, tally.failures)


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
