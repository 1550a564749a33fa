"""A real HTTP server on a loopback port, and raw sockets to it, for tests that must see the bytes.

Owns the thread that uvicorn runs in. Knows nothing of the application that is served.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn

from watchword.protocol import LeanProtocol
from watchword.protocol_exchange import Application

STEP = 0.005  # seconds between two polls


class _Server(uvicorn.Server):
    """uvicorn's server with a shorter stop: the original checks every tenth of a second, then waits another, too long for a test."""

    async def main_loop(self) -> None:
        """Serve until told to stop, as the base class does."""
        counter = 0
        while not await self.on_tick(counter):
            counter += 1
            until = time.monotonic() + 0.1
            while not self.should_exit and time.monotonic() < until:
                await asyncio.sleep(STEP)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, let the present ones finish, cancel what takes too long; then end the application."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                while self.server_state.connections or self.server_state.tasks:
                    await asyncio.sleep(STEP)
        for task in self.server_state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


class LoopbackServer:
    """Serves an ASGI application while the `with` block runs; `stop` ends it gracefully and waits for that."""

    def __init__(
        self,
        application: Application,
        protocol: type[LeanProtocol] = LeanProtocol,
        *,
        limit_concurrency: int | None = None,
        timeout_keep_alive: int = 75,
        timeout_graceful_shutdown: int = 5,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        """Serve on a free port, or on `port`."""
        config = uvicorn.Config(
            application,
            http=protocol,
            ws="none",
            log_config=None,
            proxy_headers=False,
            limit_concurrency=limit_concurrency,
            timeout_keep_alive=timeout_keep_alive,
            timeout_graceful_shutdown=timeout_graceful_shutdown,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        self.server = _Server(config)
        self.port = port

    def __enter__(self) -> Self:
        # Bound here, where OSError reaches the test: uvicorn would end its thread and say the reason to a log only.
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=([listening],), daemon=True)
        self.thread.start()
        while not self.server.started:
            if not self.thread.is_alive():
                listening.close()
                raise RuntimeError("the application ended the server in its startup (ASGI lifespan)")
            time.sleep(STEP)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Shut down gracefully."""
        self.server.should_exit = True
        self.thread.join()

    def connect(self, timeout: float = 5.0) -> socket.socket:
        """Open a connection; `timeout` in seconds bounds each operation on it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout)

    def talk(self, *pieces: bytes, timeout: float = 5.0) -> bytes:
        """Send the pieces in writes of their own; everything that comes back until the server closes."""
        with self.connect(timeout) as connection:
            try:
                for piece in pieces:
                    connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server has refused already; its answer can still be read
            return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    """Everything that the peer still sends before it closes; TimeoutError when it does not close."""
    received = bytearray()
    while part := connection.recv(262144):
        received += part
    return bytes(received)


def read_answer(connection: socket.socket, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Read exactly one answer with a Content-Length: status, headers, body."""
    raw = b""
    while not raw.endswith(b"\r\n\r\n"):
        raw += one_byte(connection)
    lines = raw.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])
    }
    length = 0 if method == "HEAD" else int(headers.get("content-length", "0"))
    body = b""
    while len(body) < length:
        body += one_byte(connection)
    return int(lines[0].split(" ")[1]), headers, body


def one_byte(connection: socket.socket) -> bytes:
    """One byte, or ConnectionError at the end of the stream."""
    byte = connection.recv(1)
    if not byte:
        raise ConnectionError("the server closed in the middle of an answer")
    return byte
