"""RFC 6749 §3.3: access token scope.

Owns the grammar of scopes and their narrowing. What a scope means is the business of the resource.
"""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

from watchword.oauth.errors import OAuthError

MAX_SCOPES = 100
MAX_SCOPE_LENGTH = 4096
MANAGEMENT_PREFIX = "watchword:"
RESERVED_SCOPES = ("introspect",)

_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")


@lru_cache(maxsize=1024)
def parse_scope(text: str) -> tuple[str, ...]:
    """Split a `scope` value into its tokens, first occurrence kept; raise `invalid_scope` when malformed."""
    if len(text) > MAX_SCOPE_LENGTH:
        raise OAuthError("invalid_scope", "The scope parameter is too long.", field="scope")
    tokens = tuple(dict.fromkeys(token for token in text.split(" ") if token))
    if len(tokens) > MAX_SCOPES:
        raise OAuthError("invalid_scope", "The scope parameter names too many scopes.", field="scope")
    if not all(_TOKEN.fullmatch(token) for token in tokens):  # §3.3
        raise OAuthError(
            "invalid_scope", "The scope parameter has a character that is not allowed.", field="scope"
        )
    return tokens


def is_reserved(scope: str) -> bool:
    """Whether a scope gives power over this server rather than over an API."""
    return scope.startswith(MANAGEMENT_PREFIX) or scope in RESERVED_SCOPES


def for_people(scope: tuple[str, ...]) -> tuple[str, ...]:
    """Return the part of a client's registered scope that a person may grant.

    Scopes that give power over this server belong to clients and API tokens themselves: nobody gains them by signing in to a client
    that is registered for them.
    """
    return tuple(token for token in scope if not is_reserved(token))


def format_scope(scope: Iterable[str]) -> str:
    """Join scope tokens into a `scope` value."""
    return " ".join(scope)


def narrow(requested: tuple[str, ...], allowed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scope to grant, all that is allowed when none was requested; raise `invalid_scope` for one that exceeds it."""
    if not requested:
        return allowed
    if any(scope not in allowed for scope in requested):
        raise excess("A requested scope is not allowed here.", requested, allowed)
    return requested


def excess(
    description: str, requested: Iterable[str], allowed: Collection[str], *, status: int | None = None
) -> OAuthError:
    """Return the refusal of scopes that exceed what is allowed; which they are reaches only the log."""
    named = " ".join(scope for scope in requested if scope not in allowed)[:200]
    detail = f"not allowed: {named}" if named else None
    return OAuthError("invalid_scope", description, detail=detail, field="scope", status=status)
