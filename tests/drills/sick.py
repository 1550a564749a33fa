"""Everything that a server depends on elsewhere, on one port for HTTP and one for mail: well, or sick in one of three ways."""

import contextlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

from tests.fixtures.servers import free_port

from watchword.jose import jwk

Mode = Literal["well", "refuse", "hang", "drip"]
KEY = jwk.generate("ES256")
DRIP = 0.3  # seconds between two bytes
LINE = b"220-slowly on and on\r\n"


class Elsewhere:
    """A provider, an issuer, clients with documents and keys, and a mail server, all of which have the same sickness."""

    def __init__(self) -> None:
        self.mode: Mode = "well"
        self.ports = {"http": free_port(), "smtp": free_port()}
        self.base = f"http://127.0.0.1:{self.ports['http']}"
        self.asked: Counter[str] = Counter()
        self.mails = 0
        self._over = threading.Event()
        self._listening: list[socket.socket] = []
        self._held: list[socket.socket] = []

    def documents(self) -> dict[str, object]:
        """Return what is published, by path."""
        base = self.base
        return {
            "/.well-known/openid-configuration": {
                "issuer": base, "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token",
                "jwks_uri": f"{base}/jwks", "response_types_supported": ["code"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"],
            },
            "/jwks": {"keys": [jwk.public_document(KEY)]},
            "/client": {
                "client_id": f"{base}/client", "client_name": "A wandering client", "redirect_uris": ["https://app.example.com/cb"],
                "grant_types": ["authorization_code"], "token_endpoint_auth_method": "none",
            },
            "/logout": {},
        }  # fmt: skip

    @contextlib.contextmanager
    def running(self) -> Iterator["Elsewhere"]:
        """Listen until the end."""
        self.become("well")
        try:
            yield self
        finally:
            self.become("refuse")

    def become(self, mode: Mode) -> None:
        """Fall sick, or get well; what was held open under the sickness before ends."""
        self._over.set()
        for one in (*self._listening, *self._held):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._listening, self._held, self._over, self.mode = [], [], threading.Event(), mode
        if mode == "refuse":
            return
        for kind, serve in (("http", self._http), ("smtp", self._smtp)):
            made = socket.create_server(("127.0.0.1", self.ports[kind]), backlog=500)
            self._listening.append(made)
            threading.Thread(target=self._accept, args=(made, serve, self._over), daemon=True).start()

    def _accept(
        self, made: socket.socket, serve: Callable[[socket.socket], None], over: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                connection, _ = made.accept()
                self._held.append(connection)
                act = {"well": serve, "hang": lambda _: None}.get(self.mode, lambda one: drip(one, over))
                threading.Thread(target=_quietly, args=(act, connection), daemon=True).start()

    def _http(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            path = stream.readline().split(b" ")[1].decode().partition("?")[0]
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)
            self.asked[path] += 1
            body = json.dumps(self.documents().get(path, {})).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            connection.sendall(head.encode() + body)

    def _smtp(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            connection.sendall(b"220 mail.example ESMTP\r\n")
            while line := stream.readline():
                if line[:4].upper() == b"DATA":
                    connection.sendall(b"354 go on\r\n")
                    while stream.readline() not in (b".\r\n", b""):
                        pass
                    self.mails += 1
                connection.sendall(b"250 taken\r\n")


def drip(connection: socket.socket, over: threading.Event) -> None:
    """Say the beginning of an answer, byte after byte, and never its end: to who has asked for a page by then that, else a mail server's."""
    over.wait(DRIP)
    try:
        text = b"HTTP/1.1 200 OK\r\n" if connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) else b""
    except BlockingIOError:
        text = LINE
    while not over.wait(DRIP):
        connection.sendall(text[:1])
        text = text[1:] or b"x-more: a\r\n"


def _quietly(act: Callable[[socket.socket], None], connection: socket.socket) -> None:
    with contextlib.suppress(OSError, IndexError):
        act(connection)
