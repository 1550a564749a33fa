"""Every flow runs on both databases."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fixtures.postgres import Store
from tests.fixtures.served import server_with

server = server_with()

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
