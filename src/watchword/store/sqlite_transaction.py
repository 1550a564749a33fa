"""The statements of one operation on SQLite, and the audit chain that it advances.

Owns neither connections nor commits: who runs the transaction says how it ended.
"""

import sqlite3
from functools import lru_cache

from watchword.store.chain import Chain, append_event
from watchword.store.database import Row, check_values


@lru_cache(maxsize=1024)
def placeholders(sql: str) -> str:
    """Return a statement with the placeholders of SQLite."""
    return sql.replace("$", "?")


class SqliteTransaction:
    """The statements of one operation on one connection."""

    __slots__ = ("_chain", "_connection", "_key")

    def __init__(self, connection: sqlite3.Connection, chain: Chain | None, key: bytes) -> None:
        self._connection = connection
        self._chain = chain
        self._key = key

    async def one(self, sql: str, *values: object) -> Row | None:
        """Return the first row, or None."""
        check_values(values)
        cursor = self._connection.execute(placeholders(sql), values)
        row: Row | None = cursor.fetchone()
        # A RETURNING statement takes effect only when it is stepped to its end.
        cursor.close()
        return row

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Return every row."""
        check_values(values)
        return list(self._connection.execute(placeholders(sql), values).fetchall())

    async def run(self, sql: str, *values: object) -> int:
        """Execute a statement and return how many rows it touched."""
        check_values(values)
        return self._connection.execute(placeholders(sql), values).rowcount

    async def record(self, name: str, /, *, actor: str, target: str, at: int, **data: object) -> None:
        """Append an audit event to this process's chain."""
        chain = self._chain
        if chain is None:
            raise RuntimeError("a read cannot record an event")
        await append_event(self, chain, self._key, name, actor, target, at, data)
