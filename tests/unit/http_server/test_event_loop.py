"""The loop of the server connects by name as uvloop does, and leaves no look-up behind that nobody waits for."""

import asyncio
import gc
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures import certificates
from tests.fixtures.servers import free_port

from watchword import serving
from watchword.http_server.event_loop import EventLoop
from watchword.http_server.protocol import LeanProtocol
from watchword.settings import Settings

UNKNOWN = "mail.invalid"  # RFC 6761 §6.4: never a name that there is
PATIENCE = 30.0


async def _serve(host: str, tls: ssl.SSLContext | None = None) -> tuple[asyncio.Server, int]:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"welcome")
        await writer.drain()
        writer.close()

    port = free_port()
    return await asyncio.start_server(answer, host, port, ssl=tls), port


async def _read(host: str, port: int, **options: Any) -> bytes:
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(host, port, **options)
        read = await reader.read()
        writer.close()
        return read


def _run(work: Any) -> Any:
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        return runner.run(work)


def test_the_server_runs_on_this_loop() -> None:
    assert serving.configuration(Settings()).get_loop_factory() is EventLoop


def test_a_connection_that_is_given_up_leaves_no_look_up_behind() -> None:
    async def give_up() -> list[str]:
        reported: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: reported.append(str(context)))
        with pytest.raises(socket.gaierror):  # which is what the one given up would have heard
            await loop.create_connection(asyncio.Protocol, UNKNOWN, 25)
        for _ in range(4):
            attempt = asyncio.create_task(loop.create_connection(asyncio.Protocol, UNKNOWN, 25))
            await asyncio.sleep(0)  # it looks up the name now
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
        for _ in range(8):  # look-ups are done in order, two at a time: by the last of these, those are over
            with pytest.raises(socket.gaierror):
                await loop.getaddrinfo(UNKNOWN, 25)
        gc.collect()
        return reported

    assert _run(give_up()) == []


def test_a_name_leads_to_the_address_that_answers() -> None:
    async def connect() -> bytes:
        server, port = await _serve("127.0.0.1")  # and not ::1, which the name has as well on most machines
        async with server:
            return await _read("localhost", port)

    assert _run(connect()) == b"welcome"


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What this machine presents under its name, and what trusts that."""
    authority = certificates.make(tmp_path, "authority", is_authority=True)
    shown = certificates.make(tmp_path, "server", issuer=authority, names=certificates.LOCALHOST)
    return certificates.serving(shown), certificates.trusting(authority)


def test_a_name_is_what_the_certificate_has_to_be_for(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    presented, trusting = tls

    async def connect() -> bytes:
        server, port = await _serve("127.0.0.1", presented)
        async with server:
            read = await _read("localhost", port, ssl=trusting)
            with pytest.raises(ssl.SSLCertVerificationError):
                await _read("localhost", port, ssl=trusting, server_hostname="mail.example")
            return read

    assert _run(connect()) == b"welcome"


def test_nobody_at_any_address_is_a_refused_connection() -> None:
    async def connect() -> None:
        await _read("localhost", free_port())

    with pytest.raises(ConnectionRefusedError):
        _run(connect())


def test_f_13_a_client_that_never_begins_its_handshake_is_cut_off(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    presented, trusting = tls

    async def connect() -> bytes:
        server, port = await _serve("127.0.0.1", presented)
        async with server:
            assert await _read("localhost", port, ssl=trusting) == b"welcome", "the honest variant"
        assert EventLoop.handshake_timeout == LeanProtocol.timeouts["head"]
        monkeypatch.setattr(EventLoop, "handshake_timeout", 0.2)
        server, port = await _serve("127.0.0.1", presented)
        async with server:
            return await _read("127.0.0.1", port)  # until the server closes the connection

    assert _run(connect()) == b""
