"""One change on the way to what is described, and how two states of a thing are compared."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec


class Differences(msgspec.Struct, frozen=True):
    """What differs between two descriptions, by the name of its field: as it is and as it is to be."""

    before: dict[str, Any] = {}
    after: dict[str, Any] = {}


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One change; `lacks_secret` is a client that cannot be used before somebody makes it a secret, which this step does not.

    `perform` makes it; it raises OAuthError when somebody else was faster.
    """

    kind: Literal["client", "trust"]
    name: str
    action: Literal["create", "change", "delete"]
    differences: Differences = Differences()
    makes_secret: bool = False
    lacks_secret: bool = False
    perform: Callable[[], Awaitable[object]]


def differences(existing: msgspec.Struct, wanted: msgspec.Struct) -> Differences:
    """Compare two descriptions of one type."""
    before, after = msgspec.to_builtins(existing), msgspec.to_builtins(wanted)
    differing = [name for name in after if before[name] != after[name]]
    return Differences({name: before[name] for name in differing}, {name: after[name] for name in differing})
