"""What a server takes of its machine while it is used: memory, descriptors, connections to its database, room on disk; and a load that
takes no more than its share of a processor."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import psutil
from tests.drills.ledger import Ledger
from tests.drills.world import Node, World

TABLES = (
    "access_tokens", "grants", "sessions", "events", "api_tokens", "interactions", "used_identifiers", "ended", "buckets", "signing_keys",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a node and its database; memory and room in bytes, times in seconds."""

    at: float
    memory: int
    descriptors: int
    connections: int
    room: int
    wal: int
    rows: int
    p50: float
    p99: float


def look(node: Node, world: World, ledger: Ledger, since: int, at: float) -> Sample:
    """Take a sample; the times are those of the requests from a number of the ledger on that were answered."""
    memory = descriptors = 0
    for pid in node.worker_pids():
        process = psutil.Process(pid)
        memory += process.memory_info().rss
        descriptors += process.num_fds()
    took = sorted(entry.t_answer - entry.t_sent for entry in ledger.entries[since:] if entry.state == "acked")
    middle, late = (took[len(took) // 2], took[len(took) * 99 // 100]) if took else (0.0, 0.0)
    return Sample(at, memory, descriptors, *_of_database(world), middle, late)


def _of_database(world: World) -> tuple[int, int, int, int]:
    """Return connections, room, room of the log of changes, and how many rows there are."""
    if not world.database.startswith("postgres"):
        path, wal = Path(world.database), Path(world.database + "-wal")
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            rows = sum(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in TABLES)
        return 0, path.stat().st_size, wal.stat().st_size if wal.exists() else 0, rows
    return asyncio.run(_of_postgres(world.database))


async def _of_postgres(address: str) -> tuple[int, int, int, int]:
    connection = await asyncpg.connect(address)
    try:
        others = await connection.fetchval(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        room = await connection.fetchval("SELECT pg_database_size(current_database())")
        rows = sum([await connection.fetchval(f"SELECT COUNT(*) FROM {table}") for table in TABLES])
        return others, room, 0, rows
    finally:
        await connection.close()


def shown(sample: Sample) -> str:
    """Write a sample as a line."""
    given = asdict(sample)
    for name in ("memory", "room", "wal"):
        given[name] = f"{given[name] / 2**20:.1f}MB"
    return " ".join(
        f"{name}={value if isinstance(value, str) else format(value, '.4g')}" for name, value in given.items()
    )


class Pace:
    """Pauses between two steps of a walker, such that the drill and its servers take no more than a share of one processor."""

    def __init__(self, world: World, share: float) -> None:
        self._world, self._share = world, share
        self.pause = 0.2
        self._stop = threading.Event()
        self._known: dict[int, float] = {}

    def wait(self) -> None:
        """Wait until the next step may be done."""
        self._stop.wait(self.pause)

    def _used(self) -> float:
        """Return the seconds of processor time since the last call, of what is alive still."""
        seen, used = {}, 0.0
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                seen[process.pid] = times.user + times.system
                used += seen[process.pid] - self._known.get(process.pid, 0.0)
        self._known = seen
        return used

    def _processes(self) -> Iterator[psutil.Process]:
        yield psutil.Process()
        with contextlib.suppress(psutil.Error):
            yield from psutil.Process().children(recursive=True)

    def _govern(self) -> None:
        self._used()
        begun = time.monotonic()
        while not self._stop.wait(5.0):
            now = time.monotonic()
            used, begun = self._used() / (now - begun), now
            self.pause = min(max(self.pause * min(max(used / self._share, 0.5), 2.0), 0.005), 5.0)

    @contextlib.contextmanager
    def governed(self) -> Iterator[None]:
        """Adapt the pauses all the while."""
        thread = threading.Thread(target=self._govern, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join(10)
