"""A stand-in for a machine's hardware watchdog: unless Patroni writes to it in time, the machine is reset.

It speaks what Patroni's own driver `testing` writes into a named pipe; the real one is `/dev/watchdog` (softdog or hardware). Owns only
the clock; who loses the machine is told by `reset`.
"""

import os
import re
import select
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Watchdog:
    """The pipe of one machine, and who resets it."""

    def __init__(self, path: Path, reset: Callable[[], None]) -> None:
        self.path = path
        self.resets = 0
        self._reset = reset
        self._timeout = 60.0
        self._fed: float | None = None  # None: not armed
        os.mkfifo(path, 0o600)
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)  # open for writing too: no end of file
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.is_set():
            if select.select([self._pipe], [], [], 0.1)[0]:
                self._hear(os.read(self._pipe, 4096))
            if self._fed is not None and time.monotonic() - self._fed > self._timeout:
                self.resets += 1
                self._reset()

    def _hear(self, said: bytes) -> None:
        for found in re.findall(rb"timeout=(\d+)\n", said):
            self._timeout = float(found)
        self._fed = None if said.endswith(b"V") else time.monotonic()

    def disarm(self) -> None:
        """Stop the clock, as the loss of the machine does."""
        self._fed = None

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        self._thread.join(5)
        os.close(self._pipe)
