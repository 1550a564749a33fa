"""Three machines, each with PostgreSQL, its Patroni and an etcd, all of it thrown away in the end.

The programs are those of PATH: Debian's, or a newer Patroni from a virtual environment before them.
"""

import base64
import contextlib
import os
import re
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
import psutil
import pytest
from tests.drills.machines import Machines
from tests.drills.watchdog import Watchdog
from tests.drills.world import send
from tests.fixtures.postgres import find_binaries
from tests.fixtures.servers import free_port

PROGRAMS = ("etcd", "patroni")
TTL, LOOP_WAIT, MARGIN = 20, 5, 5
CONFIGURATION = """
scope: watchword
name: {name}
restapi: {{listen: '{host}:{rest}', connect_address: '{host}:{rest}'}}
etcd3: {{hosts: [{etcd}]}}
bootstrap:
  dcs:
    ttl: {ttl}
    loop_wait: {loop_wait}
    retry_timeout: 5
    synchronous_mode: true
    synchronous_mode_strict: true
    failsafe_mode: {failsafe}
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
  pg_hba: ['host all all all scram-sha-256', 'host replication all all scram-sha-256', 'local all all trust']
postgresql:
  listen: '{host}:{port}'
  connect_address: '{host}:{port}'
  data_dir: {folder}/{name}
  bin_dir: {binaries}
  pgpass: {folder}/{name}.pgpass
  authentication:
    superuser: {{username: postgres, password: '{password}'}}
    replication: {{username: replicator, password: '{password}'}}
    rewind: {{username: rewinder, password: '{password}'}}
  parameters: {{unix_socket_directories: '{folder}'}}
watchdog: {watchdog}
"""


@dataclass(slots=True)
class Member:
    """One machine: an etcd, a Patroni and the PostgreSQL that it looks after."""

    number: int
    host: str
    port: int = field(default_factory=free_port)
    rest: int = field(default_factory=free_port)
    # For clients, and for peers.
    etcd: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return its name."""
        return f"node{self.number}"

    def state(self) -> dict[str, object]:
        """Return what Patroni says of itself; empty when it says nothing."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            found: dict[str, object] = httpx.get(
                f"http://{self.host}:{self.rest}/patroni", timeout=1, verify=False
            ).json()
            return found
        return {}

    def is_primary(self) -> bool:
        """Whether Patroni says that this one takes writes."""
        state = self.state()
        return state.get("role") in ("master", "primary") and state.get("state") == "running"


@dataclass(slots=True)
class Patroni:
    """The cluster."""

    folder: Path
    binaries: Path
    machines: Machines
    has_watchdog: bool = False
    has_failsafe: bool = False
    password: str = field(default_factory=lambda: secrets.token_hex(12))
    members: list[Member] = field(default_factory=list)
    watchdogs: list[Watchdog] = field(default_factory=list)

    @property
    def version(self) -> str:
        """Return the release of Patroni."""
        said = subprocess.run(["patroni", "--version"], capture_output=True, text=True, check=True).stdout
        return said.split()[-1]

    @property
    def has_fair_lock(self) -> bool:
        """Whether a Patroni that was late takes the lead only where nobody else has it: 3.0.2 and older overwrite the key in etcd 3."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:3]) >= (3, 0, 3)

    def address(self, database: str = "postgres") -> str:
        """Return the address that names every member; a client uses the primary."""
        hosts = ",".join(f"{member.host}:{member.port}" for member in self.members)
        return f"postgresql://postgres:{self.password}@{hosts}/{database}?target_session_attrs=read-write"

    def start(self) -> None:
        """Start every machine, and wait for a primary with a synchronous standby."""
        self.machines.build()
        self.members += [Member(n, self.machines.host(n)) for n in range(3)]
        for member in self.members:
            self.configure(member)
            self.run(member)
        self.wait_until_safe(120)

    def configure(self, member: Member) -> None:
        """Write the configuration of a member, and attach its watchdog."""
        watchdog = "{mode: 'off'}"
        if self.has_watchdog:
            pipe = self.folder / f"{member.name}.watchdog"
            self.watchdogs.append(Watchdog(pipe, lambda: self.kill(member)))
            watchdog = f"{{mode: required, driver: testing, device: '{pipe}', safety_margin: {MARGIN}}}"
        path = self.folder / f"{member.name}.yml"
        path.write_text(
            CONFIGURATION.format(
                name=member.name,
                host=member.host,
                rest=member.rest,
                port=member.port,
                folder=self.folder,
                binaries=self.binaries,
                password=self.password,
                etcd=", ".join(f"'{one.host}:{one.etcd[0]}'" for one in self.members),
                ttl=TTL,
                loop_wait=LOOP_WAIT,
                failsafe=str(self.has_failsafe).lower(),
                watchdog=watchdog,
            )
        )
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")

    def run(self, member: Member) -> None:
        """Start what does not run on a machine: etcd, then Patroni."""
        self.run_etcd(member)
        self.spawn(member, "patroni", "patroni", f"{self.folder}/{member.name}.yml")

    def run_etcd(self, member: Member) -> None:
        """Start a machine's etcd."""
        client, peer = (f"http://{member.host}:{port}" for port in member.etcd)
        peers = ",".join(f"{one.name}=http://{one.host}:{one.etcd[1]}" for one in self.members)
        self.spawn(
            member, "etcd", "etcd", "--name", member.name, "--data-dir", f"{self.folder}/{member.name}.etcd",
            "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
            "--initial-advertise-peer-urls", peer, "--initial-cluster", peers, "--initial-cluster-state", "new",
            "--log-level", "error",
        )  # fmt: skip

    def spawn(self, member: Member, what: str, *command: str) -> None:
        """Start a program on a machine, unless it runs there."""
        if what in member.running and member.running[what].poll() is None:
            return
        program, *arguments = command
        with (self.folder / f"{member.name}.{what}.log").open("ab") as log:
            member.running[what] = subprocess.Popen(
                # By its path: who becomes another user may get another PATH.
                self.machines.on(member.number, shutil.which(program) or program, *arguments),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self.folder)},
            )

    def primary(self) -> Member | None:
        """Return the member that takes writes."""
        return next((member for member in self.members if member.is_primary()), None)

    def wait_until_safe(self, patience: float) -> Member:
        """Wait until there is a primary whose commits a standby confirms, and every member runs."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            states = [member.state() for member in self.members]
            primary = self.primary()
            # Whom Patroni itself would promote: that a standby confirms commits is not enough in strict mode.
            named = any(state.get("sync_standby") for state in states)
            running = all(state.get("state") in ("running", "streaming") for state in states)
            if primary is not None and named and running and self.has_standby(primary):
                return primary
            time.sleep(0.5)
        said = [(self.folder / f"{member.name}.patroni.log").read_text()[-1500:] for member in self.members]
        raise AssertionError("no safe cluster:\n" + "\n\n".join(said))

    def help_out(self) -> None:
        """Forget who was synchronous and start every Patroni anew, as an operator does when they are stuck."""
        key = base64.b64encode(b"/service/watchword/sync").decode()
        for member in self.members:
            signal_all(self.programs(member, "patroni"), signal.SIGKILL)
            member.running["patroni"].wait(10)
        one = self.members[0]
        httpx.post(f"http://{one.host}:{one.etcd[0]}/v3/kv/deleterange", json={"key": key}, timeout=10)
        for member in self.members:
            self.run(member)

    def wait_for_another(self, member: Member, patience: float = 60) -> None:
        """Wait until another member has the lead."""
        deadline = time.monotonic() + patience
        while not any(one.is_primary() for one in self.members if one is not member):
            assert time.monotonic() < deadline, "nobody took the lead"
            time.sleep(0.3)

    def sql(self, member: Member, statement: str) -> str:
        """Execute a statement on a member's PostgreSQL and return what psql prints; nothing when it does not answer."""
        done = subprocess.run(
            [str(self.binaries / "psql"), "-XAt", "-h", member.host, "-p", str(member.port), "-U", "postgres", "-c", statement],
            env={"PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "5"},
            capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip
        return done.stdout.strip()

    def has_standby(self, primary: Member) -> bool:
        """Whether somebody confirms the primary's commits."""
        count = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
        return self.sql(primary, count) not in ("", "0")

    def postgres(self, member: Member) -> list[int]:
        """Return a member's PostgreSQL processes, the postmaster last."""
        with contextlib.suppress(psutil.Error, OSError, ValueError, IndexError):
            found = (self.folder / member.name / "postmaster.pid").read_text().split()[0]
            postmaster = psutil.Process(int(found))
            if "postgres" in postmaster.name():
                return [child.pid for child in postmaster.children()] + [postmaster.pid]
        return []

    def programs(self, member: Member, *wanted: str) -> list[int]:
        """Return the processes of a machine's Patroni or etcd, and of what they started."""
        pids = []
        for what in wanted:
            with contextlib.suppress(psutil.Error, KeyError):
                process = psutil.Process(member.running[what].pid)
                pids += [child.pid for child in process.children(recursive=True)] + [process.pid]
        return pids

    def machine(self, member: Member) -> list[int]:
        """Return every process of a machine, those that serve before those that watch over them."""
        return self.postgres(member) + self.programs(member, "patroni", "etcd")

    def kill(self, member: Member) -> None:
        """Kill everything on a machine, as its loss would."""
        if self.watchdogs:
            self.watchdogs[member.number].disarm()
        for pid in reversed(self.machine(member)):
            send(pid, signal.SIGSTOP)  # from now on nothing is made that would be missed
        signal_all(self.machine(member), signal.SIGKILL)

    def stop(self) -> None:
        """End everything."""
        for watchdog in self.watchdogs:
            watchdog.close()
        for member in self.members:
            self.kill(member)
            for process in member.running.values():
                process.wait(10)
        self.machines.remove()


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to each of these processes."""
    for pid in pids:
        send(pid, number)


@contextlib.contextmanager
def running(*, watchdog: bool = False, failsafe: bool = False) -> Iterator[Patroni]:
    """Run a cluster until the block ends; skip where its programs are not installed."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{missing[0]} was not found: install patroni and etcd-server (Debian)")
    folder = Path(tempfile.mkdtemp(prefix="watchword-patroni-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    cluster = Patroni(folder, find_binaries(), Machines(), watchdog, failsafe)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
