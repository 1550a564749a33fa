"""A limit for the whole of a request: those of httpx are for each read, so that a head of which a byte comes now and then is never late.

When the time has passed, the connection is shut down, and whoever reads from it gets its end. The client must be one that keeps no
connections (`FRESH`), since nothing is known here of one that was made for an earlier request. Connecting has httpx's own limit.
"""

import contextlib
import socket
import threading
from collections.abc import Mapping
from typing import Any, Self

import httpx

FRESH = httpx.Limits(max_keepalive_connections=0)


class Deadline:
    """Ends one request after so many seconds, while the `with` block runs; `sent` are arguments for httpx's request."""

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self.sent: dict[str, Any] = {"extensions": {"trace": self.trace}}
        self._made: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        # No thread is left, or the interpreter ends: better no limit than no answer.
        with contextlib.suppress(RuntimeError):
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def check(self) -> None:
        """Raise ReadTimeout when the time has passed: a body without a length ends with its connection, and may have been cut off here."""
        if self.passed:
            raise httpx.ReadTimeout("the answer takes too long")

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Follow the request: httpx calls this with whatever happens to its connection."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._made = info["return_value"].get_extra_info("socket")
            if self.passed:
                self._shut()

    def _pass(self) -> None:
        self.passed = True
        self._shut()

    def _shut(self) -> None:
        if self._made is not None:
            with contextlib.suppress(OSError):
                # That of a socket: TLS's own would take the state away from whoever reads.
                socket.socket.shutdown(self._made, socket.SHUT_RDWR)
