"""A request that one guard meets twice (a middleware and a decorator, two dependencies) uses what is good once up once.

A proof of possession is good once, and so is a counted use: a second look at the same request would refuse it, or count it twice.
Any other credential is simply looked at again. Owns the note that a guard leaves in what its framework keeps of a request; the note
of another guard is nothing to it.
"""

from collections.abc import MutableMapping
from typing import Any

from watchword.guard.guard import Guard
from watchword.guard.policy import Policy
from watchword.guard.principal import Principal

NOTE = "watchword.guard"
Kept = MutableMapping[Any, Any]


def admitted(guard: Guard, kept: Kept, policy: Policy) -> Principal | None:
    """Return the caller whom this very guard let in before with this request; raise Refused when the policy demands more."""
    found = kept.get(NOTE)
    if found is None or found[0] is not guard:
        return None
    principal: Principal = found[1]
    guard.demand(principal, policy)
    return principal


def admit(guard: Guard, kept: Kept, principal: Principal) -> Principal:
    """Return whom a guard let in, noted where the same request would not be let in again."""
    if principal.jkt is not None or principal.claims.get("limited"):
        kept[NOTE] = (guard, principal)
    return principal
