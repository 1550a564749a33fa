"""Damaged rows: SQLite accepts any type in any column, and disks break.

Owns which values can be read, and how others are shown: as truncated ASCII, so that they can be printed and sent on. The audit trail is
shown with whatever is damaged in it; a round over many rows leaves the damaged ones out.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from watchword.store.database import Row, StorageUnavailable, Transaction
from watchword.telemetry import log

T = TypeVar("T")

LAST_MOMENT = 253_402_300_799  # the end of the year 9999
SHOWN = 100  # characters of what cannot be read
KINDS: dict[str, type] = {
    "chain": str, "seq": int, "at": int, "name": str, "actor": str, "target": str, "data": str, "link": str,
    "previous": bytes, "hash": bytes,
}  # fmt: skip


def is_readable(value: object, kind: type) -> bool:
    """Whether a value is of its column's type; a text that is not UTF-8 was read with lone surrogates in it."""
    if not isinstance(value, kind):
        return False
    return not isinstance(value, str) or value.isascii() or _is_text(value)


def columns(row: Row, among: Iterable[str] = tuple(KINDS)) -> list[str]:
    """Return the columns of an event, all or among some, that cannot be read."""
    return [name for name in among if not is_readable(row[name], KINDS[name])]


def sound(rows: Iterable[Row], kinds: Mapping[str, type], table: str) -> list[Row]:
    """Return the rows, read as they are kept, that can be read in these columns; the log tells of the others, which keep none of these
    from what is done with all."""
    found, others = [], Counter[str]()
    for row in rows:
        damaged = [name for name, kind in kinds.items() if not is_readable(row[name], kind)]
        if damaged:  # only where it is: what is in it is somebody's data
            others[" ".join(damaged)] += 1
        else:
            found.append(row)
    for columns, number in others.items():
        log.error("row.unreadable", table=table, columns=columns, rows=number)
    return found


async def first_page(
    tx: Transaction, query: str, *values: object, limit: int, kinds: Mapping[str, type], table: str
) -> list[Row]:
    """Return the sound rows of the first page that has any; the last two parameters of the query are its LIMIT and its OFFSET."""
    passed = 0
    while kept := await tx.all_as_kept(query, *values, limit, passed):
        if found := sound(kept, kinds, table):
            return found
        passed += len(kept)
    return []


def built(rows: Iterable[Row], build: Callable[[Row], T], table: str) -> list[T]:
    """Return what is built of each row; the log tells of each that is damaged."""
    found = []
    for row in rows:
        try:
            found.append(build(row))
        except StorageUnavailable as error:
            log.error("row.unreadable", table=table, reason=error.reason)
    return found


def text(value: object) -> str:
    """Return a text as it is, or a printable form of whatever stands in its place."""
    if isinstance(value, str) and is_readable(value, str):
        return value
    kept = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return ascii(kept)[:SHOWN]


def number(value: object) -> int:
    """Return an integer, 0 where there is none."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def moment(value: object) -> int:
    """Return a time in Unix seconds, clamped to what every calendar can show."""
    return min(max(0, number(value)), LAST_MOMENT)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
