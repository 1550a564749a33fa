"""Who takes writes: one writer at each member of a cluster, without Watchword between, that notes what was acknowledged and on which timeline."""

import asyncio
import contextlib
import itertools
import threading
import time
from dataclasses import dataclass
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
from tests.drills.patroni import Member, Patroni

TABLE = "CREATE TABLE IF NOT EXISTS drill_writes (number bigint PRIMARY KEY)"
WRITE = "INSERT INTO drill_writes VALUES ($1) RETURNING ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int"
TROUBLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


@dataclass(frozen=True, slots=True)
class Written:
    """One acknowledged row."""

    number: int
    member: str
    timeline: int
    begun: float
    acked: float


class Writers:
    """The writers, in a thread of their own, until the block ends."""

    numbers = itertools.count(1)

    def __init__(self, cluster: Patroni) -> None:
        self.written: list[Written] = []
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        await asyncio.gather(*(self._follow(member) for member in self._cluster.members))

    async def _connect(self, member: Member) -> Any:
        return await asyncpg.connect(
            host=member.host, port=member.port, user="postgres", password=self._cluster.password,
            database="postgres", timeout=2, command_timeout=4,
        )  # fmt: skip

    async def _follow(self, member: Member) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(*TROUBLE):
                connection = await self._connect(member)
                try:
                    await self._write(connection, member)
                finally:
                    connection.terminate()
            await asyncio.sleep(0.2)

    async def _write(self, connection: Any, member: Member) -> None:
        warnings: list[Any] = []
        connection.add_log_listener(lambda _connection, message: warnings.append(message))
        while not self._stop.is_set():
            number, begun = next(self.numbers), time.monotonic()
            timeline = await connection.fetchval(WRITE, number)
            if warnings:  # a commit that no standby confirmed
                return
            self.written.append(Written(number, member.name, timeline, begun, time.monotonic()))
            await asyncio.sleep(0.1)

    def __enter__(self) -> "Writers":
        asyncio.run(self._prepare())
        self._thread.start()
        return self

    async def _prepare(self) -> None:
        connection = await self._connect(self._cluster.wait_until_safe(60))
        await connection.execute(TABLE)
        await connection.close()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(15)

    def longest_gap(self) -> float:
        """Return for how many seconds nobody took a write."""
        at = sorted(row.acked for row in self.written)
        return max((later - earlier for earlier, later in itertools.pairwise(at)), default=0.0)

    def violations(self, primary: Member) -> list[str]:
        """Return what two writers at once or a lost commit left behind."""
        found = []
        newest, until = 0, 0.0  # the newest timeline on which something was acknowledged, and when first
        for row in sorted(self.written, key=lambda row: row.acked):
            if row.timeline > newest:
                newest, until = row.timeline, row.acked
            elif row.timeline < newest and row.begun > until:
                found.append(
                    f"two writers: {row.member} took a row on timeline {row.timeline}, after one on {newest}"
                )
        missing = {row.number for row in self.written} - asyncio.run(self._kept(primary))
        lost = [row for row in self.written if row.number in missing]
        found += [f"a row acknowledged by {row.member} on timeline {row.timeline} is lost" for row in lost]
        return found

    async def _kept(self, primary: Member) -> set[int]:
        connection = await self._connect(primary)
        rows = await connection.fetch("SELECT number FROM drill_writes")
        await connection.close()
        return {row["number"] for row in rows}
