"""Short work of a thread that is executed on an event loop, so that the two do not contend for the interpreter lock.

Two threads that both run Python and call into SQLite pass the GIL to each other at every call, which costs more than the call. What the
loop executes in one go costs no such switch. When the loop does not get to it soon, or is closed, the thread does the work itself.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable

PATIENCE = 0.02  # seconds after which the thread does it by itself


class Errand:
    """Work that is done once, by the loop or by the thread that asks for it."""

    __slots__ = ("_claim", "_done", "_error", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._claim, self._done = threading.Lock(), threading.Lock()
        self._done.acquire()
        self._error: BaseException | None = None

    def do(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the work done and return when it is; raise what it raised."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(self._run)
        if not self._done.acquire(timeout=PATIENCE):
            self._run()
            self._done.acquire()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._work()
        except BaseException as error:
            self._error = error
        finally:
            self._done.release()
