"""django-oauth-toolkit and Authlib's server under gunicorn as peers: install them, start them, and read the CPU that they used.

They are installed from a lock file of their own, with hashes, into an environment beside them, on first use.
"""

import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.conversations import Server
from bench.load import free_port

ROOT = Path(__file__).parent
LOCK = ROOT.parent / "requirements" / "bench.txt"
HOME = ROOT / "peers" / ".venv"
PATIENCE = 15.0
# Where a peer's endpoints are: token, introspection.
PEERS = {"django_oauth_toolkit": ("/o/token/", "/o/introspect/"), "authlib": ("/token", "/introspect")}


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer: the servers as its machine client and as its client for people see them."""

    name: str
    machine: Server
    people: Server
    process: psutil.Process

    def cpu(self) -> float:
        """CPU seconds used so far by gunicorn and its worker."""
        processes = [self.process, *self.process.children(recursive=True)]
        return sum(float(one.cpu_times().user + one.cpu_times().system) for one in processes)

    def refresh_tokens(self, count: int) -> Sequence[str]:
        """Return the first refresh tokens of so many people."""
        return [
            self.people.fetch(
                grant_type="password", username=f"person{number}", password="bench", scope="read"
            )["refresh_token"]
            for number in range(count)
        ]


def install() -> bool:
    """Install the peers from their lock file if need be; False, with what went wrong above, when that failed."""
    mark = HOME / ".ready"
    if mark.exists() and mark.stat().st_mtime >= LOCK.stat().st_mtime:
        return True
    commands = (
        [sys.executable, "-m", "venv", str(HOME)],
        [str(HOME / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps", "-r", str(LOCK)],
    )  # fmt: skip
    if any(subprocess.run(command, check=False).returncode for command in commands):
        print("The Python peers could not be installed (see above): they are not measured.")
        return False
    mark.touch()
    return True


@contextlib.contextmanager
def running(name: str, core: int | None = None) -> Iterator[Peer]:
    """Start a peer on a fresh database with one worker process; stop it at the end."""
    with tempfile.TemporaryDirectory() as directory:
        database, folder, port = str(Path(directory) / "peer.db"), ROOT / "peers" / name, free_port()
        subprocess.run([str(HOME / "bin" / "python"), "provider.py", database], cwd=folder, check=True)
        # Threads, because gunicorn's plain workers close every connection after one answer.
        gunicorn = subprocess.Popen(
            [str(HOME / "bin" / "gunicorn"), "--bind", f"127.0.0.1:{port}", "--workers", "1", "--worker-class", "gthread",
             "--threads", "4", "--keep-alive", "75", "--log-level", "error", "provider:application"],
            cwd=folder,
            env=os.environ | {"BENCH_DATABASE": database},
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            token, introspect = PEERS[name]
            machine, people = (
                Server(port, _credentials(client), token=token, introspect=introspect)
                for client in ("bench", "people")
            )
            _wait(machine)
            peer = Peer(name, machine, people, psutil.Process(gunicorn.pid))
            if core is not None:
                for process in (peer.process, *peer.process.children(recursive=True)):
                    process.cpu_affinity([core])
            yield peer
        finally:
            gunicorn.terminate()
            gunicorn.wait(30)


def _credentials(client: str) -> str:
    return base64.b64encode(f"{client}:bench-secret".encode()).decode()


def _wait(server: Server) -> None:
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        with contextlib.suppress(OSError):
            server.fetch(grant_type="client_credentials", scope="read")
            return
        time.sleep(0.1)
    raise RuntimeError("the peer did not issue a token in time")
