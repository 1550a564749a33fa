"""RFC 7523: trust rules as administrators create them: checked when they are created, and cached when they are used."""

import ipaddress
import re
from typing import Annotated, Literal

import msgspec

from watchword.fetch import FetchError, parse_target
from watchword.flows.clients import client_registry
from watchword.flows.identifiers import new_id
from watchword.flows.inputs import Text, Uri, check_resource, check_text
from watchword.flows.runtime import Runtime
from watchword.jose import JoseError, jwk
from watchword.jose.jwk import own_name
from watchword.networks import is_loopback, read_network
from watchword.oauth import trust
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import parse_scope
from watchword.oauth.trust import ALGORITHMS, TrustRule
from watchword.store import trust as store
from watchword.store.trust import Rule

MAX_LIFETIME = 3600
UNKNOWN = "the rule names a client that is not there: {}"
# The prefixes of our own subjects: another issuer must not be able to name one of them.
OURS = ("application:", "http:", "https:", "user_", "client_")
# Never reachable: an administrator of this service is not necessarily one of its machine or network.
NEVER = [
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32"),
        *("::/127", "fe80::/10", "fd00:ec2::254/128"),
    )
]
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}:")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")

Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=trust.MAX_PATTERN)]
ClaimName = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class TrustInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The input for a trust rule. For a "workload" every pattern in `claims` must match; "people" is for identity assertions (ID-JAG).
    Without `jwks` and `jwks_uri` the keys are found by the issuer's metadata; `networks` are private networks, such as "10.20.0.0/16",
    in which these addresses may be. Durations are in seconds.
    """

    name: Text
    issuer: Uri
    kind: Literal["workload", "people"] = "workload"
    scope: Annotated[str, msgspec.Meta(max_length=4096)]
    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    audience: Uri | None = None
    claims: Annotated[dict[ClaimName, Pattern], msgspec.Meta(max_length=20)] = {}
    resources: Annotated[list[Uri], msgspec.Meta(max_length=50)] = []
    clients: Annotated[list[Text], msgspec.Meta(max_length=50)] = []
    email_domains: Annotated[list[Text], msgspec.Meta(max_length=50)] = []
    algorithms: Annotated[list[str], msgspec.Meta(max_length=20)] = []
    max_lifetime: Annotated[int, msgspec.Meta(ge=30, le=86_400)] = 3600
    token_lifetime: Annotated[int, msgspec.Meta(ge=5, le=MAX_LIFETIME)] = 600
    jwks: dict[str, object] | None = None
    jwks_uri: Uri | None = None
    networks: Annotated[list[Text], msgspec.Meta(max_length=20)] = []


def to_rule(runtime: Runtime, given: TrustInput, *, actor: str) -> Rule:
    """Check the input and return the rule; raise `invalid_request`, `invalid_scope` or `invalid_target`."""
    _check_source(runtime, given)
    rule = Rule(
        id=new_id("trust"),
        name=check_text("name", given.name),
        kind=given.kind,
        issuer=check_text("issuer", given.issuer),
        audience=check_text("audience", given.audience) if given.audience else runtime.settings.issuer,
        scope=parse_scope(given.scope),
        subject=given.subject or "",
        created_at=runtime.now(),
        created_by=actor,
        claims=given.claims,
        resources=tuple(check_resource(resource) for resource in given.resources),
        clients=tuple(check_text("clients", client) for client in given.clients),
        email_domains=tuple(domain.lower() for domain in given.email_domains),
        algorithms=tuple(map(own_name, given.algorithms)) or ALGORITHMS,
        max_lifetime=given.max_lifetime,
        token_lifetime=given.token_lifetime,
        jwks=given.jwks,
        jwks_uri=given.jwks_uri,
        networks=tuple(_network(network) for network in given.networks),
    )
    return _check_workload(rule) if rule.kind == "workload" else _check_people(runtime, rule)


def _check_workload(rule: Rule) -> Rule:
    if rule.email_domains:
        raise _bad("email_domains", "People are found by address by rules for people only.")
    _check_subject(rule.subject)
    trust.check_rule(pure(rule))
    return rule


def _check_people(runtime: Runtime, rule: Rule) -> Rule:
    if rule.claims or rule.audience != runtime.settings.issuer:
        raise _bad("claims", "An identity assertion is for this server, and is not matched by patterns.")
    if bool(rule.email_domains) == bool(rule.subject):
        raise _bad("subject", "Give email_domains to find people here, or a subject such as acme:{sub}.")
    if rule.subject:
        _check_subject(rule.subject)
        if "{sub}" not in rule.subject or rule.subject.count("{") != 1:
            raise _bad("subject", "The only placeholder in the subject of people must be {sub}.")
    if any(not _DOMAIN.fullmatch(domain) for domain in rule.email_domains):
        raise _bad("email_domains", "Name domains such as example.com.")
    if not rule.scope:
        raise _bad("scope", "A rule must name scopes.")
    if not set(rule.algorithms) <= set(ALGORITHMS):
        raise _bad("algorithms", "A trust rule must name signature algorithms that this server supports.")
    return rule


def _check_subject(subject: str) -> None:
    # So that no claim of another issuer can make a subject that is a person, client or application of this server.
    literal = _PREFIX.match(subject)
    if literal is None or literal[0].lower().startswith(OURS):
        raise _bad(
            "subject", "The subject must begin with a prefix of its own and a colon, such as ci:{repository}."
        )


def _check_source(runtime: Runtime, given: TrustInput) -> None:
    if given.jwks is not None and given.jwks_uri is not None:
        raise _bad("jwks", "Give jwks or jwks_uri, not both.")
    if given.issuer == runtime.settings.issuer:
        raise _bad("issuer", "This server need not trust itself.")
    if given.jwks is not None:
        try:
            keys = jwk.parse_set(given.jwks)
        except JoseError as error:
            raise _bad("jwks", f"jwks is not a set of public keys ({error.reason}).") from None
        listed = given.jwks["keys"]
        is_told = isinstance(listed, list) and any(jwk.tells_secret(one) for one in listed)
        if not keys or is_told:
            raise _bad("jwks", "jwks must hold public keys that can verify a signature, and no others.")
        if given.networks:
            raise _bad("networks", "Where the keys are given as jwks nothing is fetched: leave networks out.")
        return
    try:
        target = parse_target(given.jwks_uri or given.issuer)
    except FetchError:
        raise _bad(
            "issuer", "Keys are fetched from https addresses; give jwks for any other issuer."
        ) from None
    loopback = runtime.settings.fetch_allow_loopback and is_loopback(target.host)
    if target.scheme != "https" and not loopback:
        raise _bad("issuer", "Keys are fetched from https addresses; give jwks for any other issuer.")


def _network(given: str) -> str:
    try:
        network = read_network(given)
    except ValueError:
        raise _bad("networks", f"{given!r} is not an IP address or network such as 10.20.0.0/16.") from None
    if any(network.version == never.version and network.overlaps(never) for never in NEVER):
        raise _bad(
            "networks",
            "A network must leave out this machine itself, and the addresses where clouds tell machines their credentials.",
        )
    return str(network)


def _bad(field: str, description: str) -> OAuthError:
    return OAuthError("invalid_request", description, field=field)


def pure(rule: Rule) -> TrustRule:
    """Return a rule as `oauth.trust` applies it."""
    return TrustRule(
        name=rule.id,
        issuer=rule.issuer,
        audience=rule.audience,
        claims=rule.claims,
        scope=rule.scope,
        subject=rule.subject,
        max_lifetime=rule.max_lifetime,
        algorithms=rule.algorithms,
    )


async def create(runtime: Runtime, given: TrustInput, *, actor: str) -> Rule:
    """Create a rule; raise as `to_rule`, or `conflict` when its name is taken."""
    rule = to_rule(runtime, given, actor=actor)
    if not await runtime.database.write(store.create_rule, rule):
        raise OAuthError("conflict", "There is a rule of this name.", field="name")
    return rule


async def unknown_clients(runtime: Runtime, rule: Rule) -> list[str]:
    """Return the identifiers among a rule's clients that nobody has; what is the address of a metadata document may come at any time."""
    return [
        client
        for client in rule.clients
        if not client.startswith("https://") and await client_registry.find(runtime, client) is None
    ]


async def replace(runtime: Runtime, existing: Rule, given: TrustInput, *, actor: str) -> Rule:
    """Replace a rule, which revokes the tokens issued by the old one; raise as `to_rule`, or `precondition_failed` when that is gone."""
    rule = to_rule(runtime, given, actor=actor)
    if not await runtime.database.write(store.replace_rule, existing.id, rule):
        raise OAuthError("precondition_failed", "The rule was changed meanwhile: read it again, then repeat.")
    return rule


def to_input(runtime: Runtime, rule: Rule) -> TrustInput:
    """Return a rule as the input that would make it again."""
    fields = {name: getattr(rule, name) for name in TrustInput.__struct_fields__}
    fields["scope"] = " ".join(rule.scope)
    fields["subject"] = rule.subject or None
    fields["audience"] = None if rule.audience == runtime.settings.issuer else rule.audience
    fields["algorithms"] = () if rule.algorithms == ALGORITHMS else rule.algorithms
    return msgspec.convert(msgspec.to_builtins(fields), TrustInput)


async def show(runtime: Runtime, name: str) -> Rule:
    """Return a rule by identifier or name; raise `not_found`."""
    found = await runtime.database.read(store.find_rule, name)
    if found is None:
        raise OAuthError("not_found", "There is no such rule.")
    return found


async def delete(runtime: Runtime, name: str, *, actor: str) -> Rule:
    """Delete a rule, which revokes the tokens issued by it; raise `not_found`."""
    rule = await show(runtime, name)
    if not await runtime.database.write(store.delete_rule, rule.id, actor=actor, now=runtime.now()):
        raise OAuthError("not_found", "There is no such rule.")
    return rule


async def of_issuer(runtime: Runtime, issuer: str) -> list[Rule]:
    """Return the rules for an issuer; cached as long as the database does not change."""
    version, key = runtime.database.version(), ("trust", issuer)
    cached = runtime.cache.get(key)
    if cached is not None and cached[0] == version:
        known: list[Rule] = cached[1]
        return known
    found = await runtime.database.read(store.rules_of, issuer)
    if found:
        runtime.remember(key, version, found)
    return found
