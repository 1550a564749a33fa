"""A three-node PostgreSQL cluster under Patroni with three etcd on loopback, all of it thrown away in the end; from Debian's packages."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.drills.world import send
from tests.fixtures.postgres import find_binaries
from tests.fixtures.servers import free_port

PROGRAMS = ("etcd", "patroni", "patronictl")
TTL, LOOP_WAIT = 20, 5
CONFIGURATION = """
scope: watchword
name: {name}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{hosts: [{etcd}]}}
bootstrap:
  dcs:
    ttl: {ttl}
    loop_wait: {loop_wait}
    retry_timeout: 5
    synchronous_mode: true
    synchronous_mode_strict: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters:
        synchronous_commit: 'on'
        max_connections: 60
        shared_buffers: 16MB
        wal_keep_size: 256MB
        wal_log_hints: 'on'
  initdb: [{{encoding: UTF8}}, {{locale: C}}, data-checksums]
  pg_hba: ['host all all 127.0.0.1/32 scram-sha-256', 'host replication all 127.0.0.1/32 scram-sha-256', 'local all all trust']
postgresql:
  listen: '127.0.0.1:{port}'
  connect_address: '127.0.0.1:{port}'
  data_dir: {folder}/{name}
  bin_dir: {binaries}
  pgpass: {folder}/{name}.pgpass
  authentication:
    superuser: {{username: postgres, password: '{password}'}}
    replication: {{username: replicator, password: '{password}'}}
    rewind: {{username: rewinder, password: '{password}'}}
  parameters: {{unix_socket_directories: '{folder}'}}
"""


def as_postgres(*command: str) -> list[str]:
    """Return a command to be run by the user that may run PostgreSQL."""
    return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else list(command)


@dataclass(slots=True)
class Member:
    """One Patroni with the PostgreSQL that it looks after."""

    name: str
    port: int
    rest: int
    process: "subprocess.Popen[bytes] | None" = None

    def state(self) -> dict[str, object]:
        """Return what it says of itself; empty when it says nothing."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            found: dict[str, object] = httpx.get(
                f"http://127.0.0.1:{self.rest}/patroni", timeout=2, verify=False
            ).json()
            return found
        return {}


@dataclass(slots=True)
class Patroni:
    """The cluster."""

    folder: Path
    binaries: Path
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    members: list[Member] = field(default_factory=list)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    etcd: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return the address that names every member; a client uses the primary."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self.members)
        return f"postgresql://postgres:{self.password}@{hosts}/postgres"

    def spawn(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        """Start a program of the cluster."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                as_postgres(*command),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.folder)},
            )
        self.processes.append(process)
        return process

    def start(self) -> None:
        """Start three etcd and three Patroni, and wait for a primary with a synchronous standby."""
        ports = [(free_port(), free_port()) for _ in range(3)]
        peers = ",".join(f"e{n}=http://127.0.0.1:{peer}" for n, (_, peer) in enumerate(ports))
        for n, (client, peer) in enumerate(ports):
            self.etcd.append(f"127.0.0.1:{client}")
            self.spawn(
                f"etcd{n}", "etcd", "--name", f"e{n}", "--data-dir", f"{self.folder}/etcd{n}",
                "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
                "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                "--initial-cluster", peers, "--initial-cluster-state", "new", "--log-level", "error",
            )  # fmt: skip
        for n in range(3):
            member = Member(f"node{n}", free_port(), free_port())
            self.members.append(member)
            self.configure(member)
            self.run(member)
        self.wait_until_safe(120)

    def configure(self, member: Member) -> None:
        """Write the configuration of a member."""
        path = self.folder / f"{member.name}.yml"
        path.write_text(
            CONFIGURATION.format(
                name=member.name,
                rest=member.rest,
                port=member.port,
                folder=self.folder,
                binaries=self.binaries,
                password=self.password,
                etcd=", ".join(f"'{host}'" for host in self.etcd),
                ttl=TTL,
                loop_wait=LOOP_WAIT,
            )
        )
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")

    def run(self, member: Member) -> None:
        """Start a member's Patroni."""
        member.process = self.spawn(member.name, "patroni", f"{self.folder}/{member.name}.yml")

    def primary(self) -> Member | None:
        """Return the member that takes writes."""
        for member in self.members:
            state = member.state()
            if state.get("role") in ("master", "primary") and state.get("state") == "running":
                return member
        return None

    def wait_until_safe(self, patience: float) -> Member:
        """Wait until there is a primary whose commits a standby confirms, and every member runs."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            primary = self.primary()
            states = [member.state() for member in self.members]
            # Whom Patroni itself would promote: that a standby confirms commits is not enough in strict mode.
            named = any(state.get("sync_standby") for state in states)
            running = all(state.get("state") == "running" for state in states)
            if primary is not None and named and running and self.has_standby(primary):
                return primary
            time.sleep(0.5)
        said = [(self.folder / f"{member.name}.log").read_text()[-1500:] for member in self.members]
        raise AssertionError("no safe cluster:\n" + "\n\n".join(said))

    def has_standby(self, primary: Member) -> bool:
        """Whether somebody confirms the primary's commits."""
        done = subprocess.run(
            [str(self.binaries / "psql"), "-XAt", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres",
             "-c", "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"],
            env={"PGPASSWORD": self.password}, capture_output=True, text=True, check=False, timeout=10,
        )  # fmt: skip
        return done.stdout.strip() not in ("", "0")

    def postmaster(self, member: Member) -> int:
        """Return the process of a member's PostgreSQL."""
        return int((self.folder / member.name / "postmaster.pid").read_text().split()[0])

    def processes_of(self, member: Member) -> list[int]:
        """Return a member's PostgreSQL processes and its Patroni."""
        import psutil

        pids = []
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            postmaster = psutil.Process(self.postmaster(member))
            pids += [child.pid for child in postmaster.children()] + [postmaster.pid]
        assert member.process is not None
        with contextlib.suppress(psutil.Error):
            pids += [child.pid for child in psutil.Process(member.process.pid).children()] + [
                member.process.pid
            ]
        return pids

    def kill(self, member: Member) -> None:
        """Kill PostgreSQL and Patroni, as the loss of the machine would."""
        for pid in self.processes_of(member):
            send(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End everything."""
        for member in self.members:
            pids = self.processes_of(member)
            for pid in pids:
                send(pid, signal.SIGKILL)
        import psutil

        for process in self.processes:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    send(child.pid, signal.SIGKILL)
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def running() -> Iterator[Patroni]:
    """Run a cluster until the block ends; skip where its programs are not installed."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{missing[0]} was not found: install patroni and etcd-server (Debian)")
    folder = Path(tempfile.mkdtemp(prefix="watchword-patroni-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    cluster = Patroni(folder, find_binaries())
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
