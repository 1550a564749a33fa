"""What a row keeps as JSON or as a number: read as it was written, and a fault of the store, never of who asks, where it cannot be."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from watchword.store.database import Row, StorageUnavailable

T = TypeVar("T")
UNREADABLE = "a row cannot be read, where {}; watchword doctor --data looks at every row"


def reader(kind: type[T]) -> Callable[[str], T]:
    """Return what reads a document of a kind; it raises StorageUnavailable where a row holds what nobody wrote."""
    decode = msgspec.json.Decoder(kind).decode

    def read(kept: str) -> T:
        try:
            return decode(kept)
        except (msgspec.DecodeError, TypeError) as error:  # a broken disk may leave no text at all
            raise StorageUnavailable(UNREADABLE.format(f"{kind} was kept: {error}")) from error

    return read


def check_whole(row: Row, *columns: str) -> None:
    """Raise StorageUnavailable where a column holds no integer: SQLite keeps anything in any column, a broken disk as well."""
    for column in columns:
        if type(row[column]) is not int:
            raise StorageUnavailable(UNREADABLE.format(f"{column} was kept"))


def bytes_of(row: Row, column: str) -> bytes:
    """Return the bytes of a column; raise StorageUnavailable where it holds anything else."""
    kept = row[column]
    if type(kept) is not bytes:
        raise StorageUnavailable(UNREADABLE.format(f"{column} was kept"))
    return kept
