"""Introspection for a guard in the same process, without a network in between.

A token that was seen before costs two look-ups in memory: answers are cached as long as the database does not change, so that a
revocation by any process takes effect at once. A guard may ask on an event loop of its own, as it does for frameworks without one:
connections to PostgreSQL belong to the loop on which the server was opened, so that is where such questions are answered.
"""

import asyncio
import hashlib
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from watchword.flows import exposure, introspection, membership, sessions
from watchword.flows.introspection import Answer
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import Use
from watchword.oauth import dpop
from watchword.store import tokens
from watchword.store.database import StorageUnavailable

T = TypeVar("T")

MAX_SEEN = 10_000


class LocalIntrospection:
    """Introspection answers of one process, cached as long as they hold; made on the server's event loop.

    All that is asked raises ConnectionError for StorageUnavailable, which a guard does not know.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._home = asyncio.get_running_loop()
        self._seen: dict[str, tuple[int, int, Mapping[str, object], str, str]] = {}

    def recall(self, token: str, address: str = "") -> Mapping[str, object] | None:
        """Return what is known of a token that was seen before and is still good; None when it must be looked up."""
        seen = self._seen.get(token)
        if seen is None:
            return None
        runtime = self._runtime
        now = runtime.clock()
        if seen[0] != runtime.database.version() or now >= seen[1]:
            self._seen.pop(token, None)  # another thread may have removed it
            return None
        if seen[3]:
            runtime.usage.count(seen[3], seen[4], "active", int(now), address)
        return seen[2]

    async def introspect(
        self, token: str, *, address: str | None, path: str | None, audience: str
    ) -> Mapping[str, object]:
        """Answer what a token says, as RFC 7662 does."""
        known = self.recall(token, address or "")
        if known is not None:
            return known
        return await self._answered(self._look_up(token, address, path, audience))

    async def _look_up(
        self, token: str, address: str | None, path: str | None, audience: str
    ) -> Mapping[str, object]:
        runtime = self._runtime
        version = runtime.database.version()
        answer = await introspection.introspect(runtime, token, Use(address, path, (audience,)))
        if answer.active and not answer.claims.get("limited"):
            self._remember(token, version, answer)
        return answer.told()

    async def use_proof(self, identifier: str, seconds: int) -> bool:
        """Record a DPoP proof that was sent to an API, for all nodes; return whether it was new."""
        digest = hashlib.sha256(b"api proof\n" + identifier.encode()).digest()
        now, database = self._runtime.now(), self._runtime.database
        earliest = now - dpop.MAX_AGE - dpop.LEEWAY  # the guard has checked that the proof is no older
        return await self._answered(database.write(tokens.use_identifier, digest, now + seconds, earliest))

    async def report_exposed(self, token: str) -> None:
        """Take note that a token was sent in the clear."""
        await self._answered(exposure.report(self._runtime, token))

    async def report_exposed_session(self, cookies: str, name: str) -> None:
        """Take note that the session in a Cookie header was sent in the clear."""
        await self._answered(exposure.report_session(self._runtime, _only(cookies, name)))

    async def session(self, cookies: str, name: str) -> Mapping[str, object]:
        """Return the live session in a Cookie header, as an introspection answer."""
        visitor = await self._answered(sessions.visitor(self._runtime, _only(cookies, name)))
        if visitor is None:
            return introspection.INACTIVE
        session, user = visitor
        closed = membership.closed_to(self._runtime.settings, user.groups)
        return {
            "active": True,
            "iss": self._runtime.settings.issuer,
            "sub": session.user_id,
            "sid": session.id,
            "jti": session.id,
            **sessions.sign_in_claims(session),
            "iat": session.created_at,
            "exp": session.expires_at,
            "token_kind": "session",
            **({"groups": list(user.groups)} if user.groups else {}),
            **({"closed_scopes": list(closed)} if closed else {}),
        }

    async def _answered(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            if not self._runtime.settings.is_postgres or asyncio.get_running_loop() is self._home:
                return await work
            if not self._home.is_running():  # it would never be answered
                work.close()
                raise ConnectionError("the event loop on which the server was opened does not run")
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._home))
        except StorageUnavailable as error:
            raise ConnectionError(error.reason) from None

    def _remember(self, token: str, version: int, answer: Answer) -> None:
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        jti = str(answer.claims["jti"])
        self._seen[token] = (version, answer.expires_at, answer.claims, answer.secret_id, jti)


def _only(cookies: str, name: str) -> str:
    """Return the value of the cookie of a name, "" where there is none; several count as none."""
    pairs = [part.strip().partition("=") for part in cookies.split(";")]
    found = [value for given, _, value in pairs if given == name]
    return found[0] if len(found) == 1 else ""
