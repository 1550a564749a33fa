"""The file of the embedded database: made whole or not at all, and what was lost or emptied is never taken for new.

Theory of operation. A new file has its tables before it has its name, so that one that is empty was emptied by somebody. The master key is
made only after that, so that a key without its database is that of a lost one; and a database without its key may have a new
one as long as nothing in it was sealed or chained under another.
"""

import contextlib
import os
import secrets
import sqlite3
from urllib.parse import quote

from watchword.folders import settle
from watchword.store import migrate
from watchword.store.database import StorageUnavailable

EMPTY = "the database file {} is empty: restore it from a backup, or move it away to start anew"


def address(path: str) -> str:
    """Return how SQLite is told to open a file that is there, whatever signs its name holds."""
    return f"file://{quote(os.fsencode(os.path.abspath(path)))}?mode=rw"


def create_file(path: str) -> None:
    """Create an empty file for its owner alone; a file that may only be read is refused later, by what it cannot do."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def prepare(path: str) -> None:
    """Make the file with its tables where there is none; raise StorageUnavailable when it is lost or cannot be made."""
    path = os.path.realpath(path)  # what SQLite keeps beside a file is beside what a link leads to
    try:
        if not os.path.exists(path):
            _make(path)
        elif os.path.getsize(path) == 0:
            raise StorageUnavailable(EMPTY.format(path))
    except sqlite3.Error as error:
        raise StorageUnavailable(f"cannot make the database file {path}: {error}") from error
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
        # No hard links here: it is filled in its place, where a power cut may leave it empty.
        create_file(path)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            migrate.apply_sqlite(connection)


def refuse_empty(connection: sqlite3.Connection, path: str) -> None:
    """Raise StorageUnavailable where a file has no table at all, as one whose restore was cut short."""
    if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None:
        raise StorageUnavailable(EMPTY.format(path))


def is_unused(path: str) -> bool:
    """Whether nothing in a file was sealed or chained under a master key yet."""
    try:
        with contextlib.closing(sqlite3.connect(address(path), uri=True)) as connection:
            query = "SELECT EXISTS (SELECT 1 FROM signing_keys) OR EXISTS (SELECT 1 FROM events)"
            return not connection.execute(query).fetchone()[0]
    except sqlite3.Error:
        return False
