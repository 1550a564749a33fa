"""One change on the way to the desired state, and the comparison of two states."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec


class Differences(msgspec.Struct, frozen=True):
    """The fields that differ between two descriptions: their present and their desired values."""

    before: dict[str, Any] = {}
    after: dict[str, Any] = {}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One change; `lacks_secret` says that the client will have no secret afterwards, and cannot be used before it gets one, `warnings`
    what is possible and probably not meant.

    `perform` makes the change; it raises OAuthError when somebody else has changed the same thing meanwhile.
    """

    kind: Literal["client", "trust"]
    name: str
    action: Literal["create", "change", "delete"]
    differences: Differences = Differences()
    makes_secret: bool = False
    lacks_secret: bool = False
    warnings: tuple[str, ...] = ()
    perform: Callable[[], Awaitable[object]]


def differences(existing: msgspec.Struct, wanted: msgspec.Struct) -> Differences:
    """Compare two descriptions of one type."""
    before, after = msgspec.to_builtins(existing), msgspec.to_builtins(wanted)
    differing = [name for name in after if before[name] != after[name]]
    return Differences({name: before[name] for name in differing}, {name: after[name] for name in differing})
