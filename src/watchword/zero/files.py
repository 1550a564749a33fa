"""docs/zero.md §3: records in files and on standard streams, as text, JSON or binary.

Reading recognises the format by its first bytes. Secret files are made readable by their owner alone, are never
overwritten, and are refused when others may read or write them. Every error names the file.
"""

import base64
import binascii
import contextlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from watchword.credentials.zkproof import ZeroError
from watchword.durable_files import replace, settle
from watchword.zero.records import (
    KINDS,
    MAGIC,
    MAX_RECORD,
    R,
    Record,
    Revocation,
    Sealed,
    from_binary,
    from_json,
    kind_of,
    parse_json,
    to_binary,
    to_json,
)
from watchword.zero.revocation import read_registry

Format = Literal["text", "json", "binary"]

STREAM = "-"
MAX_REGISTRY = 64 * 1024 * 1024
_COLUMNS = 64


def dump(record: Record, form: Format) -> bytes:
    """Write a record in one of the three formats."""
    if form == "binary":
        return to_binary(record)
    if form == "json":
        return json.dumps(to_json(record), indent=2).encode() + b"\n"
    title = _title(kind_of(record))
    body = base64.b64encode(to_binary(record)).decode()
    lines = [body[start : start + _COLUMNS] for start in range(0, len(body), _COLUMNS)]
    return "\n".join((f"-----BEGIN {title}-----", *lines, f"-----END {title}-----", "")).encode()


def load(data: bytes, cls: type[R]) -> R:
    """Read a record of one kind in whichever format it is; raise ZeroError."""
    if len(data) > 2 * MAX_RECORD:
        raise ZeroError("malformed", "too large")
    if data.startswith(MAGIC):
        return from_binary(data, cls)
    if data.lstrip()[:1] == b"{":
        return from_json(parse_json(data), cls)
    return from_binary(_unarmour(data, kind_of(cls)), cls)


def load_any(data: bytes) -> Record:
    """Read a record of whatever kind it says it is; raise ZeroError."""
    for _, cls in KINDS.values():
        with contextlib.suppress(ZeroError):
            return load(data, cls)
    raise ZeroError("malformed", "not an identity, secret, challenge, proof or revocation")


def read_record(path: str, cls: type[R]) -> R:
    """Read a record of one kind from a file, or from standard input for `-`; raise ZeroError naming the file."""
    with named(path):
        return load(read_bytes(path), cls)


def read_sealed(path: str) -> Sealed:
    """Read a sealed secret; raise ZeroError `permissions` when others than the owner have access to the file."""
    with named(path):
        return load(read_private(path), Sealed)


def read_private(path: str) -> bytes:
    """Read a file that only its owner may read or write; raise ZeroError `permissions` otherwise."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
            raise ZeroError("permissions", "others have access to it; use: chmod 600")
        if status.st_uid not in (os.geteuid(), 0):
            raise ZeroError("permissions", "it belongs to another user")
        return file.read(2 * MAX_RECORD + 1)


def read_bytes(path: str) -> bytes:
    """Read a bounded amount from a file, or from standard input for `-`."""
    if path == STREAM:
        return sys.stdin.buffer.read(2 * MAX_RECORD + 1)
    with open(path, "rb") as file:
        return file.read(2 * MAX_RECORD + 1)


def read_revocations(path: str) -> frozenset[bytes]:
    """Return the revoked public points of a registry, or of one revocation in any format, `-` for standard input; raise ZeroError."""
    with named(path):
        with sys.stdin.buffer if path == STREAM else open(path, "rb") as file:
            data = file.read(MAX_REGISTRY + 1)
        if len(data) > MAX_REGISTRY:
            raise ZeroError("registry", "too large")
        return read_registry(_registry_lines(data))


def append_revocation(path: str, revocation: Revocation) -> None:
    """Add a revocation to a registry, durably; a registry that is not there is begun.

    Raise ZeroError for any other file, including one revocation over several lines: with another line, it could not be read.
    """
    line = json.dumps(to_json(revocation), separators=(",", ":")).encode() + b"\n"
    with named(path), open(path, "ab+") as file:
        file.seek(0)
        _check_first_line(file.readline(2 * MAX_RECORD))
        end = file.seek(0, os.SEEK_END)
        if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
            line = b"\n" + line  # the last line was left unfinished, by an editor or a full disk
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
        settle(path)


def write_record(path: str, record: Record, form: Format, *, private: bool = False) -> None:
    """Write a record to a file, or to standard output for `-`; a sealed secret, or what is `private`, to a new file of mode 0600."""
    data = dump(record, form)
    if path == STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_bytes(path, data, private=private or isinstance(record, Sealed))


def write_bytes(path: str, data: bytes, *, private: bool = False) -> None:
    """Write a file durably, whole or not at all; a private one is new and mode 0600. Raises ZeroError naming the file."""
    with named(path):
        if private:
            _write_new(path, data)
        else:
            replace(Path(path), data, 0o644)


def _write_new(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(path)  # half a secret would block the next attempt
        raise
    settle(path)


def _check_first_line(line: bytes) -> None:
    try:
        if line.strip():
            from_json(parse_json(line), Revocation)
    except ZeroError:
        raise ZeroError("registry", "not a registry, which has one JSON revocation in each line") from None


def _registry_lines(data: bytes) -> list[str]:
    with contextlib.suppress(ZeroError):
        return [json.dumps(to_json(load(data, Revocation)))]
    try:
        return data.decode().split("\n")
    except UnicodeDecodeError:
        raise ZeroError("registry", "not UTF-8") from None


def _title(kind: str) -> str:
    return f"WATCHWORD ZERO {kind.upper()}"


def _unarmour(data: bytes, kind: str) -> bytes:
    lines = [line.strip() for line in data.strip().split(b"\n")]
    title = _title(kind)
    if lines[0] != f"-----BEGIN {title}-----".encode() or lines[-1] != f"-----END {title}-----".encode():
        raise ZeroError("malformed", f"not {'an' if kind[0] in 'aio' else 'a'} {kind}")
    body = b"".join(lines[1:-1])
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise ZeroError("malformed", "damaged text") from None
    if base64.b64encode(data) != body:  # one record has one text: no stray bits behind the last byte
        raise ZeroError("malformed", "damaged text")
    return data


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Have every ZeroError and OSError inside name the file; all leave as ZeroError."""
    name = "standard input" if path == STREAM else str(Path(path))
    try:
        yield
    except ZeroError as error:
        raise ZeroError(error.reason, f"{name}: {error}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable file name"
        raise ZeroError("file", f"{name}: {reason}") from None
