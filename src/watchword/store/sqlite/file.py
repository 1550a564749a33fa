"""The file of the embedded database: created whole or not at all, and a lost or emptied one is never mistaken for a new one.

Theory of operation. A new file gets its tables before its name, so an empty file under that name was emptied by somebody. The master
key is made only after that, so a key without a database means that the database was lost; and a database without a key may be given a
new one as long as nothing in it was sealed or chained under another.
"""

import contextlib
import os
import secrets
import sqlite3
import time
from urllib.parse import quote

from watchword.durable_files import settle
from watchword.store import migrate
from watchword.store.database import StorageUnavailable

EMPTY = "the database file {} is empty: restore it from a backup, or move it away to start anew"

DAMAGED = "the database file {0} is damaged ({1}): move it away, and {0}-wal with it if that is there, then restore it from a backup"

MOVED = (
    "{} was removed or replaced while the server has it open, so nothing more is stored: stop the server and start it again; "
    "if the database file itself is lost, restore it from a backup"
)
LOOK = 0.02  # seconds; to look at each commit would cost every one of them turns at Python's lock


def address(path: str) -> str:
    """Return the URI by which SQLite opens an existing file, whatever characters its name has."""
    return f"file://{quote(os.fsencode(os.path.abspath(path)))}?mode=rw"


def create_file(path: str) -> None:
    """Create an empty file for its owner alone (mode 0600), unless there is one; one that is read-only is refused later, by SQLite."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def unusable(path: str, error: sqlite3.Error | OSError) -> StorageUnavailable:
    """Return what is said of a file that SQLite cannot use; a damaged one is in the way of a restore, which begins with what is there."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StorageUnavailable(DAMAGED.format(path, error))
    return StorageUnavailable(f"cannot use the database file {path}: {error}")


def prepare(path: str) -> None:
    """Make the file with its tables where there is none; raise StorageUnavailable when it is lost or cannot be made."""
    path = os.path.realpath(path)  # SQLite keeps its WAL file beside the target of a symbolic link
    try:
        if not os.path.exists(path):
            _make(path)
        elif os.path.getsize(path) == 0:
            raise StorageUnavailable(EMPTY.format(path))
    except sqlite3.Error as error:
        raise StorageUnavailable(f"cannot create the database file {path}: {error}") from error
    except OSError as error:
        raise StorageUnavailable(f"cannot open the database file {path}: {error.strerror}") from error


def _make(path: str) -> None:
    if os.path.exists(f"{path}-wal"):
        raise StorageUnavailable(
            f"the database file {path} is lost, for {path}-wal is still there: restore it from a backup, "
            f"or move {path}-wal away to start anew"
        )
    temporary = f"{path}.{secrets.token_hex(4)}.new"
    try:
        create_file(temporary)
        with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            migrate.apply_sqlite(connection)
        _name(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    settle(path)


def _name(temporary: str, path: str) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first
    except OSError:
        # No hard links on this file system: create it in place, where a power cut may leave it empty.
        create_file(path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            migrate.apply_sqlite(connection)


def refuse_empty(connection: sqlite3.Connection, path: str) -> None:
    """Raise StorageUnavailable where a file has no table at all, such as after an interrupted restore."""
    if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
        raise StorageUnavailable(EMPTY.format(path))


class Files:
    """The files of an open database, each as it was when it was opened: somebody may remove or replace one under a server.

    SQLite goes on with the file that it has, which nobody else can open any more: what it acknowledged there would be gone with it.
    """

    def __init__(self, path: str) -> None:
        """Note which files they are; the database is open."""
        beside = os.path.realpath(path)
        # By a name that stays right when the process changes to another folder.
        found = {name: _identity(name) for name in (os.path.abspath(path), f"{beside}-wal", f"{beside}-shm")}
        self._known = {name: identity for name, identity in found.items() if identity is not None}
        self._looked = time.monotonic()

    def check(self) -> None:
        """Raise StorageUnavailable where one was removed or replaced; look every `LOOK` seconds, and each time once that was found."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return
        for name, known in self._known.items():
            if _identity(name) != known:
                raise StorageUnavailable(MOVED.format(name))
        self._looked = now


def _identity(name: str) -> tuple[int, int] | None:
    """Return what tells a file from any other under the same name, None where there is none."""
    try:
        status = os.stat(name)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def is_unused(path: str) -> bool:
    """Whether nothing in a file was sealed or chained under a master key yet."""
    try:
        with contextlib.closing(sqlite3.connect(address(path), uri=True)) as connection:
            query = "SELECT EXISTS (SELECT 1 FROM signing_keys) OR EXISTS (SELECT 1 FROM events)"
            return not connection.execute(query).fetchone()[0]
    except sqlite3.Error:
        return False
