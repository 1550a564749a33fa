"""Rows of an SQLite file as they are read: each value is of its column's kind, or the row is a fault of the store and of nobody who asks.

SQLite keeps anything in any column, and so does a broken disk. A column is known by its name, which has one kind in all tables; what a
statement computes and gives a name (`AS`) may be anything. The audit trail is read by those who know what may have become of it.
"""

import re
from collections.abc import Set
from functools import lru_cache

from watchword.store import schema
from watchword.store.database import Row, StorageUnavailable
from watchword.store.documents import UNREADABLE

_TRAIL = re.compile(r"\bevents\b")
_NAMED = re.compile(r"\bAS (\w+)")
_RENAMED = re.compile(r"(?:SELECT|,)\s+(?:\w+\.)?(\w+) AS (\w+)")
_MAY_LACK = re.compile(r"\bLEFT JOIN\b")
_NONE = type(None)
Kinds = tuple[type, ...]


def check(sql: str, row: Row) -> None:
    """Raise StorageUnavailable where a value is not of its column's kind."""
    found = tuple(map(type, row))
    known = _known(sql)
    if found not in known:
        _look(sql, row, found)
        known.add(found)


@lru_cache(maxsize=1024)
def _known(sql: str) -> set[Kinds]:
    """Return the kinds of values in rows of a statement that were found right before: few, and looked up in an instant."""
    return set()


def _look(sql: str, row: Row, found: Kinds) -> None:
    if _TRAIL.search(sql):
        return
    kinds, filled = _columns()
    renamed = {name: column for column, name in _RENAMED.findall(sql)}
    named = set(_NAMED.findall(sql))
    for name, kind in zip(row.keys(), found, strict=True):
        column = renamed.get(name, "") if name in named else name
        if kind is _NONE:
            is_wrong = column == name and column in filled and not _MAY_LACK.search(sql)
        else:
            is_wrong = kind is not kinds.get(column, kind)
        if is_wrong:
            raise StorageUnavailable(UNREADABLE.format(f"{column} was kept"))


@lru_cache(maxsize=1)
def _columns() -> tuple[dict[str, type], Set[str]]:
    """Return of each name of a column its kind, where it has one in all tables, and the names of those that are never empty."""
    kinds: dict[str, set[type]] = {}
    filled: dict[str, bool] = {}
    for table in schema.tables(schema.newest()):
        for n, column in enumerate(table.columns):
            kinds.setdefault(column, set()).add(table.kind(n))
            filled[column] = filled.get(column, True) and n in table.filled
    # A number that is computed is whole or not, as it happens.
    one = {column: kind for column, (kind, *more) in kinds.items() if not more and kind is not float}
    return one, {column for column, is_filled in filled.items() if is_filled}
