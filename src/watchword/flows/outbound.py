"""Outbound requests that other parties cause: one at a time for an address, rate-limited by host, and failures are remembered.

Owns these limits; the hardening is `fetch`'s, the answer is the caller's. A request runs in its own task, so that one waiter that is
cancelled does not cancel it for the others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from watchword.fetch import Fetched, FetchError, Networks, Resolver, fetch, parse_target, resolve
from watchword.ratelimit import LocalBuckets

Order = Callable[..., Awaitable[Fetched]]
# An address and the private networks that may be reached for it: results are not shared between different permissions.
Key = tuple[str, tuple[str, ...]]

RETRY_AFTER = 30
FRESH = 1.0  # seconds for which an answer also serves callers that missed the cache just before it was stored
MAX_FLIGHTS = 32
MAX_FAILURES = 2000
HOST_BURST, HOST_PER_SECOND = 20, 0.5


class Outbound:
    """The requests in flight and the remembered failures of one process."""

    def __init__(self, resolver: Resolver = resolve) -> None:
        self.resolver = resolver
        self._flights: dict[Key, tuple[float, asyncio.Task[Fetched | FetchError]]] = {}
        self._failures: dict[Key, tuple[float, str]] = {}
        self._hosts = LocalBuckets(HOST_BURST, HOST_PER_SECOND)

    @property
    def under_way(self) -> int:
        """How many requests are under way."""
        return sum(not flight.done() for _, flight in self._flights.values())

    async def get(
        self,
        url: str,
        *,
        max_bytes: int,
        allow_loopback: bool,
        networks: Networks = (),
        now: float,
    ) -> Fetched:
        """Fetch a JSON document, or wait for the fetch that is under way; raise FetchError, remembered for half a minute.

        `networks` are as for `fetch`.
        """
        key = (url, tuple(networks))
        until, reason = self._failures.get(key, (0.0, ""))
        if 0 < until - now <= RETRY_AFTER:  # a clock that was set back makes neither last longer
            raise FetchError(reason)
        started, flight = self._flights.get(key, (0.0, None))
        if flight is None or (flight.done() and abs(now - started) >= FRESH):
            order = partial(fetch, url, max_bytes=max_bytes, allow_loopback=allow_loopback, networks=networks)
            flight = self._start(key, order, now)
        answer = await asyncio.shield(flight)
        if isinstance(answer, FetchError):
            raise FetchError(answer.reason)
        return answer

    def fail(self, url: str, reason: str, now: float, networks: Networks = ()) -> None:
        """Remember that an address gave an unusable answer; `networks` are as they were for `get`."""
        self._fail((url, tuple(networks)), reason, now)

    def _fail(self, key: Key, reason: str, now: float) -> None:
        if len(self._failures) >= MAX_FAILURES:
            self._failures.clear()
        self._failures[key] = (now + RETRY_AFTER, reason)

    def _start(self, key: Key, order: Order, now: float) -> asyncio.Task[Fetched | FetchError]:
        if len(self._flights) >= MAX_FLIGHTS:
            self._flights = {one: known for one, known in self._flights.items() if not known[1].done()}
        if len(self._flights) >= MAX_FLIGHTS or self._hosts.take(parse_target(key[0]).host, now):
            raise FetchError("too many requests to fetch")
        flight = asyncio.create_task(self._fetch(key, order, now))
        self._flights[key] = (now, flight)
        return flight

    async def _fetch(self, key: Key, order: Order, now: float) -> Fetched | FetchError:
        try:
            return await order(resolver=self.resolver)
        except FetchError as error:
            self._fail(key, error.reason, now)
            return error
