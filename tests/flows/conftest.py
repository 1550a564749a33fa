"""Every flow runs on both databases."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The real application on a fresh database of each kind."""
    async with open_server(tmp_path, on=store.address) as opened:
        yield opened


Stored = Callable[[], bytes]


@pytest.fixture
def stored(store: Store) -> Stored:
    """Everything that the database keeps, as whoever steals it would see it."""

    def read() -> bytes:
        if store.cluster is not None:
            return store.cluster.run(
                "pg_dump", "--data-only", "-d", store.address.rpartition("/")[2]
            ).encode()
        path = Path(store.address)
        return path.read_bytes() + path.with_name(path.name + "-wal").read_bytes()

    return read
