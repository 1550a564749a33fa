"""Watchword as it is measured: one worker on a fresh SQLite file, durable, bound to a core."""

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from bench.load import free_port

PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Watchword:
    """A running server with one client for each token format; `started` is how many seconds the first token took."""

    port: int
    process: psutil.Process
    credentials: dict[str, str]
    first_token: float

    def cpu(self) -> float:
        """CPU seconds used so far, by all threads."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def request(self, path: str, client: str, **fields: str) -> bytes:
        """The bytes of a form POST with a client's credentials."""
        body = urllib.parse.urlencode(fields).encode()
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Basic {self.credentials[client]}\r\n"
            f"Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def token_request(self, client: str) -> bytes:
        """A client_credentials request."""
        return self.request("/token", client, grant_type="client_credentials", scope="read")

    def token(self, client: str) -> str:
        """One fresh access token."""
        return fetch_token(self.port, self.credentials[client])


def fetch_token(port: int, credentials: str) -> str:
    """Ask for one token."""
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "read"}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/token", form, {"Authorization": f"Basic {credentials}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        token: str = json.load(answer)["access_token"]
        return token


@contextlib.contextmanager
def running(core: int | None = None) -> Iterator[Watchword]:
    """Start a server with a client each for JWT and opaque tokens; stop it at the end."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        issuer = ("--issuer", f"http://127.0.0.1:{port}")
        credentials = {kind: _client(directory, kind) for kind in ("jwt", "opaque")}
        started = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-m", "watchword", "serve", "--port", str(port), *issuer],
            cwd=directory,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        try:
            first = _first_token(port, credentials["opaque"], started)
            process = psutil.Process(server.pid)
            if core is not None:
                process.cpu_affinity([core])
            yield Watchword(port, process, credentials, first)
        finally:
            server.terminate()
            server.wait(30)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WATCHWORD_")}
    return kept | {"WATCHWORD_LOG_LEVEL": "error"}


def _client(directory: str, kind: str) -> str:
    command = [sys.executable, "-m", "watchword", "client", "create", kind, "--scope", "read introspect"]
    made = subprocess.run(
        [*command, "--token-format", kind, "--json"],
        cwd=directory,
        capture_output=True,
        check=True,
        env=_environment(),
    )
    client = json.loads(made.stdout)
    return base64.b64encode(f"{client['client_id']}:{client['client_secret']}".encode()).decode()


def _first_token(port: int, credentials: str, started: float) -> float:
    while time.perf_counter() - started < PATIENCE:
        with contextlib.suppress(OSError):
            fetch_token(port, credentials)
            return time.perf_counter() - started
        time.sleep(0.005)
    raise RuntimeError("the server did not issue a token in time")
