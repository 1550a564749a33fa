"""RFC 7523 §2.1: what an outside issuer's assertion is worth here, by the rules of trust.

Two kinds. A workload's own identity token is matched by patterns and gets a subject made of its claims. An identity assertion
(ID-JAG) speaks of a person to one confidential client: who that is here is known by (issuer, subject) once it was linked, and is
found by a verified address in a domain of the rule the first time. The single use of both is the store's.
"""

import hashlib

import msgspec

from watchword.credentials.names import NameRefused, canonical_email
from watchword.flows import client_registry, foreign_keys, trust_rules
from watchword.flows.runtime import Runtime
from watchword.jose import JoseError, jws
from watchword.oauth import identity_assertion, trust
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.identity_assertion import IdentityAssertion
from watchword.oauth.scopes import narrow
from watchword.oauth.targets import name_among, resolve_audience
from watchword.ratelimit import LocalBuckets
from watchword.store import trust as store
from watchword.store import users
from watchword.store.tokens import Used
from watchword.store.trust import Link, Rule

# Refusals that are written down, by client; more are counted and logged like any other refusal.
RECORDED = LocalBuckets(capacity=60, per_second=0.2)


class Accepted(msgspec.Struct, frozen=True):
    """An assertion that a rule accepts; `used` is its mark, which is used up once, `claims` go into the token."""

    rule: Rule
    subject: str
    scope: tuple[str, ...]
    audience: tuple[str, ...]
    used: Used
    claims: dict[str, object] = msgspec.field(default_factory=dict)
    link: Link | None = None


class Asked(msgspec.Struct, frozen=True):
    """What a client asks for with an assertion; `jkt` is the key that it proved (RFC 9449)."""

    assertion: str
    scope: tuple[str, ...]
    resources: tuple[str, ...]
    jkt: str | None


async def check(runtime: Runtime, client: Client, asked: Asked) -> Accepted:
    """Return what an assertion is worth; raise `invalid_grant`, `invalid_scope`, `invalid_target` and the like."""
    try:
        header = jws.peek(asked.assertion)
    except JoseError as error:
        raise refused(error.reason) from None
    is_person = (header.typ or "").lower().removeprefix("application/") == identity_assertion.TYPE
    rules = [
        rule
        for rule in await _rules(runtime, asked.assertion)
        if rule.kind == ("people" if is_person else "workload")
        and (not rule.clients or client.client_id in rule.clients)
    ]
    if not rules:  # TK-15
        raise refused("no rule trusts this issuer for this client")
    if is_person and client.is_public:
        raise OAuthError("unauthorized_client", "Identity assertions are for clients that authenticate.")
    decide = _person if is_person else _workload
    accepted = await decide(runtime, client, asked, rules, header.kid)
    if accepted.link is None and await client_registry.find(runtime, accepted.subject) is not None:
        raise refused("a subject that is called like a client here")
    return accepted


async def _rules(runtime: Runtime, assertion: str) -> list[Rule]:
    issuer = trust.peek_issuer(assertion)
    if issuer is None or len(issuer) > 2000 or not issuer.isprintable():
        return []
    return await trust_rules.of_issuer(runtime, issuer)


async def _workload(
    runtime: Runtime, client: Client, asked: Asked, rules: list[Rule], kid: str | None
) -> Accepted:
    last = refused("no rule")
    for source in dict.fromkeys(map(_source, rules)):
        # Rules that take the issuer's keys from elsewhere are asked apart: no rule is satisfied with the keys of another.
        group = [rule for rule in rules if _source(rule) == source]
        keys = await foreign_keys.keys_of(runtime, group[0], kid)
        try:
            found = trust.check_assertion(
                asked.assertion,
                [trust_rules.pure(rule) for rule in group],
                keys,
                jkt=asked.jkt,
                now=runtime.now(),
            )
        except OAuthError as error:
            last = error
            continue
        rule = next(rule for rule in group if rule.id == found.rule.name)
        return Accepted(
            rule=rule,
            subject=found.subject,
            scope=_scope(client, asked, found.scope),
            audience=_audience(runtime, client, asked, rule, ()),
            used=(_mark(rule.issuer, found.jti or ""), found.used_until, found.earliest),
            claims={"subject_kind": "external"},
        )
    raise last


def _source(rule: Rule) -> tuple[str | None, str | None, tuple[str, ...]]:
    return rule.jwks_uri, rule.id if rule.jwks is not None else None, rule.networks


async def _person(
    runtime: Runtime, client: Client, asked: Asked, rules: list[Rule], kid: str | None
) -> Accepted:
    rule, found = await _concerned(runtime, await _heard(runtime, client, asked, rules, kid))
    granted = tuple(scope for scope in found.scope or rule.scope if scope in rule.scope)
    link = await _link(runtime, rule, found) if rule.email_domains else None
    claims: dict[str, object] = {} if link else {"subject_kind": "external"}
    if found.auth_time is not None:
        claims["auth_time"] = found.auth_time
    return Accepted(
        rule=rule,
        subject=link.user_id if link else rule.subject.replace("{sub}", found.subject),
        scope=_scope(client, asked, granted),
        audience=_audience(runtime, client, asked, rule, found.resources),
        used=(_mark(rule.issuer, found.jti), found.expires_at + 1, found.earliest),
        claims=claims,
        link=link,
    )


async def _heard(
    runtime: Runtime, client: Client, asked: Asked, rules: list[Rule], kid: str | None
) -> list[tuple[Rule, IdentityAssertion]]:
    """Return the rules by whose keys the assertion is good, oldest first, and what it says by each; raise OAuthError when it is by none."""
    heard, last = [], refused("no rule")
    for rule in rules:
        keys = await foreign_keys.keys_of(runtime, rule, kid)
        try:
            found = identity_assertion.check(
                asked.assertion,
                keys=keys,
                provider=rule.issuer,
                issuer=runtime.settings.issuer,
                client_id=client.client_id,
                algorithms=rule.algorithms,
                jkt=asked.jkt,
                now=runtime.now(),
            )
        except OAuthError as error:
            last = error
        else:
            heard.append((rule, found))
    if not heard:
        raise last
    return heard


async def _concerned(
    runtime: Runtime, heard: list[tuple[Rule, IdentityAssertion]]
) -> tuple[Rule, IdentityAssertion]:
    """Return the oldest rule that is for the person's address, or needs none.

    Who is known here may show no such address. Then the one counts that is verified here: were it any rule's turn, who gave their address up
    at the provider would choose another rule. Raise `invalid_grant` where that tells none of several.
    """
    fitting = [pair for pair in heard if not pair[0].email_domains or _speaks_for(pair[0], pair[1].email)]
    if fitting or len(heard) == 1:
        return (fitting or heard)[0]
    found = heard[0][1]
    known = await runtime.database.read(store.find_asserted, found.issuer, found.subject)
    user = await runtime.database.read(users.get_user, known) if known else None
    own = user.email if user and user.email_verified_at is not None else None
    fitting = [pair for pair in heard if _speaks_for(pair[0], own)]
    if not fitting:
        raise refused("no address that tells which of several rules is for the person")
    return fitting[0]


def _speaks_for(rule: Rule, email: str | None) -> bool:
    try:
        _address(rule, email)
    except OAuthError:
        return False
    return True


async def _link(runtime: Runtime, rule: Rule, found: IdentityAssertion) -> Link:
    known = await runtime.database.read(store.find_asserted, found.issuer, found.subject)
    user = await runtime.database.read(users.get_user, known) if known else None
    if known is None:
        address = _address(rule, found.email)
        user = await runtime.database.read(store.find_by_address, address)
    if user is None or user.disabled_at is not None:  # TK-15
        raise refused("nobody here, or a disabled account")
    return Link(found.issuer, found.subject, user.id)


def _address(rule: Rule, email: str | None) -> str:
    try:
        address = canonical_email(email or "")
    except NameRefused:
        raise refused("no address to find the person by") from None
    if address.rpartition("@")[2] not in rule.email_domains:
        raise refused("an address of a domain that the provider does not speak for")
    return address


def _scope(client: Client, asked: Asked, granted: tuple[str, ...]) -> tuple[str, ...]:
    allowed = tuple(scope for scope in granted if scope in client.scope)
    if not allowed:
        raise OAuthError(
            "invalid_scope", "Nothing of what the assertion is worth may be granted to this client."
        )
    return narrow(asked.scope, allowed)


def _audience(
    runtime: Runtime, client: Client, asked: Asked, rule: Rule, named: tuple[str, ...]
) -> tuple[str, ...]:
    allowed = rule.resources or client.resources or (runtime.settings.resource,)
    if named:  # the assertion says for which resources it is
        names = (name_among(resource, allowed) for resource in named)
        allowed = tuple(name for name in names if name is not None)
        if not allowed:
            raise OAuthError("invalid_target", "The assertion is for resources that are not granted here.")
    return resolve_audience(asked.resources, allowed, runtime.settings.resource)


def _mark(issuer: str, jti: str) -> bytes:
    return hashlib.sha256(f"assertion\n{issuer}\n{jti}".encode()).digest()


def refused(reason: str) -> OAuthError:
    """Return the one answer to every assertion that is not accepted."""
    return OAuthError("invalid_grant", "The assertion is not accepted.", detail=f"assertion: {reason}")


async def note_refusal(runtime: Runtime, client: Client, assertion: str, error: OAuthError) -> None:
    """Write a refusal down, unless this client has had too many."""
    if RECORDED.take(client.client_id[:64], runtime.clock()):
        return
    rules = await _rules(runtime, assertion)
    await runtime.database.write(
        store.note_refusal,
        client_id=client.client_id,
        target=rules[0].issuer if rules else "unknown issuer",
        reason=(error.detail or error.code)[:200],
        now=runtime.now(),
    )
