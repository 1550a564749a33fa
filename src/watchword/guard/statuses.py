"""Token Status List (draft-ietf-oauth-status-list) as a guard uses it: lists fetched, verified, and kept until their `ttl`.

Concurrent requests share one fetch, on the background loop. While a list cannot be fetched again, the kept one is used until its
`exp`, and nobody waits for an attempt that soon follows a failed one; after that the status is unknown, and no token that refers to
the list is accepted.
"""

import asyncio
import concurrent.futures
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from watchword.guard import background
from watchword.guard.issuer import Issuer
from watchword.guard.keys import KeySet
from watchword.guard.misuse import check_address
from watchword.guard.trusted import IssuerUnavailable
from watchword.jose import JoseError, jws, jwt
from watchword.oauth import status_list
from watchword.oauth.status_list import StatusList, StatusListError

DEFAULT_TTL = 60.0
TTL_BOUNDS = (1.0, 3600.0)
RETRY = 1.0
UNAWAITED = 60.0  # seconds after a failure in which nobody waits for the next attempt
MAX_LISTS = 200
MAX_TOKEN = status_list.MAX_BYTES


@dataclass(frozen=True, slots=True)
class _Kept:
    """A list; fresh until `fresh_until` (monotonic), usable until `exp` (Unix seconds)."""

    statuses: StatusList
    fresh_until: float
    exp: float


class Statuses:
    """The status lists of one issuer."""

    def __init__(self, issuer: Issuer, keys: KeySet, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._keys = keys
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._fetching: dict[str, concurrent.futures.Future[None]] = {}
        self._next_try: dict[str, float] = {}  # of those whose last fetch failed
        self._loop: object = None
        background.fork_aware.add(self)

    def forked(self) -> None:
        """Replace the lock: a thread that exists only in the parent may hold it."""
        self._lock = threading.Lock()

    async def valid_for(self, claims: Mapping[str, object]) -> float | None:
        """Return for how many seconds a verified token's status may count as VALID, None when it is anything else.

        Infinity for a token that refers to no list. Raises IssuerUnavailable when the list cannot be fetched.
        """
        try:
            reference = status_list.read_reference(claims)
            if reference is None:
                return math.inf
            kept = await self._list(reference[0])
            valid = kept.statuses.get(reference[1]) == status_list.VALID
        except StatusListError:
            return None
        return max(kept.fresh_until - time.monotonic(), RETRY) if valid else None

    async def _list(self, uri: str) -> _Kept:
        kept = self._kept.get(uri)
        if kept is None or time.monotonic() >= kept.fresh_until:
            fetching = self._fetch(uri)
            # While the list at hand may be used, a server that hangs is waited for once. A failure of long ago says nothing of it any
            # more: a list that may be out of date by hours is not used without asking.
            has_failed = time.monotonic() - self._next_try.get(uri, -math.inf) < UNAWAITED
            if fetching is not None and (kept is None or self._clock() >= kept.exp or not has_failed):
                await asyncio.shield(asyncio.wrap_future(fetching))
            kept = self._kept.get(uri)
        if kept is None or self._clock() >= kept.exp:
            raise IssuerUnavailable("the status list cannot be fetched")
        return kept

    def _fetch(self, uri: str) -> concurrent.futures.Future[None] | None:
        here = background.identity()  # before the lock, which this replaces in a forked child
        with self._lock:
            if self._loop is not here:  # after a fork: the parent's fetches never end here
                self._fetching, self._loop = {}, here
            if uri in self._fetching:
                return self._fetching[uri]
            if time.monotonic() < self._next_try.get(uri, 0.0):
                return None
            self._fetching[uri] = background.begin(self._refresh(uri))
            return self._fetching[uri]

    async def _refresh(self, uri: str) -> None:
        try:
            kept = await self._get(uri)
            if len(self._kept) >= MAX_LISTS:
                self._kept.clear()
                self._next_try.clear()
            self._kept[uri] = kept
            self._next_try.pop(uri, None)
        except (IssuerUnavailable, JoseError, StatusListError, httpx.HTTPError, ValueError):
            if len(self._next_try) >= MAX_LISTS:  # an issuer may name as many as it signs tokens
                self._next_try.clear()
            self._next_try[uri] = time.monotonic() + RETRY
        finally:
            with self._lock:
                self._fetching.pop(uri, None)

    async def _get(self, uri: str) -> _Kept:
        check_address("the status list", uri)
        headers = {"accept": status_list.MEDIA_TYPE}
        answer = await self._issuer.ask("GET", uri, most=MAX_TOKEN, headers=headers)
        if answer.status_code != 200:
            raise IssuerUnavailable(f"the status list answered {answer.status_code}")
        token = answer.content.decode("ascii").strip()
        claims = jwt.decode(
            token,
            await self._keys.find(jws.peek(token).kid),
            algorithms=self._issuer.trusted.algorithms,
            typ=status_list.TOKEN_TYPE,
            now=int(self._clock()),
            leeway=5,
            required=("sub", "iat", "status_list"),
        )
        if claims["sub"] != uri:  # §8.3: the list of that very address
            raise StatusListError("the list is that of another address")
        ttl, exp = claims.get("ttl"), claims.get("exp")
        lasts = float(ttl) if isinstance(ttl, int | float) and not isinstance(ttl, bool) else DEFAULT_TTL
        lasts = min(max(lasts, TTL_BOUNDS[0]), TTL_BOUNDS[1])
        expires = float(exp) if isinstance(exp, int | float) else self._clock() + lasts
        return _Kept(status_list.from_claim(claims["status_list"]), time.monotonic() + lasts, expires)
