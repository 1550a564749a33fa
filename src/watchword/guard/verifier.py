"""Verifying the tokens of one issuer: JWTs with its keys, all others by introspection; and whether verified ones have been revoked.

Theory of operation. A string that cannot be a token is refused offline. A JWT is verified once and cached until it expires, or the
keys have to be fetched again; every further use checks whether it has been revoked since, which costs one comparison unless the
revocation feed has brought something new. Anything else is introspected, and the answer is cached for `cache_seconds`. An answer for
one request only (about a token limited to paths, addresses or a number of uses) is never cached. While the feed is silent, JWTs are
introspected like anything else, or refused.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence

from watchword.guard import once
from watchword.guard.feed import Feed
from watchword.guard.issuer import Issuer, NothingToAsk
from watchword.guard.keys import KeySet
from watchword.guard.presented import Presented
from watchword.guard.principal import Principal
from watchword.guard.remembered import remember
from watchword.guard.statuses import Statuses
from watchword.guard.transport import without_port
from watchword.guard.trusted import AT_JWT, IssuerUnavailable, Trusted
from watchword.guard.verified import (
    Doubtful,
    Invalid,
    Known,
    Rules,
    check_meant_for,
    not_active,
    principal_of,
)
from watchword.jose import JoseError, jws, jwt
from watchword.jose.jwk import Key
from watchword.oauth import ended, token_format

LEEWAY = 5
SHORTEST = 16
PATIENCE = 5.0  # seconds that the first requests wait for the revocation feed to be up to date

_OUR_FORM = re.compile(
    rf"(?P<brand>[a-z][a-z0-9]{{1,9}})(?P<kind>[{''.join(token_format.KINDS)}])_[0-9A-Za-z]*"
)

# The issuer's claims about a token, and when it was asked (Unix seconds).
Answer = tuple[Mapping[str, object], float]
# Event loop, token, address and path: who asks with the same may share an answer.
Asked = tuple[int, str, str | None, str | None]

ENDED = "the issuer's revocation feed says that it has ended"
# The field of `Trusted` to change when a token is refused for this reason.
_FIELDS = {"type": "types", "algorithm": "algorithms", "issuer": "issuer"}


class Verifier:
    """Verifies the tokens of one issuer that is reached over HTTP."""

    def __init__(self, trusted: Trusted, rules: Rules) -> None:
        self.trusted = trusted
        self.issuer = trusted.issuer
        self.audience = trusted.audience or rules.audience
        self._rules = rules
        self._clock = rules.clock
        self._issuer = Issuer(trusted)
        self._keys = KeySet(self._issuer)
        self._feed = Feed(self._issuer, self._keys, rules.silence, rules.clock)
        self._ended = self._feed.ended
        if rules.live or not rules.revocation_feed or trusted.jwks_uri is not None:
            self._ended.absent()
        self._statuses = Statuses(self._issuer, self._keys, rules.clock) if rules.status_lists else None
        self._known: dict[str, Known] = {}
        self._asking: dict[Asked, asyncio.Future[Answer]] = {}

    def holds(self, known: Known, _token: str, _address: str | None) -> bool:
        """Whether a token that was verified before still counts as verified."""
        feed = self._ended
        if not known.since <= self._clock() < known.until or (feed.is_silent and not known.asked):
            return False
        return known.changes == feed.changes or self._still_stands(known)

    def _still_stands(self, known: Known) -> bool:
        changes = self._ended.changes
        if self._ended.concerns(known.marks, known.principal.issued_at):
            return False
        known.changes = changes
        return True

    async def verify(self, token: str, presented: Presented) -> Known:
        """Return a verified token; raise Invalid, or IssuerUnavailable when it cannot be verified now."""
        known = self._known.get(token)
        if known is not None and self.holds(known, token, presented.address):
            return known
        is_jwt = token.count(".") == 2
        if not is_jwt and not _may_be_ours(token, self.trusted.opaque_prefixes):
            raise Invalid(reason="it is no JWT, and no opaque token of this issuer")
        if is_jwt and not self._rules.live:
            return await self._verify_jwt(token, presented)
        try:
            return await self._verify_by_asking(token, presented)
        except NothingToAsk as error:
            if is_jwt:
                raise
            raise Invalid(reason=f"it is no JWT, and {error}") from None  # so it is none of this issuer's

    def verify_now(self, token: str) -> Known | None:
        """Return a verified token without any I/O, None when the issuer must be asked; raise Invalid."""
        known = self._known.get(token)
        if known is not None and self.holds(known, token, None):
            return known
        if self._rules.live or token.count(".") != 2:
            return None
        kid = _kid(token)
        keys = self._keys.at_hand(kid)
        if keys is None or self._ended.is_silent or self._statuses is not None:
            return None
        try:
            found = self._verified(token, keys, kid)
        except Doubtful:
            return None
        remember(self._known, token, found)
        return found

    async def _verify_jwt(self, token: str, presented: Presented) -> Known:
        keys = self._keys.at_hand(kid := _kid(token)) or await self._keys.find(kid)
        try:
            known = self._verified(token, keys, kid)
        except Doubtful:
            known = self._verified(token, await self._keys.anew(kid), kid)
        if self._ended.is_silent:
            self._feed.start()
            if not await self._feed.settled(PATIENCE):
                if self._rules.when_silent == "refuse":
                    raise IssuerUnavailable("the revocation feed is silent")
                return await self._verify_by_asking(token, presented)
            if not self._still_stands(known):
                raise Invalid(reason=ENDED)
        if self._statuses is not None:
            seconds = await self._statuses.valid_for(known.principal.claims)
            if seconds is None:
                raise Invalid(reason="its status list says that it has ended")
            known.until = min(known.until, self._clock() + seconds)
        remember(self._known, token, known)
        return known

    def _verified(self, token: str, keys: Sequence[Key], kid: str | None) -> Known:
        trusted, now = self.trusted, self._clock()
        try:
            claims = jwt.decode(
                token,
                keys,
                algorithms=trusted.algorithms,
                typ=trusted.accepted_types,  # RFC 9068 §4: an ID token is no access token
                issuer=self.issuer,
                now=int(now),
                leeway=LEEWAY,
                required=trusted.required,
            )
        except JoseError as error:
            refused = Doubtful if self._keys.may_be_replaced(keys, error.reason) else Invalid
            raise refused(reason=_reason(error.reason, trusted, keys, kid)) from None
        if trusted.types != AT_JWT and ("nonce" in claims or "at_hash" in claims):
            raise Invalid(reason="it is an ID token, with nonce or at_hash")
        principal = principal_of(claims, self.issuer)
        self._check(principal, now)
        until = min(float(principal.expires_at or 0), now + self._keys.lasting())
        known = Known(principal, now, until, ended.marks_of(claims, kid))
        if not self._still_stands(known):
            raise Invalid(reason=ENDED)
        return known

    async def _verify_by_asking(self, token: str, presented: Presented) -> Known:
        server = (self.trusted, self.audience)
        now = self._clock()
        noted = once.noted_answer(presented.kept, server, token)
        claims, asked_at = (noted, now) if noted else await self._ask(token, presented, now)
        once.note_answer(presented.kept, server, token, claims)
        if claims.get("active") is not True:
            self._known.pop(token, None)
            raise not_active(claims)
        principal = principal_of(claims, self.issuer)
        self._check(principal, self._clock())
        limited = bool(claims.get("limited"))
        # From the question on, since the answer may have taken long, and never beyond the token's `exp` (RFC 7662 §4).
        until = min(asked_at + self._rules.cache_seconds, principal.expires_at or float("inf"))
        # `changes` stays -1: the feed may be ahead of this answer, so the next use checks it against all that the feed brought.
        known = Known(principal, asked_at, until, ended.marks_of(claims, None), asked=True, limited=limited)
        if self._rules.cache_seconds and not limited:
            remember(self._known, token, known)
        return known

    def _check(self, principal: Principal, now: float) -> None:
        check_meant_for(principal, self.audience)
        if principal.expires_at is not None and now >= principal.expires_at + LEEWAY:
            raise Invalid("The token has expired.")

    async def _ask(self, token: str, presented: Presented, arrived: float) -> Answer:
        # A task belongs to one event loop, so each loop of this process asks for itself.
        key = (id(asyncio.get_running_loop()), token, presented.address, presented.path)
        pending = self._asking.get(key)
        # A finished one is removed only in the next turn of the loop.
        if pending is None or pending.done():
            pending = self._asking[key] = asyncio.ensure_future(self._question(token, presented))
            pending.add_done_callback(lambda done: self._answered(key, done))
            return await asyncio.shield(pending)
        claims, asked_at = await asyncio.shield(pending)
        # The uses of a limited token are counted: one answer is one use.
        if claims.get("limited"):
            return await self._question(token, presented)
        is_old = arrived - asked_at > self._rules.cache_seconds
        return await self._ask(token, presented, arrived) if is_old else (claims, asked_at)

    def _answered(self, key: Asked, done: asyncio.Future[Answer]) -> None:
        if self._asking.get(key) is done:
            del self._asking[key]
        if not done.cancelled():
            done.exception()  # retrieved here, or asyncio logs it when every waiting caller has gone

    async def _question(self, token: str, presented: Presented) -> Answer:
        asked_at = self._clock()
        claims = await self._issuer.introspect(
            token, address=without_port(presented.address), path=presented.told_path, audience=self.audience
        )
        return claims, asked_at

    async def report_exposed(self, token: str) -> None:
        """Report that a token was sent over unencrypted HTTP; raise IssuerUnavailable."""
        await self._issuer.report_exposed(token)

    async def session(self, _cookies: str) -> Known | None:
        """Return None: cookies of a server elsewhere are for its own origin and never reach this API."""
        return None

    async def close(self) -> None:
        """Stop following the feed, and close the connections of this event loop."""
        self._feed.stop()
        await self._issuer.close()


def _reason(reason: str, trusted: Trusted, keys: Sequence[Key], kid: str | None) -> str:
    if field := _FIELDS.get(reason):
        return f"{reason}: expected {field}={getattr(trusted, field)!r}"
    if reason == "signature" and kid is not None and all(key.kid != kid for key in keys):
        return f"signature: the issuer has no key {kid[:60]!r}"
    return reason


def _kid(token: str) -> str | None:
    try:
        return jws.peek(token).kid
    except JoseError as error:
        raise Invalid(reason=error.reason) from None


def _may_be_ours(token: str, prefixes: tuple[str, ...]) -> bool:
    if token.startswith(prefixes):
        return True
    found = _OUR_FORM.fullmatch(token)
    if found is None:  # another issuer's opaque token may look like anything
        return len(token) >= SHORTEST
    return token_format.is_well_formed(token, found["brand"], found["kind"])
