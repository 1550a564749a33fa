"""An offline list of leaked passwords: both formats, every position, and nothing found that is not there."""

import hashlib
import io

import pytest

from watchword.credentials import breach_list
from watchword.credentials.breach_list import BreachListError


def digest(text: str) -> bytes:
    return hashlib.sha1(text.encode()).digest()


DIGESTS = sorted(digest(f"leaked {number}") for number in range(257))
TEXT_LF = "".join(f"{entry.hex().upper()}:{n * n}\n" for n, entry in enumerate(DIGESTS)).encode()
FILES = {
    "text with counts and LF": TEXT_LF,
    "text with CRLF, as published": TEXT_LF.replace(b"\n", b"\r\n"),
    "text without an end of the last line": TEXT_LF.rstrip(b"\n"),
    "text in lower case without counts": b"".join(entry.hex().encode() + b"\n" for entry in DIGESTS),
    "records of 20 bytes": b"".join(DIGESTS),
    "a single line": DIGESTS[0].hex().encode(),
}


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


@pytest.mark.parametrize("name", FILES)
def test_every_entry_is_found_and_nothing_else(name: str) -> None:
    file = io.BytesIO(FILES[name])
    entries = DIGESTS[:1] if name == "a single line" else DIGESTS
    assert all(breach_list.contains(file, entry) for entry in entries)
    others = [digest(f"kept {number}") for number in range(300)] + [bytes(20), b"\xff" * 20]
    assert not any(breach_list.contains(file, entry) for entry in others)


def test_a_look_up_reads_little_of_a_large_file() -> None:
    file = Counting(b"".join(DIGESTS) + b"\xff" * 20 * 50_000)
    assert breach_list.contains(file, DIGESTS[5])
    assert file.taken < 1000


def test_an_empty_file_holds_nothing() -> None:
    assert not breach_list.contains(io.BytesIO(b""), DIGESTS[0])


@pytest.mark.parametrize("content", [b"\x00" * 21, TEXT_LF[:45] + b"garbage\n" * 400, b"password\n" * 30])
def test_a_file_that_is_no_such_list_is_named(content: bytes) -> None:
    with pytest.raises(BreachListError):
        breach_list.contains(io.BytesIO(content), b"\x80" * 20)
