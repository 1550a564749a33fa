"""A database that has its tables and nothing in them: creating these takes longer than everything else in opening a server.

It is created once per process and copied for each test, without waiting for the disk, because tests discard their databases.
"""

import contextlib
import functools
import os
import sqlite3
import tempfile
from pathlib import Path

from watchword.flows.secrets.master_key import key_path
from watchword.settings import Settings
from watchword.store.sqlite.database import LOG
from watchword.store.sqlite.file import prepare


@functools.cache
def empty_file() -> bytes:
    """Return an SQLite file with the tables, kept as servers keep theirs."""
    with tempfile.TemporaryDirectory(prefix="watchword-test-") as folder:
        path = Path(folder) / "empty.db"
        prepare(str(path))
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute(LOG)
        return path.read_bytes()


def place(settings: Settings) -> None:
    """Put an empty database and its key where a server looks for them, unless there are some; of PostgreSQL only the key."""
    file, key = Path(settings.database), key_path(settings)
    if not settings.is_postgres:
        if not file.parent.is_dir() or file.exists():
            return
        file.touch(0o600)
        file.write_bytes(empty_file())
    if key.parent.is_dir() and not key.exists():
        key.touch(0o600)
        key.write_text(os.urandom(32).hex())
