"""oidc-provider (Node.js) as a peer: start it, load it, and read the CPU that it used.

    npm ci --prefix bench/peers/oidc_provider          # once; brings Node.js 22, which has SQLite
    python -m bench.node_oidc_provider [--seconds 5] [--connections 32]

Modes: `jwt` (ES256 access tokens), `memory` (opaque, lost at a restart), `sqlite` (opaque, durable before the answer).
Requests per CPU second of the Node.js process, all its threads counted, are what one core gives.
"""

import argparse
import base64
import json
import os
import subprocess
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import psutil

from bench import load

HOME = Path(__file__).parent / "peers" / "oidc_provider"
MODES = ("jwt", "memory", "sqlite")
CREDENTIALS = base64.b64encode(b"bench:bench-secret-bench-secret-bench-secret").decode()
WARM_UP = 2.0  # seconds: V8 compiles its hot code in them


@dataclass(frozen=True, slots=True)
class Peer:
    """A running oidc-provider."""

    mode: str
    port: int
    process: psutil.Process

    def cpu(self) -> float:
        """CPU seconds used so far, by all threads."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def request(self, path: str, **fields: str) -> bytes:
        """The bytes of a form POST with the client's credentials."""
        body = urllib.parse.urlencode(fields).encode()
        return (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Basic {CREDENTIALS}\r\n"
            f"Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def token_request(self) -> bytes:
        """A client_credentials request."""
        return self.request("/token", grant_type="client_credentials", scope="read")

    def introspection_request(self, token: str) -> bytes:
        """An introspection request for a token."""
        return self.request("/token/introspection", token=token)

    def token(self) -> str:
        """One fresh access token."""
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "read"}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/token", form, {"Authorization": f"Basic {CREDENTIALS}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return cast("str", json.load(answer)["access_token"])


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
            yield Peer(mode, json.loads(line)["port"], process)
        finally:
            node.terminate()
            node.wait(10)


def measure(peer: Peer, request: load.RequestFactory, connections: int, seconds: float) -> str:
    """One row of the report."""
    load.run("127.0.0.1", peer.port, request, connections, WARM_UP, 0.0)
    before = peer.cpu()
    result = load.run("127.0.0.1", peer.port, request, connections, seconds, 0.0)
    spent = peer.cpu() - before
    if set(result.statuses) != {200} or result.failures:
        raise RuntimeError(f"not every answer was 200: {dict(result.statuses)}, {result.failures} broken")
    count = len(result.latencies)
    return (
        f"{result.rate:7.0f}/s  {count / spent:7.0f} per CPU second  p50 {result.percentile(0.5) * 1e3:6.2f} ms  "
        f"p99 {result.percentile(0.99) * 1e3:6.2f} ms  CPU {spent / result.seconds:.0%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--mode", choices=MODES, action="append")
    options = parser.parse_args()
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    for mode in options.mode or MODES:
        with running(mode, core=0) as peer:
            requests = {"token": peer.token_request()}
            if mode != "jwt":
                requests["introspection"] = peer.introspection_request(peer.token())
            for name, request in requests.items():
                row = measure(peer, partial(bytes, request), options.connections, options.seconds)
                print(f"{mode:7} {name:14} {row}", flush=True)


if __name__ == "__main__":
    main()
