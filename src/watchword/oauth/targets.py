"""RFC 8707: resource indicators: for whom an access token is meant, and the format that suits whom it is meant for."""

import re
from collections.abc import Collection, Iterable, Mapping

from watchword.oauth.clients import TokenFormat
from watchword.oauth.errors import OAuthError

_ORIGIN = re.compile(r"https?://[^/?#]+/?")


def resolve_audience(requested: tuple[str, ...], allowed: tuple[str, ...], default: str) -> tuple[str, ...]:
    """Return the audience to grant: what was requested when the client may, else the client's first resource.

    A client without registered resources may ask for the default alone. Raise `invalid_target` (§2).
    """
    known = allowed or (default,)
    if not requested:
        return known[:1]
    found: list[str] = []
    for resource in requested:
        if (name := name_among(resource, known)) is None:
            raise OAuthError(
                "invalid_target",
                "The requested resource is not registered for this client; it is compared letter by letter.",
                detail=f"not registered: {resource[:200]!r}",
                field="resource",
            )
        found.append(name)
    return tuple(dict.fromkeys(found))


def name_among(resource: str, known: Collection[str]) -> str | None:
    """Return what a requested resource is called among those that are known, None when it is none of them.

    Clients that parse an address write an empty path as "/", which names the same (RFC 3986 §6.2.3); every other letter counts.
    """
    if resource in known:
        return resource
    other = resource[:-1] if resource.endswith("/") else f"{resource}/"
    return other if other in known and _ORIGIN.fullmatch(resource) else None


def names_among(resources: Iterable[str], known: Collection[str]) -> tuple[str, ...] | None:
    """Return what requested resources are called, each once, as `name_among` does; None when one is none of those that are known."""
    named = [name_among(resource, known) for resource in resources]
    found = tuple(dict.fromkeys(name for name in named if name is not None))
    return None if None in named else found


def format_for(
    audience: tuple[str, ...], formats: Mapping[str, TokenFormat], default: TokenFormat
) -> TokenFormat:
    """Return the format of a token: what the APIs that it is meant for are set up for, opaque if one of them is, else `default`."""
    wanted = {formats[resource] for resource in audience if resource in formats} if formats else set()
    if not wanted:
        return default
    return "opaque" if "opaque" in wanted else "jwt"
