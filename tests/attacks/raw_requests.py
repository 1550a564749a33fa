"""Requests as bytes, and a server on a real socket that echoes what it takes."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from tests.fixtures.loopback import LoopbackServer

from watchword.http_server.exchange import Message, Scope
from watchword.http_server.protocol import LeanProtocol


async def echo(scope: Scope, receive: Any, send: Any) -> None:
    """Answers with what it was asked, so that a smuggled request can't go unnoticed."""
    if scope["type"] == "lifespan":
        return
    request: Message = await receive()
    body = f"{scope['method']} {scope['path']} ".encode() + request["body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


class Brisk(LeanProtocol):
    """The protocol with limits that a test can wait for."""

    interval = 0.02
    timeouts: ClassVar[dict[str, float]] = {**LeanProtocol.timeouts, "head": 0.3, "body": 0.3, "linger": 0.3}
    write_timeout = 0.3


@pytest.fixture(scope="module")
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(echo) as running:
        yield running


def post(*headers: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST /t HTTP/1.1", b"Host: a", *headers, b"", b"")) + body


def status(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


HONEST_LENGTH = post(b"Content-Length: 3", b"Connection: close", body=b"abc")


CHUNKED = b"Transfer-Encoding: chunked"


def in_pieces(raw: bytes) -> list[bytes]:
    return [raw[at : at + 7] for at in range(0, len(raw), 7)]
