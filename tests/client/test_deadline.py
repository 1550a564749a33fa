"""A server whose answer never ends, as each of ours that asks one sees it: nothing of it is waited for without end, least of all its head."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fixtures import certificates

from watchword.cli import zero
from watchword.client import server as client_server
from watchword.client.doctor.web import Web
from watchword.client.errors import Unreachable
from watchword.client.proofs import Clocks
from watchword.client.server import AuthorizationServer
from watchword.zero.proof import ZeroError

PACE = 0.02  # seconds between two drops
DROPS = 400
ENDS = {
    "its head": (b"HTTP/1.1 200 OK\r\nx-slow: ", b"a", b"\r\ncontent-length: 2\r\n\r\n{}"),
    "what comes before its head": (
        b"",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    ),
    "its body": (b"HTTP/1.1 200 OK\r\ncontent-length: 402\r\n\r\n{", b" ", b"}"),
    "a body that ends with the connection": (b"HTTP/1.1 200 OK\r\n\r\n{", b" ", b"}"),
}

CUT = [("https", "its head"), ("http", "a body that ends with the connection")]


class Dripping:
    """A server that answers drop by drop, and is asked at `address`; `left` is set when whoever asked has gone."""

    def __init__(self, listening: socket.socket, scheme: str, answer: tuple[bytes, bytes, bytes]) -> None:
        self.address = f"{scheme}://localhost:{listening.getsockname()[1]}"
        self.left = threading.Event()
        self._answer = answer

    def serve(self, accept: Callable[[], socket.socket]) -> None:
        """Answer one request, in the end even properly."""
        begin, drop, end = self._answer
        with accept() as connection:
            connection.recv(65_536)
            connection.sendall(begin)
            connection.settimeout(PACE)
            for _ in range(DROPS):
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1):
                        self.left.set()
                        return
                connection.sendall(drop)
            connection.sendall(end)


@pytest.fixture(params=[(scheme, end) for scheme in ("http", "https") for end in ENDS])
def dripping(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Dripping]:
    """A server that drips, in the clear or not."""
    scheme, end = request.param
    with socket.create_server(("127.0.0.1", 0)) as listening:
        shown = certificates.make(tmp_path, "localhost", names=certificates.LOCALHOST)
        monkeypatch.setenv("SSL_CERT_FILE", str(shown.path))
        tls = certificates.serving(shown)

        def accept() -> socket.socket:
            connection = listening.accept()[0]
            return tls.wrap_socket(connection, server_side=True) if scheme == "https" else connection

        host = Dripping(listening, scheme, ENDS[end])
        serving = threading.Thread(target=host.serve, args=(accept,), daemon=True)
        serving.start()
        yield host
        serving.join()


def test_the_doctor_waits_for_no_answer_that_drips(dripping: Dripping) -> None:
    seen = Web(patience=0.3).get(f"{dripping.address}/x")
    assert (seen.status, seen.problem) == (0, "the answer had not ended after 0 seconds")
    assert dripping.left.wait(10)


@pytest.mark.parametrize("dripping", CUT, indirect=True)
def test_a_client_waits_for_no_answer_that_drips(dripping: Dripping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_server, "PATIENCE", 0.3)
    with pytest.raises(Unreachable, match="takes too long"):
        AuthorizationServer(dripping.address, Clocks(lambda: 0.0))._send("GET", f"{dripping.address}/x")
    assert dripping.left.wait(10)


@pytest.mark.parametrize("dripping", CUT, indirect=True)
def test_a_zero_knowledge_sign_in_waits_for_no_answer_that_drips(
    dripping: Dripping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zero, "PATIENCE", 0.3)
    with zero._client(dripping.address) as http, pytest.raises(ZeroError, match="takes too long"):
        zero._post(http, "/zero/challenge", json={})
    assert dripping.left.wait(10)
