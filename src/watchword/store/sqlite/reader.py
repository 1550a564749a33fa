"""A thread's connection for reading the embedded database: one snapshot for each turn of the event loop.

Theory of operation. All reads of one turn use one snapshot, begun in that turn. All requests that a turn answers had arrived before it
began, so each sees at least what was committed when it was sent; and the locks and pages of a read are paid for once, however many
requests the turn has. A commit of this process, from any thread, outdates the snapshot, so that whoever waited for the commit sees it.
Without an event loop there are no turns, and every read stands alone.
"""

import asyncio
import contextlib
import sqlite3
import threading
import time
from dataclasses import dataclass

LONGEST_TURN = 0.005  # seconds after which a snapshot is renewed within one turn
LAST_CHANGE = "SELECT value FROM facts WHERE name = 'changes'"


@dataclass(slots=True)
class Commits:
    """How many commits the writer of this process has made."""

    count: int = 0


@dataclass(slots=True)
class Reader:
    """A connection, its snapshot, and the last known count of changes by all processes."""

    connection: sqlite3.Connection
    own: Commits
    seen: int = -1  # of our own commits when the snapshot began
    commits: int = -1
    changes: int = 0
    until: float = 0.0  # when the snapshot is too old
    known: bool = False  # whether `changes` is that of the snapshot

    def look(self) -> sqlite3.Connection:
        """Return the connection, in a snapshot of this turn where there are turns."""
        now = time.monotonic()
        if now < self.until and self.seen == self.own.count:
            return self.connection
        self.forget()
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_soon(self.forget)
            self.seen = self.own.count  # read before the snapshot begins: a commit in between outdates it
            self.connection.execute("BEGIN")
            self.until = now + LONGEST_TURN
        return self.connection

    def version(self) -> int:
        """Return the number of the last change that this turn sees."""
        connection = self.look()
        if not self.known:
            commits = connection.execute("PRAGMA data_version").fetchone()[0]
            if commits != self.commits:
                self.changes = int(connection.execute(LAST_CHANGE).fetchone()[0])
                self.commits = commits
            self.known = connection.in_transaction
        return self.changes

    def forget(self) -> None:
        """End the snapshot: the next read begins another."""
        self.until, self.known = 0.0, False
        try:
            if self.connection.in_transaction:
                self.connection.execute("COMMIT")
        except sqlite3.Error:
            # Closed meanwhile, and the snapshot with it; or damaged, which the next read reports.
            with contextlib.suppress(sqlite3.Error):
                self.connection.rollback()


class Readers:
    """The readers of one database. That of a thread which has ended is closed when another thread gets one: there may be one a request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[tuple[threading.Thread, Reader]] = []

    def keep(self, reader: Reader) -> None:
        """Keep the reader of the calling thread."""
        living = [(threading.current_thread(), reader)]
        with self._lock:
            for thread, one in self._kept:
                if thread.is_alive():
                    living.append((thread, one))
                else:
                    one.connection.close()
            self._kept = living

    def close(self) -> None:
        """Close all of them."""
        with self._lock:
            for _, reader in self._kept:
                reader.connection.close()
            self._kept = []
