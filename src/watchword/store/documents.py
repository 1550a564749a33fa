"""Reading JSON, integers and bytes from rows: a damaged value is a fault of the storage, never of the request."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from watchword.store.database import Row, StorageUnavailable

T = TypeVar("T")
UNREADABLE = "a row cannot be read, where {}; watchword doctor --data looks at every row"


def reader(kind: type[T]) -> Callable[[str], T]:
    """Return a decoder of JSON columns of one type; it raises StorageUnavailable for a damaged value."""
    decode = msgspec.json.Decoder(kind).decode

    def read(kept: str) -> T:
        try:
            return decode(kept)
        except (msgspec.DecodeError, TypeError) as error:  # TypeError: the damaged value is not even text
            raise StorageUnavailable(UNREADABLE.format(f"{kind} was kept: {error}")) from error

    return read


def check_whole(row: Row, *columns: str) -> None:
    """Raise StorageUnavailable where a column holds no integer: SQLite accepts any type in any column, and disks break."""
    for column in columns:
        if type(row[column]) is not int:
            raise StorageUnavailable(UNREADABLE.format(f"{column} was kept"))


def bytes_of(row: Row, column: str) -> bytes:
    """Return the bytes of a column; raise StorageUnavailable where it holds anything else."""
    kept = row[column]
    if type(kept) is not bytes:
        raise StorageUnavailable(UNREADABLE.format(f"{column} was kept"))
    return kept
