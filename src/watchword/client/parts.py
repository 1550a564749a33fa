"""Checks of the arguments that a program builds a client from: a wrong one raises ValueError at once, before anything is sent.

The messages never repeat what was given, since it may be a secret.
"""

import inspect
from collections.abc import Mapping

from watchword.jose.jwk import Key

# The parameters that the client itself sends in a token request.
_OWN = frozenset(
    {
        "actor_token", "actor_token_type", "client_assertion", "client_assertion_type", "client_id", "client_secret",
        "grant_type", "refresh_token", "resource", "scope", "subject_token", "subject_token_type",
    }
)  # fmt: skip


def check_part(field: str, given: object, method: str, example: str) -> None:
    """Raise ValueError for an object without the method that a part of this kind has; `example` shows a right one."""
    if inspect.isclass(given):
        raise ValueError(f"{field}: make one, such as {example}")
    if not callable(getattr(given, method, None)):
        raise ValueError(f"{field}: such as {example}, not something of {type(given)}")


def check_source(given: object) -> None:
    """Raise ValueError for what is not a token source."""
    check_part("source", given, "present", 'ApiToken("…", api="https://api.example.com") or a TokenSource')


def check_function(field: str, given: object) -> None:
    """Raise ValueError for what cannot be called: a token in its place would be presented for every caller."""
    if not callable(given):
        raise ValueError(f"{field}: a function that returns the token, not something of {type(given)}")


def check_key(field: str, given: object) -> None:
    """Raise ValueError for what is no private key as `watchword.jose.jwk` reads one."""
    if not isinstance(given, Key):
        raise ValueError(
            f"{field}: such as watchword.jose.jwk.parse(…) makes of a JWK, or parse_pem(…) of PEM, not something of {type(given)}"
        )
    if given.private is None:
        raise ValueError(f"{field}: this one is public, and cannot sign: give the private key")


def check_scope(given: object) -> None:
    """Raise ValueError for scopes that are not one text: each item of a list would become a parameter of its own."""
    if not isinstance(given, str):
        raise ValueError(
            f'scope: one text with spaces, such as "orders:read orders:write", not something of {type(given)}'
        )


def check_parameters(given: object, *more: str) -> None:
    """Raise ValueError unless parameters are strings by name, none of them one that the client sends itself; `more` are those of a grant."""
    if not isinstance(given, Mapping) or not all(
        isinstance(text, str) and text for pair in given.items() for text in pair
    ):
        raise ValueError('parameters: texts by name, such as {"audience": "https://api.example.com"}')
    # In whatever case: some servers do not tell `scope` from `Scope`.
    if own := sorted(name for name in given if name.lower() in _OWN.union(more)):
        raise ValueError(f"parameters: {', '.join(own)} has a place of its own, in the grant or the client")
