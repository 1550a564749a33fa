"""A fetch that many wait for: one at a time for all threads and loops of the process, with growing pauses after failures.

Theory of operation. Fetches run on the background loop, and whoever needs one waits for the one that goes on. When it succeeded, the
next may begin `again` seconds later, whatever is asked; after a failure the pause is half a second, then each time twice as long up to
a minute, with some chance in it. What was fetched is kept by whoever owns this.
"""

import asyncio
import concurrent.futures
import random
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from watchword.guard import background
from watchword.guard.trusted import IssuerUnavailable
from watchword.jose import JoseError

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0

Fetch = Callable[[], Coroutine[Any, Any, None]]


class Fetching:
    """One thing that is fetched again and again; `trouble` is why the last attempt failed, empty when it did not."""

    def __init__(self, again: float) -> None:
        self.again = again
        self.trouble = ""
        self.next_try = 0.0
        self._lock = threading.Lock()
        self._failures = 0
        self._going_on: concurrent.futures.Future[None] | None = None
        self._home: object = None
        background.heirs.add(self)

    def forked(self) -> None:
        """Wait for no thread that only the parent has."""
        self._lock = threading.Lock()

    def begin(self, fetch: Fetch) -> concurrent.futures.Future[None] | None:
        """Return the fetch that goes on, begun now if it may be; None when it is too early for another."""
        with self._lock:
            going_on = self._going_on is not None and not self._going_on.done()
            if (
                going_on and self._home is background.home()
            ):  # a fork leaves the parent's behind, which never ends
                return self._going_on
            if time.monotonic() < self.next_try:
                return None
            self._home = background.home()
            self._going_on = background.begin(self._fetched(fetch))
            return self._going_on

    async def wait(self, fetch: Fetch) -> None:
        """Wait for the end of a fetch, unless it is too early for one."""
        going_on = self.begin(fetch)
        if going_on is not None:
            await asyncio.shield(asyncio.wrap_future(going_on))

    async def _fetched(self, fetch: Fetch) -> None:
        try:
            await fetch()
            self.trouble, self._failures = "", 0
            self.next_try = time.monotonic() + self.again
        except (IssuerUnavailable, JoseError) as error:
            self.trouble = str(error) or type(error).__name__
            self._failures += 1
            pause = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
            self.next_try = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - only to part the many
