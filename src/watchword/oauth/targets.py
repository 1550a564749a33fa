"""RFC 8707: resource indicators: the audience of an access token, and the token format that its audience needs."""

import re
from collections.abc import Collection, Iterable, Mapping

from watchword.oauth.clients import TokenFormat
from watchword.oauth.errors import OAuthError

_ORIGIN = re.compile(r"https?://[^/?#]+/?")


def resolve_audience(requested: tuple[str, ...], allowed: tuple[str, ...], default: str) -> tuple[str, ...]:
    """Return the audience to grant: the requested resources, or the client's first resource when it requests none.

    A client without registered resources may request the default only. Raises `invalid_target` (§2) for any other.
    """
    known = allowed or (default,)
    if not requested:
        return known[:1]
    found: list[str] = []
    for resource in requested:
        if (name := name_among(resource, known)) is None:
            raise OAuthError(
                "invalid_target",
                "The requested resource is not registered for this client; it is compared character by character.",
                detail=f"not registered: {resource[:200]!r}",
                field="resource",
            )
        found.append(name)
    return tuple(dict.fromkeys(found))


def name_among(resource: str, known: Collection[str]) -> str | None:
    """Return the known spelling of a requested resource, None when it is not known.

    Clients that parse an address write an empty path as "/", which is equivalent (RFC 3986 §6.2.3); everything else must be the same
    letter by letter.
    """
    if resource in known:
        return resource
    other = resource[:-1] if resource.endswith("/") else f"{resource}/"
    return other if other in known and _ORIGIN.fullmatch(resource) else None


def names_among(resources: Iterable[str], known: Collection[str]) -> tuple[str, ...] | None:
    """Return the known spellings of requested resources, each once, as `name_among` does; None when one is not known."""
    named = [name_among(resource, known) for resource in resources]
    found = tuple(dict.fromkeys(name for name in named if name is not None))
    return None if None in named else found


def format_for(
    audience: tuple[str, ...], formats: Mapping[str, TokenFormat], default: TokenFormat
) -> TokenFormat:
    """Return the format of a token: the one configured for its audience, opaque if the resources differ, else `default`."""
    wanted = {formats[resource] for resource in audience if resource in formats} if formats else set()
    if not wanted:
        return default
    return "opaque" if "opaque" in wanted else "jwt"
