"""The statements of one operation on PostgreSQL, and the audit chain that it borrows.

Owns neither connections nor commits: who runs the transaction says how it ended.
"""

from collections.abc import Callable
from typing import Any

from watchword.store.audit.chain import INSERT_EVENT, Chain, next_event, written
from watchword.store.database import AuditEntry, Row, check_values

PREFETCH = 1000  # rows that are read at a time where none is kept


class PostgresTransaction:
    """The statements of one operation on one connection."""

    __slots__ = ("_audit", "_connection")

    def __init__(self, connection: Any, audit: "Audit | None") -> None:
        self._connection = connection
        self._audit = audit

    async def one(self, sql: str, *values: object) -> Row | None:
        """Return the first row, or None."""
        check_values(values)
        row: Row | None = await self._connection.fetchrow(sql, *values)
        return row

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Return every row."""
        check_values(values)
        return list(await self._connection.fetch(sql, *values))

    all_as_kept = all  # PostgreSQL itself refuses values of another type

    async def each_as_kept(self, take: Callable[[Row], object], sql: str, *values: object) -> None:
        """Give every row of one state of the database to a function, and keep none; for reads alone."""
        check_values(values)
        async with self._connection.transaction():  # as a cursor needs it
            async for row in self._connection.cursor(sql, *values, prefetch=PREFETCH):
                take(row)

    async def run(self, sql: str, *values: object) -> int:
        """Execute a statement and return how many rows it touched."""
        check_values(values)
        status: str = await self._connection.execute(sql, *values)
        return int(count) if (count := status.rpartition(" ")[2]).isdigit() else 0

    async def many(self, sql: str, rows: list[tuple[object, ...]]) -> None:
        """Execute a statement once for each row of values."""
        await self._connection.executemany(sql, rows)

    async def each(self, sql: str, rows: list[tuple[object, ...]]) -> list[Row]:
        """Execute a statement once for each row of values and return the rows of all."""
        return list(await self._connection.fetchmany(sql, rows))

    async def record(self, name: str, /, *, actor: str, target: str, at: int, **data: object) -> None:
        """Append an audit event to a chain that no other transaction uses meanwhile."""
        row = await self._next(AuditEntry(name, actor, target, at, data))
        await self.run(INSERT_EVENT, *row)
        written([row])

    async def record_all(self, entries: list[AuditEntry]) -> None:
        """Append audit events to such a chain with one statement."""
        rows = [await self._next(entry) for entry in entries]
        for row in rows:
            check_values(row)
        if rows:
            await self.many(INSERT_EVENT, rows)
            written(rows)

    async def _next(self, entry: AuditEntry) -> tuple[object, ...]:
        if self._audit is None:
            raise RuntimeError("a read cannot record an event")
        chain, key = self._audit.chain(), self._audit.key
        return await next_event(self, chain, key, entry)


class Audit:
    """The chain that one transaction borrows: its head advances only when the transaction is committed."""

    __slots__ = ("_chain", "_free", "_saved", "key")

    def __init__(self, free: list[Chain], key: bytes) -> None:
        self._free = free
        self._chain: Chain | None = None
        self._saved: Chain | None = None
        self.key = key

    def chain(self) -> Chain:
        """Return the borrowed chain; the one used last is borrowed first, so that there are as few as possible."""
        if self._chain is None:
            self._saved = self._free.pop() if self._free else Chain()
            self._chain = self._saved.copy()
        return self._chain

    def committed(self) -> None:
        """Give the chain back with its new head."""
        if self._chain is not None:
            self._free.append(self._chain)

    def rolled_back(self) -> None:
        """Give the chain back as it was. When the outcome is unknown, neither is called, and the chain is not used again."""
        if self._saved is not None:
            self._free.append(self._saved)
