"""Type checks on rows read from an SQLite file: a value of the wrong type is a fault of the storage, never of the request.

SQLite accepts any type in any column, and disks break. A column is known by its name, which has one type in all tables; what a
statement computes and names with `AS` may be anything. The audit trail is exempt: its readers expect damage.
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
    """Raise StorageUnavailable where a value is not of its column's type."""
    found = tuple(map(type, row))
    known = _known(sql)
    if found not in known:
        _look(sql, row, found)
        known.add(found)


@lru_cache(maxsize=1024)
def _known(sql: str) -> set[Kinds]:
    """Return the combinations of types that were already found right for a statement; there are few."""
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
    """Return the type of each column name that has one type in all tables, and the names of the columns that are never NULL."""
    kinds: dict[str, set[type]] = {}
    filled: dict[str, bool] = {}
    for table in schema.tables(schema.newest()):
        for n, column in enumerate(table.columns):
            kinds.setdefault(column, set()).add(table.kind(n))
            filled[column] = filled.get(column, True) and n in table.filled
    # SQLite may return an integer for a column of floats.
    one = {column: kind for column, (kind, *more) in kinds.items() if not more and kind is not float}
    return one, {column for column, is_filled in filled.items() if is_filled}
