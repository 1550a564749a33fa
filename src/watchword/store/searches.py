"""Prefix searches that walk one index after another, so that a page costs the same however large the table is.

A table is searched by its keys in turn: by the first in its order, then by the second for what the first did not find. Every row
found has a place, the cursor after which the next page starts.
"""

import string
from collections.abc import Sequence

import msgspec

from watchword.store.database import Row, Transaction
from watchword.store.filters import where

Condition = tuple[object, ...]
_LAST = "\U0010ffff"  # every text with a prefix sorts before the prefix followed by this
_FOLD = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class Table(msgspec.Struct, frozen=True):
    """The table to search, and the columns to return; `identifier` is a unique column."""

    name: str
    columns: str
    identifier: str


class Key(msgspec.Struct, frozen=True):
    """An indexed expression, and the prefix to look for; the empty prefix matches everything."""

    by: str
    begins: str

    def found(self) -> Condition:
        """Return the condition that it has the prefix."""
        return (f"{self.by} >= {{}} AND {self.by} < {{}}", self.begins, self.begins + _LAST)

    def missed(self) -> Condition:
        """Return the condition that it lacks the prefix, or is NULL."""
        return (f"({self.by} < {{}} OR {self.by} >= {{}} OR {self.by} IS NULL)", *self.found()[1:])


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Which of the keys a row was found by, the value of that key, and the row's identifier."""

    key: int
    value: str
    identifier: str


_decode = msgspec.json.Decoder(Place).decode


def fold(text: str) -> str:
    """Return a text as `lower` of both databases makes it: only the letters of ASCII are folded."""
    return text.translate(_FOLD)


async def walk(
    tx: Transaction,
    table: Table,
    keys: Sequence[Key],
    *conditions: Condition,
    after: str,
    limit: int,
) -> list[tuple[Row, str]]:
    """Return the rows after a place, the beginning when it is empty, each with its own place."""
    found: list[tuple[Row, str]] = []
    for number, bounds in _stretches(keys, table.identifier, after):
        key, earlier = keys[number], [one.missed() for one in keys[:number]]
        which, values = where(bounds, *earlier, *conditions)
        rows = await tx.all(
            f"SELECT {table.columns}, {key.by} AS place, {table.identifier} AS identifier FROM {table.name}{which} "  # noqa: S608 - literals
            f"ORDER BY {key.by}, {table.identifier} LIMIT ${len(values) + 1}",
            *values,
            limit - len(found),
        )
        found += [(row, _place(number, row)) for row in rows]
        if len(found) >= limit:
            break
    return found


def _place(number: int, row: Row) -> str:
    return msgspec.json.encode(Place(number, row["place"], row["identifier"])).decode()


def _stretches(keys: Sequence[Key], identifier: str, after: str) -> list[tuple[int, Condition]]:
    """Return the ranges still to walk, each with its key's number: behind a place, the rest of equal values, then what follows."""
    place = _parse(after)
    found: list[tuple[int, Condition]] = []
    for number, key in enumerate(keys):
        if place is None or number > place.key:
            found.append((number, key.found()))
        elif number == place.key:
            equal = (f"{identifier} > {{}} AND {key.by} = {{}}", place.identifier, place.value)
            beyond = (f"{key.by} < {{}} AND {key.by} > {{}}", key.begins + _LAST, place.value)
            found += [(number, equal), (number, beyond)]
    return found


def _parse(after: str) -> Place | None:
    """Return the place of a cursor; None for the beginning, and for the cursor of another list."""
    try:
        return _decode(after)
    except msgspec.DecodeError:
        return None
