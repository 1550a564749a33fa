"""RFC 8707: resource indicators: for whom an access token is meant, and the format that suits whom it is meant for."""

from collections.abc import Mapping

from watchword.oauth.clients import TokenFormat
from watchword.oauth.errors import OAuthError


def resolve_audience(requested: tuple[str, ...], allowed: tuple[str, ...], default: str) -> tuple[str, ...]:
    """Return the audience to grant: what was requested when the client may, else the client's first resource.

    A client without registered resources may ask for the default alone. Raise `invalid_target` (§2).
    """
    known = allowed or (default,)
    if not requested:
        return known[:1]
    for resource in requested:
        if resource not in known:
            raise OAuthError(
                "invalid_target",
                "The requested resource is not registered for this client; it is compared letter by letter.",
                detail=f"not registered: {resource[:200]!r}",
                field="resource",
            )
    return tuple(dict.fromkeys(requested))


def format_for(
    audience: tuple[str, ...], formats: Mapping[str, TokenFormat], default: TokenFormat
) -> TokenFormat:
    """Return the format of a token: what the APIs that it is meant for are set up for, opaque if one of them is, else `default`."""
    wanted = {formats[resource] for resource in audience if resource in formats} if formats else set()
    if not wanted:
        return default
    return "opaque" if "opaque" in wanted else "jwt"
