"""Hosts over real TLS: one that breaks it at any moment gives no answer, one that has many addresses is reached by those that work."""

import asyncio
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from tests.fixtures import certificates

from watchword.fetch import FetchError, fetch

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
BEFORE = (WHOLE, b"", WHOLE[:-1])


async def here(host: str, port: int) -> Sequence[str]:
    """Answer for every name that it is this machine."""
    return ["127.0.0.1"]


@pytest.mark.parametrize("sent", [b"HTTP/1.1 200 OK\r\n\r\n", b"\x17\x03\x03\x00\x20" + b"A" * 32])
async def test_what_breaks_tls_after_the_handshake_is_no_answer(tmp_path: Path, sent: bytes) -> None:
    shown = certificates.make(tmp_path, "keys.example", names=(x509.DNSName("keys.example"),))
    served = certificates.serving(shown)

    def answer(listening: socket.socket) -> None:
        for start in BEFORE:
            with served.wrap_socket(listening.accept()[0], server_side=True) as connection:
                connection.recv(4096)
                connection.sendall(start)
                with socket.socket(fileno=connection.detach()) as bare:
                    bare.sendall(b"" if start == WHOLE else sent)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        answering = asyncio.create_task(asyncio.to_thread(answer, listening))
        url = f"https://keys.example:{listening.getsockname()[1]}/"
        asked = partial(fetch, url, allow_loopback=True, resolver=here, tls=certificates.trusting(shown))
        assert (await asked()).body == b"{}"
        for _ in BEFORE[1:]:
            with pytest.raises(FetchError, match="no answer"):
                await asked()
        await answering


async def test_a_host_is_reached_though_its_addresses_of_one_version_of_ip_lead_nowhere(
    tmp_path: Path,
) -> None:
    shown = certificates.make(tmp_path, "keys.example", names=(x509.DNSName("keys.example"),))
    tls, reach = certificates.trusting(shown), ("fd00::/8", "127.0.0.0/8")

    async def found(host: str, port: int) -> Sequence[str]:
        return ["fd00::1", "fd00::2", "fd00::3", "127.0.0.1"]

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=certificates.serving(shown)) as server:
        url = f"https://keys.example:{server.sockets[0].getsockname()[1]}/"
        for resolver in (here, found):
            assert (await fetch(url, networks=reach, resolver=resolver, tls=tls)).body == b"{}"
