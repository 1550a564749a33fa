"""The statements of one operation on SQLite, and the audit chain that it advances.

Owns neither connections nor commits: who runs the transaction says how it ended.
"""

import re
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from watchword.store.audit.chain import INSERT_EVENT, Chain, next_event, written
from watchword.store.database import AuditEntry, Row, StorageUnavailable, check_values
from watchword.store.fitting import check

Events = list[tuple[object, ...]]


_LOCKS = re.compile(r" FOR (?:NO )?(?:KEY )?(?:SHARE|UPDATE)(?: OF \w+)?")


@lru_cache(maxsize=1024)
def placeholders(sql: str) -> str:
    """Return a statement as SQLite writes it: its placeholders, and no row locks, for there is one writer at a time."""
    return _LOCKS.sub("", sql).replace("$", "?")


@lru_cache(maxsize=16)
def stepped(change: str) -> str:
    """Return the statement of a `Change` without its RETURNING: the count of rows says whether it took effect, at half the cost."""
    return change.partition(" RETURNING ")[0]


# Python 3.12, until 3.12.4, warns of every `?1` whose value is given by its place: a later release was to refuse that, which none does.
NAMED = (3, 12) <= sys.version_info < (3, 12, 4)


def bound(values: Sequence[object]) -> Sequence[object] | Mapping[str, object]:
    """Return the values of a statement's placeholders as this Python takes them without a word: `?1` is also a name."""
    return {str(place): value for place, value in enumerate(values, 1)} if NAMED else values


def all_bound(rows: Iterable[Sequence[object]]) -> Iterable[Any]:
    """Return the same for each row of values."""
    return map(bound, rows) if NAMED else rows


def _decoded(kept: bytes) -> str:
    return kept.decode("utf-8", "surrogateescape")


class Undecodable(StorageUnavailable):
    """A text is not UTF-8: it was only read, so whoever asked for it may go on without."""


def _told(error: sqlite3.OperationalError) -> Exception:
    """Return what an error means: that of a text is the driver's own, while those of SQLite have a code."""
    if hasattr(error, "sqlite_errorcode"):
        return error
    return Undecodable(str(error).partition(" with text ")[0])  # without the text, which is somebody's data


class SqliteTransaction:
    """The statements of one operation on one connection; with `events` given, what it records waits there to be written."""

    __slots__ = ("_chain", "_connection", "_events", "_key")

    def __init__(
        self, connection: sqlite3.Connection, chain: Chain | None, key: bytes, events: Events | None = None
    ) -> None:
        self._connection = connection
        self._chain = chain
        self._key = key
        self._events = events

    async def one(self, sql: str, *values: object) -> Row | None:
        """Return the first row, or None."""
        check_values(values)
        try:
            cursor = self._connection.execute(placeholders(sql), bound(values))
            row: Row | None = cursor.fetchone()
        except sqlite3.OperationalError as error:
            raise _told(error) from None
        # A RETURNING statement takes effect only when it is stepped to its end.
        cursor.close()
        if row is not None:
            check(sql, row)
        return row

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Return every row."""
        rows = self._rows(sql, values)
        for row in rows:
            check(sql, row)
        return rows

    def _rows(self, sql: str, values: tuple[object, ...]) -> list[Row]:
        check_values(values)
        try:
            return list(self._connection.execute(placeholders(sql), bound(values)).fetchall())
        except sqlite3.OperationalError as error:
            raise _told(error) from None

    async def all_as_kept(self, sql: str, *values: object) -> list[Row]:
        """Return every row, damaged ones included: values of any type, and texts that are not UTF-8 with lone surrogates."""
        self._connection.text_factory = _decoded
        try:
            return self._rows(sql, values)
        finally:
            self._connection.text_factory = str

    async def each_as_kept(self, take: Callable[[Row], object], sql: str, *values: object) -> None:
        """Give every row of one state of the database to a function, as `all_as_kept` reads it, and keep none; for reads alone."""
        check_values(values)
        self._connection.text_factory = _decoded
        try:
            for row in self._connection.execute(placeholders(sql), bound(values)):
                take(row)
        finally:
            self._connection.text_factory = str

    async def run(self, sql: str, *values: object) -> int:
        """Execute a statement and return how many rows it touched."""
        check_values(values)
        return self._connection.execute(placeholders(sql), bound(values)).rowcount

    async def record(self, name: str, /, *, actor: str, target: str, at: int, **data: object) -> None:
        """Append an audit event to this process's chain."""
        await self.append(AuditEntry(name, actor, target, at, data))

    async def append(self, entry: AuditEntry) -> None:
        """Append an audit event as `record` does."""
        chain = self._chain
        if chain is None:
            raise RuntimeError("a read cannot record an event")
        row = await next_event(self, chain, self._key, entry)
        if self._events is not None:
            check_values(row)
            self._events.append(row)
            return
        await self.run(INSERT_EVENT, *row)
        written([row])
