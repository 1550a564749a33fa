"""Checks of the parts that a program builds a client from: a wrong one raises ValueError at once, before anything is sent.

The messages never repeat what was given, since it may be a secret.
"""

import inspect


def check_part(field: str, given: object, method: str, example: str) -> None:
    """Raise ValueError for an object without the method that a part of this kind has; `example` shows a right one."""
    if inspect.isclass(given):
        raise ValueError(f"{field}: make one, such as {example}")
    if not callable(getattr(given, method, None)):
        raise ValueError(f"{field}: such as {example}, not something of {type(given)}")


def check_source(given: object) -> None:
    """Raise ValueError for what is not a token source."""
    check_part("source", given, "present", 'ApiToken("…", api="https://api.example.com") or a TokenSource')


def check_scope(given: object) -> None:
    """Raise ValueError for scopes that are not one text: each item of a list would become a parameter of its own."""
    if not isinstance(given, str):
        raise ValueError(
            f'scope: one text with spaces, such as "orders:read orders:write", not something of {type(given)}'
        )
