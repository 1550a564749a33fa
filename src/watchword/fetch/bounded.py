"""Bounded reading from servers that strangers name: byte limits for the head of an answer and for the whole, and fair scheduling.

An HTTP client accepts any number of interim answers and one-byte chunks, and parsing one costs a hundred times what sending it does.
Owns neither addresses nor what an answer means. Imported with the first request, because the HTTP client is heavy.
"""

import asyncio
import ssl
from collections.abc import Iterable

import httpcore
from httpcore import SOCKET_OPTION

PIECE = 2048


class TooMuchError(Exception):
    """The other side sent more than it was allowed to."""


class Network(httpcore.AsyncNetworkBackend):
    """Connections from which no more than `left` bytes are read."""

    def __init__(self, left: int) -> None:
        self.left = left
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect; raise as httpcore does."""
        made = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _Stream(made, self)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, network: Network) -> None:
        self._inner = inner
        self._network = network

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await asyncio.sleep(0)  # buffered data would otherwise be read without ever yielding to other tasks
        data = await self._inner.read(min(max_bytes, PIECE), timeout)
        self._network.left -= len(data)
        if self._network.left < 0:
            raise TooMuchError
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._network)

    def get_extra_info(self, info: str) -> object:
        return self._inner.get_extra_info(info)
