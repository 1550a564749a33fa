"""An issuer's signing keys (RFC 7517), kept through rotation and through hours in which the issuer cannot be reached.

Theory of operation. Fresh keys are used as they are. Older ones are used too, while a fetch goes on that nobody waits for, until they
are `STALE` seconds too old. Only a token whose key nobody knows waits for a fetch, and such fetches are `UNKNOWN_KEY_INTERVAL` seconds
apart, whatever arrives (KR-05). How they are fetched for all at once is `fetching`'s business.
"""

import re
import time

from watchword.guard.fetching import Fetching
from watchword.guard.issuer import Issuer
from watchword.guard.trusted import IssuerUnavailable
from watchword.jose import jwk
from watchword.jose.jwk import Key

MAX_AGE = 300.0
MAX_AGE_BOUNDS = (60.0, 3600.0)
STALE = 86_400.0
UNKNOWN_KEY_INTERVAL = 10.0

_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})(?:[\s,]|$)", re.IGNORECASE)


class KeySet:
    """The keys of one issuer."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._keys: list[Key] = []
        self._kids: frozenset[str | None] = frozenset()
        self._fetched = 0.0
        self._max_age = MAX_AGE
        self.fetching = Fetching(UNKNOWN_KEY_INTERVAL)

    def at_hand(self, kid: str | None) -> list[Key] | None:
        """Return the keys when one has this identifier and they may be used now, None when they must be waited for."""
        age = time.monotonic() - self._fetched
        if not self._keys or not self._knows(kid) or age > self._max_age + STALE:
            return None
        if age > self._max_age:
            self.fetching.begin(self._refresh)
        return self._keys

    async def find(self, kid: str | None) -> list[Key]:
        """Return the keys, asked for again when none has this identifier; raise IssuerUnavailable when that cannot be told."""
        found = self.at_hand(kid)
        if found is not None:
            return found
        await self.fetching.wait(self._refresh)
        too_old = time.monotonic() - self._fetched > self._max_age + STALE
        # A key that nobody knows may be a new one of an issuer that does not answer: then nobody can say that the token is bad.
        if not self._keys or too_old or (self.fetching.trouble and not self._knows(kid)):
            trouble = self.fetching.trouble or "there are none that can be used"
            raise IssuerUnavailable(f"the keys of the issuer cannot be fetched: {trouble}")
        return self._keys

    def adopt(self, keys: list[Key]) -> None:
        """Use these keys from now on."""
        self._kids = frozenset(key.kid for key in keys)
        self._keys, self._fetched = keys, time.monotonic()

    def _knows(self, kid: str | None) -> bool:
        return kid is None or kid in self._kids

    async def _refresh(self) -> None:
        uri = await self._issuer.address("jwks_uri")
        if uri is None:
            raise IssuerUnavailable("the metadata names no jwks_uri")
        document, headers = await self._issuer.get(uri)
        self.adopt(jwk.parse_published(document))
        self._max_age = _max_age(headers.get("cache-control", ""))


def _max_age(cache_control: str) -> float:
    found = _MAX_AGE.search(cache_control)
    shortest, longest = MAX_AGE_BOUNDS
    return min(max(float(found[1]), shortest), longest) if found else MAX_AGE
