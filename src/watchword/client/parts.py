"""What a program puts a client together of: refused with ValueError where it is given, before anything is sent.

Owns the rules for parts that stand in each other's place. What was given is never repeated, since it may be a secret.
"""

import inspect


def check_part(field: str, given: object, method: str, example: str) -> None:
    """Refuse what lacks the method that a part of its kind has; `example` is one of its kind."""
    if inspect.isclass(given):
        raise ValueError(f"{field}: make one, such as {example}")
    if not callable(getattr(given, method, None)):
        raise ValueError(f"{field}: such as {example}, not something of {type(given)}")


def check_source(given: object) -> None:
    """Refuse what is no source of tokens."""
    check_part("source", given, "present", 'ApiToken("…", api="https://api.example.com") or a TokenSource')


def check_scope(given: object) -> None:
    """Refuse scopes that are no text: each of a list would become a parameter of its own."""
    if not isinstance(given, str):
        raise ValueError(
            f'scope: one text with spaces, such as "orders:read orders:write", not something of {type(given)}'
        )
