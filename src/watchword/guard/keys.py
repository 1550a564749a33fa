"""An issuer's signing keys (RFC 7517), kept through rotation and through hours in which the issuer cannot be reached.

Theory of operation. Fresh keys are used as they are. Stale keys are used while they are fetched again in the background, for at most
`STALE` seconds beyond their age limit. These cases cause a fetch earlier:

- A token with an unknown `kid` waits for one, since an issuer may begin to sign with a new key at any moment. An attacker who invents
  `kid`s causes at most `BURST` fetches, then one in `UNKNOWN_KEY_INTERVAL` seconds, and at most one for each `kid` in that time (KR-05).
- A false signature under a known `kid` waits for one, unless the keys are younger than that interval, and is then checked once more: an
  issuer may replace a key and keep its `kid`.
- A token without a `kid` waits for one where the issuer publishes keys without a `kid` (RFC 7517 §4.5) and they are older than that
  interval: one such key may have replaced another.

Concurrent callers share a fetch; see `fetching`.
"""

import functools
import math
import re
import time
from collections.abc import Callable, Sequence

from watchword.guard.fetching import Fetching
from watchword.guard.issuer import Issuer
from watchword.guard.trusted import IssuerUnavailable
from watchword.jose import jwk
from watchword.jose.jwk import Key

MAX_AGE = 300.0
MAX_AGE_BOUNDS = (60.0, 3600.0)
STALE = 86_400.0
UNKNOWN_KEY_INTERVAL = 10.0
BURST = 5
SHORTEST = 1.0

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:[\s,]|$)", re.IGNORECASE)


class KeySet:
    """The keys of one issuer."""

    def __init__(self, issuer: Issuer, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: list[Key] = []
        self._kids: frozenset[str | None] = frozenset()
        self._fetched = 0.0
        self._max_age = MAX_AGE
        self._missed: dict[str | None, float] = {}  # when the issuer was found not to have a `kid`
        self.fetching = Fetching(UNKNOWN_KEY_INTERVAL, BURST, clock)

    def at_hand(self, kid: str | None) -> list[Key] | None:
        """Return the keys if one of them has this `kid` and they may be used now; None when the caller must wait for a fetch."""
        age = self._clock() - self._fetched
        if not self._keys or not self._knows(kid) or age > self._max_age + STALE:
            return None
        if kid is None and None in self._kids and age > UNKNOWN_KEY_INTERVAL:
            return None
        if age > self._max_age:
            self.fetching.begin(functools.partial(self._refresh, kid))
        return self._keys

    def may_be_replaced(self, used: Sequence[Key], reason: str) -> bool:
        """Whether a token is refused because its signature is not by these keys, and the issuer may have put others in their place."""
        return reason == "signature" and (used is not self._keys or self._are_old())

    async def anew(self, kid: str | None) -> list[Key]:
        """Return the keys, fetched again when that may bring others: once for all whose tokens have a signature that is not by these."""
        if self._are_old():
            await self.fetching.wait(functools.partial(self._refresh, kid, is_doubted=True))
        return self._keys

    def _are_old(self) -> bool:
        return self._clock() - self._fetched > UNKNOWN_KEY_INTERVAL

    async def find(self, kid: str | None) -> list[Key]:
        """Return the keys, fetched again when none has this `kid`; raise IssuerUnavailable when a needed fetch failed."""
        found = self.at_hand(kid)
        if found is not None:
            return found
        await self._ask_for(kid)
        too_old = self._clock() - self._fetched > self._max_age + STALE
        # While the issuer does not answer, an unknown key may be a new one of its own: the token must not be called invalid.
        if not self._keys or too_old or (self.fetching.trouble and not self._knows(kid)):
            trouble = self.fetching.trouble or "it publishes none that can be used"
            raise IssuerUnavailable(f"the keys of the issuer cannot be fetched: {trouble}")
        return self._keys

    def lasting(self) -> float:
        """Return for how many seconds a signature verified with these keys need not be verified again (KR-03)."""
        return max(self._max_age - (self._clock() - self._fetched), SHORTEST)

    def adopt(self, keys: list[Key]) -> None:
        """Use these keys from now on."""
        self._keys, self._fetched = keys, self._clock()
        # Set last: a thread that sees a new `kid` before its key would refuse its tokens.
        self._kids = frozenset(key.kid for key in keys)

    def _knows(self, kid: str | None) -> bool:
        return kid is None or kid in self._kids

    async def _ask_for(self, kid: str | None) -> None:
        missed = self._clock() - self._missed.get(kid, -math.inf)
        if self._keys and missed < UNKNOWN_KEY_INTERVAL:
            return
        fetch = functools.partial(self._refresh, kid)
        was_in_flight = await self.fetching.wait(fetch)
        # The issuer may have published the key after it answered a fetch that had begun before we asked.
        if was_in_flight and not self._knows(kid):
            await self.fetching.wait(fetch)

    async def _refresh(self, kid: str | None, *, is_doubted: bool = False) -> None:
        uri = await self._issuer.address("jwks_uri")
        if uri is None:
            raise IssuerUnavailable("the metadata names no jwks_uri")
        # A shared cache may hold a copy from before the key was published (RFC 9111 §5.2.1.4).
        is_new = self._keys and (is_doubted or not self._knows(kid))
        headers = {"cache-control": "no-cache"} if is_new else {}
        document, answered = await self._issuer.get(uri, headers=headers)
        self.adopt(jwk.parse_published(document))
        self._max_age = _max_age(answered.get("cache-control", ""))
        self._note_missing(kid)

    def _note_missing(self, kid: str | None) -> None:
        now = self._clock()
        recent = {one: at for one, at in self._missed.items() if now - at < UNKNOWN_KEY_INTERVAL}
        self._missed = recent if self._knows(kid) else recent | {kid: now}


def _max_age(cache_control: str) -> float:
    found = _MAX_AGE.search(cache_control)
    shortest, longest = MAX_AGE_BOUNDS
    return min(max(float(found[1]), shortest), longest) if found else MAX_AGE
