"""What frameworks cannot say in their OpenAPI documents: that an operation takes callers with a credential and without.

A framework names a security scheme for each requirement of an operation, but not the empty alternative `{}`. So an optional one gets a
scheme of its own, and in the finished document that becomes the usual scheme or nothing.
"""

from collections.abc import Iterator
from typing import Any

OPTIONAL = "Optional"


def optional(scheme: str) -> str:
    """Return the name of a scheme where it is optional, before the document is finished."""
    return f"{scheme}{OPTIONAL}"


def state_optional(document: dict[str, Any], scheme: str) -> None:
    """State that the operations with an optional scheme are open to callers without a credential; idempotent.

    An operation that requires this scheme as well, as by its router, or another one, stays closed.
    """
    schemes = document.get("components", {}).get("securitySchemes", {})
    if optional(scheme) not in schemes:
        return
    schemes.setdefault(scheme, schemes.pop(optional(scheme)))
    for operation in operations(document):
        if "security" in operation:
            operation["security"] = _alternatives(operation["security"], scheme)


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the operations of a document."""
    for path in document.get("paths", {}).values():
        yield from (operation for operation in path.values() if isinstance(operation, dict))


def _alternatives(security: list[dict[str, list[str]]], scheme: str) -> list[dict[str, list[str]]]:
    named = {name: scopes for one in security for name, scopes in one.items()}
    if optional(scheme) not in named:
        return security
    scopes = [*named.get(scheme, ()), *named.pop(optional(scheme))]
    is_open = {} in security or all(name.endswith(OPTIONAL) for name in named)
    others = [one for one in security if one and one.keys().isdisjoint({scheme, optional(scheme)})]
    return [*others, {scheme: list(dict.fromkeys(scopes))}, *([{}] if is_open else [])]
