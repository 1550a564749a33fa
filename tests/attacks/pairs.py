"""Two nodes on one database, and how late one may be to learn what the other did."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest_asyncio
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

from watchword.flows.clients import client_registry

Pair = tuple[Server, Server]


LATE = 1.0  # seconds by which a revocation may be late on a node that hears nothing
PATIENCE = 20.0  # seconds until something is taken never to come, however busy the machine


@contextlib.asynccontextmanager
async def open_pair(first: str, second: str, folder: Path, **options: Any) -> AsyncIterator[Pair]:
    """Two nodes on one database, whose clocks agree until one of them is moved."""
    same = {"key_file": str(folder / "key"), "mode": "development"} | options
    async with (
        open_server(folder, database=first, **same) as a,
        open_server(folder, database=second, **same) as b,
    ):
        b.clock.now = a.clock.now
        yield a, b


@contextlib.asynccontextmanager
async def open_deaf_pair(store: Store, folder: Path, **options: Any) -> AsyncIterator[Pair]:
    """Two nodes on PostgreSQL, of which the second is cut off from the announcements of the first."""
    cluster = store.cluster
    assert cluster is not None
    name = store.address.rpartition("/")[2]
    cluster.sql(f"CREATE ROLE {name}_deaf SUPERUSER LOGIN PASSWORD 'deaf'")
    deaf_address = f"postgresql://{name}_deaf:deaf@127.0.0.1:{cluster.port}/{name}"
    async with open_pair(store.address, deaf_address, folder, **options) as opened:
        knife = await asyncpg.connect(store.address)
        cutting = asyncio.create_task(_keep_cutting(knife, f"{name}_deaf"))
        try:
            yield opened
        finally:
            cutting.cancel()
            await knife.close()
    await store.close()
    cluster.sql(f"DROP OWNED BY {name}_deaf; DROP ROLE {name}_deaf", name)


async def _keep_cutting(knife: asyncpg.Connection, role: str) -> None:
    """End whatever connection of a node listens for announcements, again and again."""
    while True:
        await knife.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE usename = $1 AND (query ILIKE 'LISTEN%' OR query LIKE '%pg_notify%')",
            role,
        )
        await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def pair(store: Store, tmp_path: Path) -> AsyncIterator[Pair]:
    """Two nodes on one database of each kind."""
    async with open_pair(store.address, store.address, tmp_path) as opened:
        yield opened


async def lateness(is_so: Callable[[], Awaitable[bool]]) -> float:
    """Return after how many seconds something is so; fail when it does not come."""
    begun = time.monotonic()
    while not await is_so():
        assert time.monotonic() - begun <= PATIENCE, "a revocation never came"
        await asyncio.sleep(0.005)
    return time.monotonic() - begun


async def knows(server: Server, client_id: str) -> bool:
    """Whether a node knows a client."""
    return await client_registry.find(server.runtime, client_id) is not None


async def is_dead(server: Server, client: client_registry.Registered, token: str) -> bool:
    """Whether a node says that a token is not active."""
    return not (await server.post("/introspect", client, token=token)).json()["active"]
