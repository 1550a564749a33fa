"""Where SQLite keeps a row in its file, so that a drill can flip one bit of it; by the file format's §1.6 and §2.1.

Owns only finding: the cell of a row in its table, its lengths, its header and its values. What spills over into other pages is left out.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

LEAF, INTERIOR = 0x0D, 0x05
FILE_HEADER = 100


def row_of(file: Path, table: str, where: str) -> range:
    """Return where in the file the one row of a table is that a condition names; the file has no write-ahead log."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()[0]
        ((rowid,),) = connection.execute(f"SELECT rowid FROM {table} WHERE {where}").fetchall()
    data = file.read_bytes()
    return next(cell for found, cell in cells(data, root) if found == rowid)


def cells(data: bytes, page: int) -> Iterator[tuple[int, range]]:
    """Return every row below a page: its number, and where its cell is."""
    size = int.from_bytes(data[16:18], "big")
    start = (page - 1) * size
    head = start + (FILE_HEADER if page == 1 else 0)
    kind, count = data[head], int.from_bytes(data[head + 3 : head + 5], "big")
    pointers = head + (8 if kind == LEAF else 12)
    for n in range(count):
        offset = start + int.from_bytes(data[pointers + 2 * n : pointers + 2 * n + 2], "big")
        if kind == INTERIOR:
            yield from cells(data, int.from_bytes(data[offset : offset + 4], "big"))
        else:
            length, after = varint(data, offset)
            rowid, after = varint(data, after)
            yield rowid, range(offset, after + local(length, size))
    if kind == INTERIOR:
        yield from cells(data, int.from_bytes(data[head + 8 : head + 12], "big"))


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Return an integer of variable length and where it ends."""
    value = 0
    for n in range(8):
        value = value << 7 | data[at + n] & 0x7F
        if data[at + n] < 0x80:
            return value, at + n + 1
    return value << 8 | data[at + 8], at + 9


def local(length: int, size: int) -> int:
    """Return how much of a payload of a length is in the page itself."""
    if length <= size - 35:
        return length
    least = (size - 12) * 32 // 255 - 23
    kept = least + (length - least) % (size - 4)
    return kept if kept <= size - 35 else least


def flip(file: Path, place: int, bit: int) -> None:
    """Change one bit of a file."""
    with file.open("r+b") as stream:
        stream.seek(place)
        (before,) = stream.read(1)
        stream.seek(place)
        stream.write(bytes([before ^ 1 << bit]))
