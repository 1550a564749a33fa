"""Sessions as credentials at the guard: who is signed in, by a cookie that the browser adds to requests by itself.

Because it does so also to requests that another site makes, a session counts only where the request provably comes from the same
origin, or changes nothing (the rules of `watchword.guard.sessions`). A WebSocket is opened by a GET and changes whatever is then sent
over it; no rule of browsers keeps other sites from opening one.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from watchword.guard.presented import Presented
from watchword.guard.principal import Principal
from watchword.guard.remembered import remember
from watchword.guard.trusted import Local
from watchword.guard.verified import Known
from watchword.oauth.token_format import digest

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 §9.2.1


class Keeper(Protocol):
    """An issuer that may keep sessions."""

    async def session(self, cookies: str) -> Known | None:
        """Return the session in a Cookie header."""


def changes_something(presented: Presented) -> bool:
    """Whether a request may change something: by its method, or by what is then sent over a WebSocket."""
    return presented.websocket or presented.method not in SAFE


def is_from_here(presented: Presented) -> bool:
    """Whether a request may act by a cookie: it changes nothing, or the browser says that no other site made it."""
    is_safe = not changes_something(presented)
    if presented.site is not None:
        same = presented.site in ("same-origin", "none")
        return same or (is_safe and presented.site != "cross-site")
    if is_safe:
        return True
    scheme, _, rest = presented.uri.partition("://")
    return presented.origin is not None and presented.origin == f"{scheme}://{rest.partition('/')[0]}"


def own_session(presented: Presented, issuer: str, audience: str, scopes: frozenset[str]) -> Principal | None:
    """Return the person of a session that the application itself keeps, None when nobody is signed in."""
    if not presented.subject:
        return None
    return Principal(
        subject=presented.subject, kind="session", issuer=issuer, scopes=scopes, audience=(audience,)
    )


async def kept_session(
    presented: Presented, issuers: Iterable[Keeper], audience: str, scopes: frozenset[str]
) -> Principal | None:
    """Return the person of a session that an issuer keeps, None when nobody is signed in; raise IssuerUnavailable."""
    for issuer in issuers:
        found = await issuer.session("; ".join(presented.cookies))
        if found is not None:
            opened = scopes - _closed_to(found.principal)
            return replace(found.principal, scopes=opened, audience=(audience,))
    return None


async def report_exposed(
    servers: Iterable[Local], presented: Presented, signed_in: Principal, reported: dict[bytes, bool]
) -> None:
    """Report a session that travelled in the clear, once, to the servers in this process: no other knows it."""
    whose = digest(f"session {signed_in.issuer} {signed_in.subject} {signed_in.token_id}")
    if whose in reported:
        return
    try:
        for server in servers:
            await server.report_exposed_session("; ".join(presented.cookies))
    except ConnectionError:  # reported with the next request; refused in any case
        return
    remember(reported, whose, True)


def _closed_to(principal: Principal) -> frozenset[str]:
    """Return the scopes that the server has for members of groups alone, none of which this signed-in person is in."""
    closed = principal.claims.get("closed_scopes")
    return frozenset(closed if isinstance(closed, list) else ())
