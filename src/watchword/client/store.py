"""Where a client keeps its tokens, so that threads and processes can share one refresh token.

Theory of operation. A rotating refresh token may be used once. Whoever wants to use it takes the store's lock and reads the store
again: either somebody else has refreshed meanwhile, or it is its turn, and then the result is written before the lock is released.
A process that dies in between leaves the old record, which the server's grace period for repeated refreshes covers if another goes on soon.
"""

import contextlib
import fcntl
import glob
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

import msgspec

from watchword.durable_files import settle

ROOM = 32 * 1024  # bytes: more than the tokens of any usual server


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored tokens of one `owner`; times are Unix seconds, `key` is the private JWK that they are bound to."""

    owner: str
    access_token: str = ""
    token_type: str = "Bearer"
    expires_at: float | None = None
    obtained_at: float = 0.0
    refresh_token: str = ""
    id_token: str = ""
    scope: str = ""
    key: dict[str, str] | None = None

    def __repr__(self) -> str:
        """Show no secret."""
        return f"Record(owner={self.owner!r}, expires_at={self.expires_at!r})"


class Store(Protocol):
    """One record, and a lock over everybody who uses it."""

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Lock out everybody else while the block runs."""

    def load(self) -> Record | None:
        """Return the record, or None."""

    def save(self, record: Record | None) -> None:
        """Replace the record, wholly or not at all; None removes it."""


class MemoryStore:
    """Keeps tokens in memory, for the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._record: Record | None = None
        _in_memory.add(self)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock out other threads."""
        with self._lock:
            yield

    def load(self) -> Record | None:
        """Return the record."""
        return self._record

    def save(self, record: Record | None) -> None:
        """Replace the record."""
        self._record = record

    def forked(self) -> None:
        """Replace the lock in a forked child: the thread that held it exists only in the parent."""
        self._lock = threading.Lock()


def _forked() -> None:
    for store in tuple(_in_memory):
        store.forked()


_in_memory: WeakSet[MemoryStore] = WeakSet()
os.register_at_fork(after_in_child=_forked)


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Lock out every other thread and process that locks the same path; the file itself stays empty. Raise OSError where it is a link:
    in a folder that others write to as well it would have this make a file wherever they like."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Explicitly: a child that was forked meanwhile shares the descriptor, and would keep the lock until it ends.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


class FileStore:
    """Keeps tokens in a file that only its owner can read; several processes may share it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Name the file, with `~` for the home folder; raise ValueError for a folder, or where there is no home."""
        try:
            self.path = Path(path).expanduser()
        except RuntimeError:  # no HOME, and a user whom the system does not know, as in some containers
            raise ValueError(f"path: there is no home folder for {path}: name the file without ~") from None
        if self.path.is_dir():
            raise ValueError(f"path: {self.path} is a folder: name a file in it")

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Lock out other threads and processes."""
        return file_lock(self.path.with_name(self.path.name + ".lock"))

    def load(self) -> Record | None:
        """Return the record, None for one that is damaged; raise PermissionError for one that others can read."""
        try:
            if self.path.stat().st_mode & 0o077:
                raise PermissionError(f"{self.path} can be read by others: chmod 600 {self.path}")
            return msgspec.json.decode(self.path.read_bytes(), type=Record)
        # ValueError: not JSON, no record, or not UTF-8
        except (FileNotFoundError, ValueError, RecursionError):
            return None

    def save(self, record: Record | None) -> None:
        """Atomically replace the file; None removes it."""
        if record is None:
            self.path.unlink(missing_ok=True)
            return
        held = _rooms.held.pop(self.path, None)
        temporary, descriptor = held or self._temporary()
        try:
            try:
                _write(descriptor, msgspec.json.encode(record))
            finally:
                os.close(descriptor)
            temporary.replace(self.path)
            # Otherwise a power cut may bring the old file back, whose refresh token was used: the server would revoke the family.
            settle(self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def room(self) -> Iterator[None]:
        """Reserve disk space for this thread's next `save` while the block runs; raise OSError when the disk is full.

        The caller holds the lock.
        """
        empty = bytes(ROOM)
        for other in self.path.parent.glob(f"{glob.escape(self.path.name)}.*.*"):
            # In a folder that others can write to it may be somebody else's, or a link that leads nowhere.
            with contextlib.suppress(OSError):
                if other.stat().st_size == ROOM and other.read_bytes() == empty:  # its process was killed
                    other.unlink(missing_ok=True)
        made = _rooms.held[self.path] = self._temporary()
        try:
            _write(made[1], empty)
            yield
        finally:
            if left := _rooms.held.pop(self.path, None):
                os.close(left[1])
                left[0].unlink(missing_ok=True)

    def _temporary(self) -> tuple[Path, int]:
        """Make a file beside this one, and return it open: others may be able to write to the folder, and foresee no name."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.path.with_name(f"{self.path.name}.{os.getpid()}.{secrets.token_hex(8)}")
        return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


class _Rooms(threading.local):
    """The rooms that a thread holds: a forked child has none of those of other threads."""

    def __init__(self) -> None:
        self.held: dict[Path, tuple[Path, int]] = {}


_rooms = _Rooms()


def _write(descriptor: int, content: bytes) -> None:
    # Truncated only afterwards, so that the space which `room` reserved is overwritten and not given back first.
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.seek(0)
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(descriptor)
