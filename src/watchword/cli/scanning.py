"""Finding credentials in files of any size; what could not be read is reported, so that nobody takes it for clean.

Owns what is read and in which pieces; what a credential looks like is in `watchword.oauth.token_format`.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from watchword.oauth import token_format

PIECE = 1 << 20  # bytes


@dataclass(slots=True)
class Scan:
    """What was found in which files, and which could not be read, each with the reason."""

    findings: list[dict[str, object]] = field(default_factory=list)
    unread: list[dict[str, str]] = field(default_factory=list)


def scan(path: Path, brand: str) -> Scan:
    """Search a file, a pipe or a folder (except `.git`); symbolic links in a folder are not followed."""
    done = Scan()

    def note(error: OSError) -> None:
        done.unread.append({"file": str(error.filename), "reason": error.strerror or type(error).__name__})

    for file in _files(path, note) if os.path.isdir(path) else (path,):
        try:
            done.findings.extend(_found(file, brand))
        except OSError as error:
            error.filename = error.filename or str(file)
            note(error)
    return done


def _files(folder: Path, note: Callable[[OSError], None]) -> Iterator[Path]:
    for inside, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if name != ".git")
        for file in (Path(inside, name) for name in sorted(names)):
            try:
                is_file = stat.S_ISREG(file.lstat().st_mode)
            except OSError as error:  # a folder that may be listed, but not entered
                note(error)
                continue
            if is_file:
                yield file


def _found(file: Path, brand: str) -> Iterator[dict[str, object]]:
    pattern = re.compile(token_format.pattern(brand).encode())
    length = len(f"{brand}a_") + token_format.BODY_LENGTH + token_format.CHECKSUM_LENGTH
    for line, piece in _pieces(file, overlap=length - 1):
        for match in pattern.finditer(piece):
            token = match[0].decode()
            kind = token_format.kind_of(token, brand)
            if kind is not None:
                number = line + piece.count(b"\n", 0, match.start())
                shown = f"{token[: len(brand) + 2]}…{token[-4:]}"
                yield {"file": str(file), "line": number, "kind": token_format.KINDS[kind], "token": shown}


def _pieces(file: Path, overlap: int) -> Iterator[tuple[int, bytes]]:
    """Yield a file in pieces that overlap by less than a credential, each with the number of the line that it begins in."""
    line, kept = 1, b""
    with file.open("rb") as opened:
        while read := opened.read(PIECE):
            piece = kept + read
            yield line, piece
            kept = piece[-overlap:]
            line += piece.count(b"\n", 0, len(piece) - len(kept))
