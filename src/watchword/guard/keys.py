"""An issuer's signing keys (RFC 7517), kept through rotation and through hours in which the issuer cannot be reached.

Theory of operation. Keys are fetched on the background loop, one fetch at a time for all threads and loops of the process. Fresh
keys are used as they are. Older ones are used too, while a fetch goes on that nobody waits for, until they are `STALE` seconds too
old. Only a token whose key nobody knows waits for a fetch, and such fetches are `UNKNOWN_KEY_INTERVAL` seconds apart, whatever
arrives (KR-05). Failures make the pause longer, each time twice as long, with some chance in it.
"""

import asyncio
import concurrent.futures
import random
import re
import threading
import time

from watchword.guard import background
from watchword.guard.issuer import Issuer, IssuerUnavailable
from watchword.jose import JoseError, jwk
from watchword.jose.jwk import Key

MAX_AGE = 300.0
MAX_AGE_BOUNDS = (60.0, 3600.0)
STALE = 86_400.0
UNKNOWN_KEY_INTERVAL = 10.0
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:[\s,]|$)", re.IGNORECASE)


class KeySet:
    """The keys of one issuer."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._lock = threading.Lock()
        self._keys: list[Key] = []
        self._kids: frozenset[str | None] = frozenset()
        self._fetched = 0.0
        self._max_age = MAX_AGE
        self._next_try = 0.0
        self._failures = 0
        self._trouble = "they were not asked for"
        self._fetching: concurrent.futures.Future[None] | None = None
        self._home: object = None
        background.heirs.add(self)

    def forked(self) -> None:
        """Wait for no thread that only the parent has."""
        self._lock = threading.Lock()

    def at_hand(self, kid: str | None) -> list[Key] | None:
        """Return the keys when one has this identifier and they may be used now, None when they must be waited for."""
        age = time.monotonic() - self._fetched
        if not self._keys or not self._knows(kid) or age > self._max_age + STALE:
            return None
        if age > self._max_age:
            self._fetch()
        return self._keys

    async def find(self, kid: str | None) -> list[Key]:
        """Return the keys, asked for again when none has this identifier; raise IssuerUnavailable when there are none to use."""
        found = self.at_hand(kid)
        if found is not None:
            return found
        fetching = self._fetch()
        if fetching is not None:
            await asyncio.shield(asyncio.wrap_future(fetching))
        if not self._keys or time.monotonic() - self._fetched > self._max_age + STALE:
            raise IssuerUnavailable(f"the keys of the issuer cannot be fetched: {self._trouble}")
        return self._keys

    def adopt(self, keys: list[Key]) -> None:
        """Use these keys from now on."""
        self._kids = frozenset(key.kid for key in keys)
        self._keys, self._fetched = keys, time.monotonic()

    def _knows(self, kid: str | None) -> bool:
        return kid is None or kid in self._kids

    def _fetch(self) -> concurrent.futures.Future[None] | None:
        """Return the fetch that goes on, begun now if it may be; None when it is too early for another."""
        with self._lock:
            going_on = self._fetching is not None and not self._fetching.done()
            if (
                going_on and self._home is background.home()
            ):  # a fork leaves the parent's behind, which never ends
                return self._fetching
            if time.monotonic() < self._next_try:
                return None
            self._home = background.home()
            self._fetching = background.begin(self._refresh())
            return self._fetching

    async def _refresh(self) -> None:
        try:
            uri = await self._issuer.address("jwks_uri")
            if uri is None:
                raise IssuerUnavailable("the metadata names no jwks_uri")
            document, headers = await self._issuer.get(uri)
            self.adopt(jwk.parse_set(document))
            self._max_age = _max_age(headers.get("cache-control", ""))
            self._failures = 0
            self._next_try = time.monotonic() + UNKNOWN_KEY_INTERVAL
        except (IssuerUnavailable, JoseError) as error:
            self._trouble = str(error) or "they are no set of keys"
            self._failures += 1
            pause = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
            self._next_try = time.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - only to part the many


def _max_age(cache_control: str) -> float:
    found = _MAX_AGE.search(cache_control)
    shortest, longest = MAX_AGE_BOUNDS
    return min(max(float(found[1]), shortest), longest) if found else MAX_AGE
