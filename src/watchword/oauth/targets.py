"""RFC 8707: resource indicators: for whom an access token is meant."""

from watchword.oauth.errors import OAuthError


def resolve_audience(requested: tuple[str, ...], allowed: tuple[str, ...], default: str) -> tuple[str, ...]:
    """Return the audience to grant: what was requested when the client may, else the client's first resource.

    A client without registered resources may ask for the default alone. Raise `invalid_target` (§2).
    """
    known = allowed or (default,)
    for resource in requested:
        if resource not in known:
            raise OAuthError(
                "invalid_target",
                "The requested resource is not registered for this client; it is compared letter by letter.",
                detail=f"not registered: {resource[:200]!r}",
                field="resource",
            )
    return tuple(dict.fromkeys(requested)) or known[:1]
