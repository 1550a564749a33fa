"""NIST SP 800-63B-4 §3.1.1.2: an offline list of passwords known from leaks.

Owns the search in a sorted file of SHA-1 digests: the text that haveibeenpwned.com publishes (`HEX:COUNT` lines) or 20-byte
records. The caller opens the file; a look-up reads a few hundred bytes of it, whatever its size, and sends nothing anywhere.
"""

import re
from io import SEEK_END
from typing import Protocol

DIGEST = 20
MAX_LINE = 80

_LINE = re.compile(rb"([0-9A-Fa-f]{40})(?::[0-9]{1,12})?\r?")


class BreachListError(ValueError):
    """The file is not a sorted list of SHA-1 digests."""


class Reader(Protocol):
    """The part of an open binary file that is needed."""

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def read(self, size: int = -1, /) -> bytes: ...


def contains(file: Reader, digest: bytes) -> bool:
    """Whether a SHA-1 digest is in the list; raise BreachListError, and OSError where the file cannot be read."""
    size = file.seek(0, SEEK_END)
    file.seek(0)
    if _LINE.fullmatch(file.read(MAX_LINE).split(b"\n")[0]):
        return _search_text(file, size, digest.hex().upper().encode())
    if size % DIGEST:
        raise BreachListError("neither text nor records of 20 bytes")
    return _search_records(file, size // DIGEST, digest)


def _search_records(file: Reader, count: int, digest: bytes) -> bool:
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        file.seek(middle * DIGEST)
        found = file.read(DIGEST)
        if found == digest:
            return True
        low, high = (middle + 1, high) if found < digest else (low, middle)
    return False


def _search_text(file: Reader, size: int, wanted: bytes) -> bool:
    """Search by position; invariant: a line with `wanted` begins at or after `low` and before `high`."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        start, line = _line_at(file, middle)
        if start >= high:
            high = middle
            continue
        found = _digest_of(line)
        if found == wanted:
            return True
        low, high = (start + len(line) + 1, high) if found < wanted else (low, middle)
    return False


def _line_at(file: Reader, position: int) -> tuple[int, bytes]:
    """Return the first line that begins at or after a position, and where it begins."""
    before = max(position - 1, 0)
    file.seek(before)
    chunk = file.read(2 * MAX_LINE)
    skip = 0 if position == 0 else chunk.find(b"\n") + 1
    if position and not skip:
        return before + len(chunk), b""
    return before + skip, chunk[skip:].split(b"\n")[0]


def _digest_of(line: bytes) -> bytes:
    found = _LINE.fullmatch(line)
    if found is None:
        raise BreachListError("a line is not a SHA-1 digest")
    return found[1].upper()
