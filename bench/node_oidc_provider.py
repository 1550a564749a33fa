"""oidc-provider (Node.js) as a peer: install it, start it, sign people in, and read the CPU that it used.

Modes: `jwt` (ES256 access tokens), `memory` (opaque, lost at a restart), `sqlite` (opaque, durable before the answer).
Requests per CPU second of the Node.js process, all its threads counted, are what one core gives.
"""

import base64
import http.client
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.conversations import CALLBACK, Server, authorization_request

HOME = Path(__file__).parent / "peers" / "oidc_provider"
MODES = ("jwt", "memory", "sqlite")
CREDENTIALS = base64.b64encode(b"bench:bench-secret-bench-secret-bench-secret").decode()


@dataclass(frozen=True, slots=True)
class Peer:
    """A running oidc-provider."""

    mode: str
    server: Server
    process: psutil.Process

    def cpu(self) -> float:
        """CPU seconds used so far, by all threads."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def sign_in(self, people: int) -> list[str]:
        """Sign so many people in and return the cookies of their sessions."""
        return [_signed_in(self.server) for _ in range(people)]


def _signed_in(server: Server) -> str:
    cookies: dict[str, str] = {}
    target = authorization_request(server, "").split(b" ", 2)[1].decode()
    for _ in range(6):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request(
            "GET", target, headers={"Cookie": "; ".join(f"{n}={v}" for n, v in cookies.items())}
        )
        answer = connection.getresponse()
        for line in answer.headers.get_all("set-cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            cookies[name] = value
        target = answer.headers["location"] or ""
        connection.close()
        if target.startswith(CALLBACK):
            return "; ".join(f"{name}={value}" for name, value in cookies.items() if "session" in name)
        target = target.removeprefix(f"http://127.0.0.1:{server.port}")
    raise RuntimeError("oidc-provider did not sign anybody in")


@contextmanager
def running(mode: str, core: int | None = None) -> Iterator[Peer]:
    """Start oidc-provider in a mode on a free loopback port, bound to a core if one is named; stop it at the end."""
    with tempfile.TemporaryDirectory() as directory:
        command = [
            str(HOME / "node_modules" / ".bin" / "node"),
            str(HOME / "server.mjs"),
            mode,
            str(Path(directory) / "tokens.db"),
        ]
        environment = {**os.environ, "NODE_ENV": "production"}
        node = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        try:
            process = psutil.Process(node.pid)
            if core is not None:
                process.cpu_affinity([core])
            assert node.stdout is not None
            line = node.stdout.readline()
            if not line:
                raise RuntimeError(f"oidc-provider did not start: is `npm ci` done in {HOME.name}?")
            port = json.loads(line)["port"]
            yield Peer(
                mode,
                Server(port, CREDENTIALS, authorize="/auth", introspect="/token/introspection"),
                process,
            )
        finally:
            node.terminate()
            node.wait(10)
