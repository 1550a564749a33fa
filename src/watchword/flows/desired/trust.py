"""RFC 7523: trust rules as a file describes them, by name. Changing a rule revokes the tokens that were issued by it."""

from collections.abc import Container, Iterable
from functools import partial

from watchword.flows.desired.step import Differences, Step, differences
from watchword.flows.runtime import Runtime
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.store import trust as store
from watchword.store.trust import Rule

PAGE = 200


async def step(
    runtime: Runtime, given: TrustInput, existing: Rule | None, *, described: Container[str], actor: str
) -> Step | None:
    """Return the change that a rule needs, None when it is as described; raise OAuthError for an impossible description.

    `described` are the identifiers of the clients that will be there as well.
    """
    wanted = trust_rules.to_rule(runtime, given, actor=actor)
    found = Differences()
    if existing is not None:
        found = differences(trust_rules.to_input(runtime, existing), trust_rules.to_input(runtime, wanted))
        if not found.after:
            return None
    return Step(
        kind="trust",
        name=given.name,
        action="change" if existing else "create",
        differences=found,
        warnings=tuple(
            trust_rules.UNKNOWN.format(client)
            for client in await trust_rules.unknown_clients(runtime, wanted)
            if client not in described
        ),
        perform=partial(_perform, runtime, given, existing, actor),
    )


def surplus(runtime: Runtime, rules: Iterable[Rule], described: Container[str], actor: str) -> list[Step]:
    """Return the changes that delete the rules that are not described."""
    return [
        Step(
            kind="trust",
            name=rule.name,
            action="delete",
            perform=partial(trust_rules.delete, runtime, rule.id, actor=actor),
        )
        for rule in rules
        if rule.name not in described
    ]


async def describe(runtime: Runtime) -> tuple[TrustInput, ...]:
    """Return the rules as they would be described."""
    return tuple(trust_rules.to_input(runtime, rule) for rule in await every(runtime))


async def every(runtime: Runtime) -> list[Rule]:
    """Return all rules there are, oldest first."""
    found: list[Rule] = []
    while page := await runtime.database.read(
        store.list_rules, after=found[-1].id if found else "", limit=PAGE
    ):
        found += page
    return found


async def _perform(runtime: Runtime, given: TrustInput, existing: Rule | None, actor: str) -> None:
    if existing is None:
        await trust_rules.create(runtime, given, actor=actor)
    else:
        await trust_rules.replace(runtime, existing, given, actor=actor)
