"""RFC 7523 §2.1: what another issuer's assertion is granted here, by the trust rules.

Two kinds. A workload's own identity token is matched by patterns and gets a subject made of its claims. An identity assertion
(ID-JAG) authorizes one confidential client to act for a person: the person is found by (issuer, subject) once linked, and the first
time by a verified address in one of the rule's domains. The single use of both is enforced by the store.
"""

import hashlib

import msgspec

from watchword.credentials.names import NameRefused, canonical_email
from watchword.flows import membership
from watchword.flows.clients import client_registry
from watchword.flows.runtime import Runtime
from watchword.flows.trust import foreign_keys, trust_rules
from watchword.jose import JoseError, jws
from watchword.oauth import identity_assertion, trust
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.identity_assertion import IdentityAssertion
from watchword.oauth.scopes import narrow
from watchword.oauth.targets import name_among, resolve_audience
from watchword.ratelimit import Limit
from watchword.store import trust as store
from watchword.store import users
from watchword.store.tokens import Used
from watchword.store.trust import Link, Rule
from watchword.store.users import User

# Refusals that go into the audit trail, by client; beyond that they are counted and logged like any other.
RECORDED = Limit("recorded refusals", capacity=60, per_second=0.2)


class Accepted(msgspec.Struct, frozen=True):
    """An assertion that a rule accepts; `used` identifies it for its single use, `claims` go into the token."""

    rule: Rule
    subject: str
    scope: tuple[str, ...]
    audience: tuple[str, ...]
    used: Used
    claims: dict[str, object] = msgspec.field(default_factory=dict)
    link: Link | None = None


class Asked(msgspec.Struct, frozen=True):
    """What a client requests with an assertion; `jkt` is the key that it proved (RFC 9449)."""

    assertion: str
    scope: tuple[str, ...]
    resources: tuple[str, ...]
    jkt: str | None


async def check(runtime: Runtime, client: Client, asked: Asked) -> Accepted:
    """Return what an assertion is granted; raise `invalid_grant`, `invalid_scope`, `invalid_target` or `unauthorized_client`."""
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
        raise refused("a subject that has the name of a client here")
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
        # Rules are grouped by where the issuer's keys come from: none may be satisfied by a signature with the keys of another.
        group = [rule for rule in rules if _source(rule) == source]
        try:
            keys = await foreign_keys.keys_of(runtime, group[0], kid)
            found = trust.check_assertion(
                asked.assertion,
                [trust_rules.pure(rule) for rule in group],
                keys,
                jkt=asked.jkt,
                now=runtime.now(),
            )
        except OAuthError as error:
            # Keys that cannot be read now may be those that signed: unless another rule accepts it, the assertion is not called bad.
            last = last if last.code == "temporarily_unavailable" else error
            continue
        rule = next(rule for rule in group if rule.id == found.rule.name)
        return Accepted(
            rule=rule,
            subject=found.subject,
            scope=_scope(client, asked, found.scope),
            audience=_audience(runtime, client, asked, rule, ()),
            used=(_mark(rule.issuer, found.jti), found.used_until, found.earliest),
            claims={"subject_kind": "external"},
        )
    raise last


def _source(rule: Rule) -> tuple[str | None, str | None, tuple[str, ...]]:
    return rule.jwks_uri, rule.id if rule.jwks is not None else None, rule.networks


async def _person(
    runtime: Runtime, client: Client, asked: Asked, rules: list[Rule], kid: str | None
) -> Accepted:
    rule, found = await _choose(runtime, await _verified(runtime, client, asked, rules, kid))
    granted = tuple(scope for scope in found.scope or rule.scope if scope in rule.scope)
    link, user = await _link(runtime, rule, found) if rule.email_domains else (None, None)
    if user is not None and not membership.lets_in(client, user):
        raise refused("a person whom the client is not for")
    if user is not None:
        granted = membership.open_to(runtime.settings, user, granted)
    scope = _scope(client, asked, granted)
    claims: dict[str, object] = membership.claims(user, scope) if user else {"subject_kind": "external"}
    if found.auth_time is not None:
        claims["auth_time"] = found.auth_time
    return Accepted(
        rule=rule,
        subject=link.user_id if link else rule.subject.replace("{sub}", found.subject),
        scope=scope,
        audience=_audience(runtime, client, asked, rule, found.resources),
        used=(_mark(rule.issuer, found.jti), found.expires_at + 1, found.earliest),
        claims=claims,
        link=link,
    )


async def _verified(
    runtime: Runtime, client: Client, asked: Asked, rules: list[Rule], kid: str | None
) -> list[tuple[Rule, IdentityAssertion]]:
    """Return the rules with whose keys and algorithms the assertion verifies, oldest first; raise OAuthError when there are none."""
    verified, last = [], refused("no rule")
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
            verified.append((rule, found))
    if not verified:
        raise last
    return verified


async def _choose(
    runtime: Runtime, verified: list[tuple[Rule, IdentityAssertion]]
) -> tuple[Rule, IdentityAssertion]:
    """Return the oldest rule that is for the person's address, or that needs no address.

    The assertion for a person who is linked already may carry no such address. Then the address that is verified here decides: otherwise
    people could switch to another rule by removing their address at the provider. Raises `invalid_grant` where no rule is for that.
    """
    fitting = [pair for pair in verified if not pair[0].email_domains or _speaks_for(pair[0], pair[1].email)]
    if fitting or len(verified) == 1:
        return (fitting or verified)[0]
    found = verified[0][1]
    known = await runtime.database.read(store.find_asserted, found.issuer, found.subject)
    user = await runtime.database.read(users.get_user, known) if known else None
    own = user.email if user and user.email_verified_at is not None else None
    fitting = [pair for pair in verified if _speaks_for(pair[0], own)]
    if not fitting:
        raise refused("no address that tells which of several rules is for the person")
    return fitting[0]


def _speaks_for(rule: Rule, email: str | None) -> bool:
    try:
        _address(rule, email)
    except OAuthError:
        return False
    return True


async def _link(runtime: Runtime, rule: Rule, found: IdentityAssertion) -> tuple[Link, User]:
    known = await runtime.database.read(store.find_asserted, found.issuer, found.subject)
    user = await runtime.database.read(users.get_user, known) if known else None
    if known is None:
        address = _address(rule, found.email)
        user = await runtime.database.read(store.find_by_address, address)
    if user is None or user.disabled_at is not None:  # TK-15
        raise refused("nobody here, or a disabled account")
    return Link(found.issuer, found.subject, user.id), user


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
        raise OAuthError("invalid_scope", "Nothing that this assertion allows may be granted to this client.")
    return narrow(asked.scope, allowed)


def _audience(
    runtime: Runtime, client: Client, asked: Asked, rule: Rule, named: tuple[str, ...]
) -> tuple[str, ...]:
    allowed = rule.resources or client.resources or (runtime.settings.resource,)
    if named:  # the assertion itself is restricted to these resources
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
    """Record a refusal in the audit trail, unless this client has caused too many."""
    if runtime.take(RECORDED, client.client_id[:64]):
        return
    rules = await _rules(runtime, assertion)
    await runtime.database.write(
        store.note_refusal,
        client_id=client.client_id,
        target=rules[0].issuer if rules else "unknown issuer",
        reason=(error.detail or error.code)[:200],
        now=runtime.now(),
    )
