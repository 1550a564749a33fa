"""What a drill needs to be there: people, a client of the code flow, an administrator's token, nodes to be killed and started again."""

import asyncio
import contextlib
import http.client
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import psutil
from tests.fixtures.browser import PASSWORD
from tests.fixtures.commands import environment, run_cli
from tests.fixtures.servers import free_port

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.databases import start
from watchword.flows.giving import OPERATOR
from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts
from watchword.settings import Settings

T = TypeVar("T")
REDIRECT = "https://app.example.com/cb"
SCOPE = "openid offline_access orders:read"


@dataclass(slots=True)
class Node:
    """One `watchword serve`, with its workers, on a port that it keeps over restarts."""

    world: "World"
    port: int
    workers: int
    variables: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        """Return where the node listens."""
        return f"http://localhost:{self.port}"

    @property
    def log(self) -> Path:
        """Return the file of its log."""
        return self.world.folder / f"node-{self.port}.log"

    def start(self, *, wait: bool = True, **variables: str) -> float:
        """Start the node; return after how many seconds it could commit a write."""
        begun = time.monotonic()
        command = [sys.executable, "-m", "watchword", "serve", "--port", str(self.port)]
        command += ["--workers", str(self.workers), "--issuer", self.world.issuer]
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=self.world.folder,
                env=environment() | self.world.variables | dict(self.variables) | variables,
                stdout=stream,
                stderr=stream,
            )
        if wait:
            self.wait()
        return time.monotonic() - begun

    def wait(self, patience: float = 60.0) -> None:
        """Wait until it can commit a write."""
        deadline = time.monotonic() + patience
        while not self.is_ready():
            self.assert_running()
            assert time.monotonic() < deadline, f"not ready in time: {self.log.read_text()[-2000:]}"
            time.sleep(0.05)
        self.assert_running()  # and not somebody else on its port

    def assert_running(self) -> None:
        """Fail with the end of the log when it has ended."""
        assert self.process is None or self.process.poll() is None, self.log.read_text()[-2000:]

    def is_ready(self) -> bool:
        """Whether it says that it can commit a write."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=2)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False

    def worker_pids(self) -> list[int]:
        """Return the processes that serve: the workers, or the node itself where it is one process."""
        assert self.process is not None
        if self.workers == 1:
            return [self.process.pid]
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):  # it has ended, and its supervisor has not looked yet
                if "resource_tracker" not in " ".join(child.cmdline()):
                    found.append(child.pid)
        return found

    def kill_workers(self, number: int | None = None) -> int:
        """Kill that many workers, or all of them, with SIGKILL; return how many."""
        pids = self.worker_pids()[:number]
        for pid in pids:
            send(pid, signal.SIGKILL)
        return len(pids)

    def kill(self) -> None:
        """Kill the node with all of its workers, as a power cut of its machine would."""
        assert self.process is not None
        send(self.process.pid, signal.SIGSTOP)  # from now on it makes no worker that would be missed
        for pid in {*self.worker_pids(), self.process.pid}:
            send(pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@dataclass(slots=True)
class World:
    """One database with what the load needs, and the nodes on it."""

    folder: Path
    database: str
    issuer: str = ""
    client_id: str = ""
    client_secret: str = ""
    admin_token: str = ""
    people: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    grace: float = 8.0  # seconds within which a repeated refresh is answered alike; the server's grace is a little longer

    @property
    def variables(self) -> dict[str, str]:
        """Return what every command on this database has in its environment."""
        given = {"DATABASE": self.database, "KEY_FILE": str(self.folder / "key")} | self.options
        return {f"WATCHWORD_{name}": value for name, value in given.items()}

    def settings(self) -> Settings:
        """Return the options with which this process opens the same database."""
        return Settings(
            issuer=self.issuer, database=self.database, key_file=str(self.folder / "key"), jobs=False,
            fetch_allow_loopback="FETCH_ALLOW_LOOPBACK" in self.options,
        )  # fmt: skip

    def node(self, workers: int = 1, **variables: str) -> Node:
        """Add a node; the first one gives the issuer its port."""
        made = Node(
            self, int(self.issuer.rpartition(":")[2]) if not self.nodes else free_port(), workers, variables
        )
        self.nodes.append(made)
        return made

    async def populate(self, people: int) -> None:
        """Make the people, the client and the administrator's token."""
        runtime = await start.open_runtime(self.settings())
        try:
            for n in range(people):
                await accounts.create(runtime, username=f"person{n}", password=PASSWORD, actor="test")
                self.people.append(f"person{n}")
            wanted = ClientInput(
                name="the load",
                redirect_uris=[REDIRECT],
                grant_types=["authorization_code", "refresh_token", "client_credentials"],
                scope=SCOPE + " introspect",
                access_token_format="opaque",
            )
            registered = await client_registry.register(runtime, wanted, actor="test")
            self.client_id = registered.client.client_id
            self.client_secret = registered.client_secret or ""
            owner = await api_tokens.resolve_owner(runtime, "operations")
            given = TokenInput(name="admin", scope="watchword:admin introspect")
            issued = await api_tokens.create(runtime, given, owner=owner, actor="test", giver=OPERATOR)
            self.admin_token = issued.secret
        finally:
            await start.close_runtime(runtime)

    def add_client(self, **given: Any) -> tuple[str, str]:
        """Register a client; return its identifier and its secret."""
        made = self.within(
            lambda runtime: client_registry.register(runtime, ClientInput(**given), actor="test")
        )
        return made.client.client_id, made.client_secret or ""

    def within(self, act: Callable[[Runtime], Awaitable[T]]) -> T:
        """Do something on the same database in this process."""

        async def opened() -> T:
            runtime = await start.open_runtime(self.settings())
            try:
                return await act(runtime)
            finally:
                await start.close_runtime(runtime)

        return asyncio.run(opened())

    def sql(self, statement: str) -> None:
        """Execute a statement behind the server's back."""

        async def execute() -> None:
            connection = await asyncpg.connect(self.database)
            await connection.execute(statement)
            await connection.close()

        if self.database.startswith("postgres"):
            asyncio.run(execute())
            return
        with contextlib.closing(sqlite3.connect(self.database, timeout=30, isolation_level=None)) as file:
            file.execute(statement)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the same database."""
        return run_cli(self.folder, *arguments, variables=self.variables)

    def close(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                for pid in node.worker_pids():
                    send(pid, signal.SIGCONT)
                node.stop()


@contextlib.contextmanager
def new_world(folder: Path, database: str = "", people: int = 2, **options: str) -> Iterator[World]:
    """Make a world on an SQLite file of its own, or on the database given; stop its nodes in the end."""
    issuer = f"http://localhost:{free_port()}"
    world = World(folder, database or str(folder / "watchword.db"), issuer, options=options)
    asyncio.run(world.populate(people))
    try:
        yield world
    finally:
        world.close()
