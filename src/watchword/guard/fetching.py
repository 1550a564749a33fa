"""A shared fetch: one at a time for all threads and loops of the process, rate-limited, with backoff after failures.

Theory of operation. Fetches run on the background loop, and all who need one wait for the one in flight. A token bucket limits those
that succeed: a burst of `burst`, then one for each `interval` seconds. Failures are followed by exponential backoff with jitter, from
half a second up to a minute, whatever it was that failed: a moment without memory or descriptors must not cost the next attempt as well.
The result is kept by the owner of this object.
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

    def __init__(self, interval: float, burst: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = interval
        self.burst = burst
        self.clock = clock
        self.trouble = ""
        self._left = float(burst)
        self._counted = clock()
        self.next_try = 0.0
        self._lock = threading.RLock()
        self._failures = 0
        self._in_flight: concurrent.futures.Future[None] | None = None
        self._loop: object = None
        background.fork_aware.add(self)

    def forked(self) -> None:
        """Replace the lock: a thread that exists only in the parent may hold it."""
        self._lock = threading.RLock()

    def begin(self, fetch: Fetch) -> concurrent.futures.Future[None] | None:
        """Return the fetch in flight, started now if that is allowed; None when it is too early for another."""
        here = background.identity()  # before the lock, which this replaces in a forked child
        with self._lock:
            pending = self._in_flight is not None and not self._in_flight.done()
            if pending and self._loop is here:  # the parent's never ends in a forked child
                return self._in_flight
            if not self._may_begin():
                return None
            try:
                self._in_flight, self._loop = background.begin(self._attempt(fetch)), here
            except IssuerUnavailable as error:
                self._failed(str(error))
                return None
            return self._in_flight

    def _may_begin(self) -> bool:
        now = self.clock()
        if now < self.next_try:
            return False
        self._left = min(self._left + (now - self._counted) / self.interval, self.burst)
        self._counted = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    async def wait(self, fetch: Fetch) -> bool:
        """Wait for a fetch, unless it is too early for one; return whether it was in flight already, and its result may be older than the call."""
        before = self._in_flight
        pending = self.begin(fetch)
        if pending is None:
            return False
        await asyncio.shield(asyncio.wrap_future(pending))
        return pending is before

    async def _attempt(self, fetch: Fetch) -> None:
        try:
            await fetch()
            self.trouble, self._failures = "", 0
        except (IssuerUnavailable, JoseError) as error:
            self._failed(str(error) or type(error).__name__)
        except Exception as error:
            self._failed(f"{type(error).__name__}: {error}")

    def _failed(self, trouble: str) -> None:
        self.trouble = trouble
        self._failures += 1
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        self.next_try = self.clock() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
        with self._lock:
            self._left += 1.0  # only successes count: failures back off instead
