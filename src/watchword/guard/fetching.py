"""A fetch that many wait for: one at a time for all threads and loops of the process, with growing pauses after failures.

Theory of operation. Fetches run on the background loop, and whoever needs one waits for the one that goes on. Of those that succeed,
`at_once` may follow on one another, and one more for each `again` seconds that pass, whatever is asked. After a failure there is a pause of
half a second, then each time twice as long up to a minute, with some chance in it. What was fetched is kept by whoever owns this.
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

    def __init__(self, again: float, at_once: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.again = again
        self.at_once = at_once
        self.clock = clock
        self.trouble = ""
        self._left = float(at_once)
        self._counted = clock()
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
            if not self._may_begin():
                return None
            self._home = background.home()
            self._going_on = background.begin(self._fetched(fetch))
            return self._going_on

    def _may_begin(self) -> bool:
        now = self.clock()
        if now < self.next_try:
            return False
        self._left = min(self._left + (now - self._counted) / self.again, self.at_once)
        self._counted = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    async def wait(self, fetch: Fetch) -> bool:
        """Wait for the end of a fetch, unless it is too early for one; return whether it went on before, so that it may tell old news."""
        before = self._going_on
        going_on = self.begin(fetch)
        if going_on is None:
            return False
        await asyncio.shield(asyncio.wrap_future(going_on))
        return going_on is before

    async def _fetched(self, fetch: Fetch) -> None:
        try:
            await fetch()
            self.trouble, self._failures = "", 0
        except (IssuerUnavailable, JoseError) as error:
            self.trouble = str(error) or type(error).__name__
            self._failures += 1
            pause = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
            self.next_try = self.clock() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - only to part the many
            with self._lock:
                self._left += 1.0  # failures have their pauses
