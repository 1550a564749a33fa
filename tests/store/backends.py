"""What a PostgreSQL server is asked and told in tests: who is connected, who waits, who holds what."""

import asyncio
import inspect
import time
from collections.abc import Callable

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest_asyncio
from tests.fixtures.lent import KEEPER
from tests.fixtures.postgres import Cluster, Store

from watchword.store.database import Database


@pytest_asyncio.fixture
async def node(postgres_store: Store) -> Database:
    """A node that is patient for one second only."""
    return await postgres_store.node(timeout=1)


def cluster_of(store: Store) -> Cluster:
    assert store.cluster is not None
    return store.cluster


def name_of(store: Store) -> str:
    return store.address.rpartition("/")[2]


async def until(condition: Callable[[], object], patience: float = 20.0) -> None:
    """Wait until something is so; the condition may have to be awaited."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def backends(store: Store, condition: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(store.address)
    try:
        return list(
            await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                f"AND pid <> pg_backend_pid() AND application_name <> $1 AND {condition}",
                KEEPER,
            )
        )
    finally:
        await connection.close()


async def until_blocked(store: Store) -> None:
    """Wait until a transaction waits for the lock of another."""
    await until(lambda: backends(store, "wait_event_type = 'Lock'"))


async def gone(store: Store, condition: str) -> bool:
    """Whether no connection is like this."""
    return not await backends(store, condition)
