"""RFC 8252 §7.3 and RFC 9207: the loopback redirect, by which a browser brings the authorization response to this machine.

Owns the port and the checks of what arrives: only a response with the state of this very request, from the issuer that was asked,
ends the wait. Anything else is refused, and the wait goes on.
"""

import hmac
import queue
import socket
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from watchword.client.errors import Refused, Unreachable
from watchword.networks import is_loopback

DEFAULT = "http://127.0.0.1/callback"
PAGE = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>%b</title>"
    b"<p style='font:1.1rem system-ui;margin:4rem auto;max-width:30rem'>%b</p>"
)
DONE, FAILED, STRAY = (
    (200, PAGE % (b"Signed in", b"You are signed in. You can close this window.")),
    (200, PAGE % (b"Not signed in", b"You are not signed in. You can close this window.")),
    (400, PAGE % (b"Not expected", b"This is not the answer to the sign-in that is under way.")),
)
Answer = Mapping[str, str]


class _Port(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that has gone; report anything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # a socket


class Callback:
    """A loopback port that waits for one authorization response, open while the `with` block runs.

    Raises ValueError for an address that is not on this machine, and Unreachable when its port is taken.
    """

    def __init__(self, redirect_uri: str, state: str, issuer: str, *, has_iss: bool) -> None:
        parts = urlsplit(redirect_uri)
        host = parts.hostname or ""
        if parts.scheme != "http" or not is_loopback(host) or parts.query or parts.fragment:
            raise ValueError(f"the redirect address must be http on a loopback address, not {redirect_uri!r}")
        self._path, self._state, self._issuer, self._has_iss = parts.path or "/", state, issuer, has_iss
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        callback = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5  # a connection that says nothing is dropped

            def do_GET(self) -> None:
                callback.answer(self)

            def log_message(self, format: str, *_: object) -> None:
                """Log nothing: the URL contains the code."""

        bound = "127.0.0.1" if host == "localhost" else host
        try:
            self._server = _Port(bound, parts.port or 0, Handler)
        except OSError as error:
            raise Unreachable(f"{redirect_uri} cannot be waited at: {error.strerror}") from None
        shown = f"[{host}]" if ":" in host else host
        self.redirect_uri = f"http://{shown}:{self._server.server_address[1]}{parts.path}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait(self, seconds: float) -> str:
        """Return the code; raise Refused with the server's reason, or Unreachable when nothing came in time."""
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise Unreachable("nobody signed in within the time") from None
        if "code" not in answer:
            raise Refused(answer.get("error", "invalid_response"), answer.get("error_description", ""))
        return answer["code"]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Take one request of a browser."""
        answer = self._judged(request.path)
        if answer is not None:
            self._answers.put(answer)
        status, page = STRAY if answer is None else DONE if "code" in answer else FAILED
        request.send_response(status)
        request.send_header("content-type", "text/html; charset=utf-8")
        request.send_header("content-length", str(len(page)))
        request.send_header("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'")
        request.send_header("referrer-policy", "no-referrer")
        request.send_header("cache-control", "no-store")
        request.end_headers()
        request.wfile.write(page)

    def _judged(self, target: str) -> Answer | None:
        path, _, query = target.partition("?")
        try:
            values = parse_qs(query, keep_blank_values=True, max_num_fields=20)
        except ValueError:
            return None
        if path != self._path or any(len(found) != 1 for found in values.values()):
            return None
        answer = {name: found[0] for name, found in values.items()}
        state = answer.get("state", "").encode("utf-8", "replace")
        if not hmac.compare_digest(state, self._state.encode()):  # RFC 6749 §10.12
            return None
        iss = answer.get("iss")
        if (iss is None and self._has_iss) or (iss is not None and iss != self._issuer):  # RFC 9207 §2.4
            return None
        return answer
