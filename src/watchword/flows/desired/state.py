"""A whole file of desired state: read and compared completely, and only then applied, with one transaction for each change.

A section that the file does not have is left as it is, and a run that was interrupted is finished by the next.
"""

from collections import Counter
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from watchword.flows.desired import clients, trust
from watchword.flows.desired.clients import ClientState, Keep
from watchword.flows.desired.step import Step
from watchword.flows.runtime import Runtime
from watchword.flows.trust.trust_rules import TrustInput
from watchword.oauth import malformed
from watchword.oauth.errors import OAuthError

T = TypeVar("T")

NO_SECRETS = "client_secret: the server generates secrets, they are not part of a description"

SECTIONS: dict[str, tuple[type[msgspec.Struct], str]] = {
    "clients": (ClientState, "client_id"),
    "trust": (TrustInput, "name"),
}


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The desired state; None leaves everything of that kind as it is."""

    clients: tuple[ClientState, ...] | None = None
    trust: tuple[TrustInput, ...] | None = None


class Plan(msgspec.Struct, frozen=True):
    """The changes to make, in order, and how many entries need none."""

    steps: tuple[Step, ...]
    unchanged: int


def read(document: Mapping[str, Any]) -> State:
    """Read a description; raise `invalid_request` naming the entry and the field at fault."""
    unknown = next((name for name in document if name not in SECTIONS), None)
    if unknown is not None:
        raise _wrong(f"{unknown}: there is no such section; the sections are {', '.join(SECTIONS)}.", unknown)
    return State(**{section: _entries(section, given) for section, given in document.items()})


def _entries(section: str, given: object) -> tuple[Any, ...]:
    kind, key = SECTIONS[section]
    if not isinstance(given, list):
        raise _wrong(f"{section}: write [[{section}]] above each entry.", section)
    entries = []
    for number, entry in enumerate(given, 1):
        try:
            entries.append(msgspec.convert(entry, kind))
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            wrong = malformed.explain(error, kind, entry)
            name = entry.get(key) if isinstance(entry, dict) else None
            where = f"{section}, entry {number}" + (f" ({name})" if name else "")
            said = NO_SECRETS if wrong.field == "client_secret" else wrong.description
            raise _wrong(f"{where}: {said}", wrong.field) from None
    return tuple(entries)


def _wrong(description: str, field: str | None) -> OAuthError:
    return OAuthError("invalid_request", malformed.printable(description), field=field)


async def plan(runtime: Runtime, state: State, *, prune: bool, keep: Keep | None, actor: str) -> Plan:
    """Compare the desired state with the database; raise OAuthError for an impossible description.

    With `prune`, what a section does not describe is deleted. With `keep`, which gets the secret first, a client that authenticates by
    a secret and has none gets one.
    """
    named = [given.client_id for given in state.clients or ()], [given.name for given in state.trust or ()]
    for section, names in zip(SECTIONS, named, strict=True):
        _check_once(section, names)
    rules = {rule.name: rule for rule in await trust.every(runtime)}
    compared = [
        await _in_context(f"client {given.client_id}", clients.step(runtime, given, keep=keep, actor=actor))
        for given in state.clients or ()
    ] + [
        await _in_context(
            f"trust {given.name}",
            trust.step(runtime, given, rules.get(given.name), described=named[0], actor=actor),
        )
        for given in state.trust or ()
    ]
    steps = [step for step in compared if step is not None]
    unchanged = len(compared) - len(steps)
    if prune and state.clients is not None:
        steps += await clients.surplus(runtime, named[0], actor)
    if prune and state.trust is not None:
        steps += trust.surplus(runtime, rules.values(), named[1], actor)
    return Plan(tuple(steps), unchanged)


def _check_once(section: str, names: Iterable[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise _wrong(f"{section}: {name} is described twice.", section)


async def perform(plan: Plan) -> None:
    """Apply a plan; raise OAuthError that says what failed and how far it went."""
    for done, step in enumerate(plan.steps):
        so_far = f"; {done} of {len(plan.steps)} changes were made, apply again for the rest"
        await _in_context(f"{step.kind} {step.name}", step.perform(), so_far)


async def _in_context(what: str, work: Awaitable[T], so_far: str = "") -> T:
    """Await the work for an entry; its error is raised with the name of the entry."""
    try:
        return await work
    except OAuthError as error:
        field = f"{error.field}: " if error.field and error.field not in error.description else ""
        text = malformed.printable(f"{what}: {field}{error.description}{so_far}")
        raise OAuthError(error.code, text, field=error.field, detail=error.detail) from None


async def describe(runtime: Runtime) -> State:
    """Return the present state as a description that would recreate it, without secrets."""
    return State(clients=await clients.describe(runtime), trust=await trust.describe(runtime))
