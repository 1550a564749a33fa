"""A PostgreSQL standby for reads that may be stale: lists for administrators, and nothing that decides whether a token is valid (MN-08).

Owns its own few connections and the fallback: what the standby does not answer the primary does, and a standby that failed is not
asked again for a while. Nobody would notice that, so the log says so.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types

from watchword.store.database import Database, StorageUnavailable, Transaction
from watchword.store.postgres.errors import FAILURES, OPENING, unavailable
from watchword.store.postgres.transaction import PostgresTransaction
from watchword.telemetry import log

P = ParamSpec("P")
T = TypeVar("T")

CONNECTIONS = 3
PATIENCE = 1.0  # seconds for a connection
LEFT_ALONE = 5.0  # seconds for which a standby that failed is not asked, at least
SHARE = 10  # times as long as it was waited for: one that hangs costs a list seconds


class Replica:
    """Reads from a standby, or from the primary in its place."""

    def __init__(self, address: str, primary: Database, timeout: int) -> None:
        self._address = address
        self._primary = primary
        self._timeout = timeout
        self._pool: Any = None
        self._until = 0.0

    async def open(self) -> None:
        """Prepare the pool, without connecting yet; raise StorageUnavailable when the address is invalid."""
        try:
            self._pool = await asyncpg.create_pool(
                self._address,
                min_size=0,
                max_size=CONNECTIONS,
                timeout=PATIENCE,
                command_timeout=self._timeout,
                server_settings={"application_name": "watchword-lists"},
                setup=_read_only,
            )
        except OPENING as error:
            raise StorageUnavailable("database_replica is not a valid address") from error

    async def close(self) -> None:
        """Disconnect."""
        if self._pool is not None:
            self._pool.terminate()

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that changes nothing and may see stale data."""
        begun = time.monotonic()
        if begun >= self._until:
            try:
                async with self._pool.acquire(timeout=PATIENCE) as connection:
                    return await operation(PostgresTransaction(connection, None), *args, **kwargs)
            except FAILURES as error:
                failed = time.monotonic()
                alone = max(LEFT_ALONE, SHARE * (failed - begun))
                self._until = failed + alone
                log.warning("replica.unavailable", reason=unavailable(error).reason, seconds=round(alone))
        return await self._primary.read(operation, *args, **kwargs)


async def _read_only(connection: Any) -> None:
    # A statement, because PgBouncer refuses it as a connection parameter; with each loan, because the pool resets what it takes back.
    await connection.execute("SET default_transaction_read_only = on")
