"""A PostgreSQL cluster of the benchmark's own, on the disk with fsync on, thrown away at the end."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from bench.load import free_port

OWNER = "watchword"
PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)


def find_binaries() -> Path | None:
    """Return the folder that holds `initdb`, or None when PostgreSQL is not installed."""
    found = shutil.which("initdb")
    if found is not None and not Path(found).resolve().name.startswith("pg_wrapper"):
        return Path(found).resolve().parent
    folders = sorted(folder for place in PLACES for folder in Path("/").glob(place.lstrip("/")))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@contextlib.contextmanager
def running(binaries: Path, *, memory: str = "256MB", directory: str | None = None) -> Iterator[str]:
    """Start a cluster on a free loopback port and return the address of its database; stop and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="watchword-bench-", dir=directory) as name:
        folder, port = Path(name), free_port()
        as_root = os.geteuid() == 0
        if as_root:  # PostgreSQL does not run as root
            shutil.chown(folder, "postgres")
        os.chmod(folder, 0o700)
        _run(
            binaries, "initdb", "-A", "trust", "-U", OWNER, "-E", "UTF8", "--locale=C", "-D", f"{folder}/data"
        )
        options = (
            f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=on -c synchronous_commit=on "
            f"-c shared_buffers={memory} -c max_connections=100 -c max_wal_size=4GB"
        )
        _run(binaries, "pg_ctl", "start", "-w", "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log")
        try:
            yield f"postgresql://{OWNER}@127.0.0.1:{port}/postgres"
        finally:
            _run(binaries, "pg_ctl", "stop", "-m", "immediate", "-D", f"{folder}/data")


def cpu_of(address: str) -> float:
    """Return the CPU seconds that the cluster behind an address has used so far, by all its processes."""
    port = address.rpartition(":")[2].partition("/")[0]
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command and command[0].endswith("postgres") and port in command:
            found = [process, *process.children(recursive=True)]
            return sum(float(one.cpu_times().user + one.cpu_times().system) for one in found)
    return 0.0


def create(binaries: Path, address: str, names: Sequence[str]) -> list[str]:
    """Make databases in a cluster and return their addresses."""
    for name in names:
        _run(binaries, "psql", "-q", "-d", address, "-c", f"CREATE DATABASE {name}")
    return [f"{address.rpartition('/')[0]}/{name}" for name in names]


def _run(binaries: Path, program: str, *arguments: str) -> None:
    command = [str(binaries / program), *arguments]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    done = subprocess.run(
        command, cwd="/", capture_output=True, text=True, timeout=120, env=os.environ | {"LC_ALL": "C"}
    )
    if done.returncode:
        raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")
