"""RFC 7523: trust rules, the accounts of people whom outside providers assert, and the single use of assertions."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from watchword.store import documents
from watchword.store.audit.recorded import fingerprint
from watchword.store.database import Transaction
from watchword.store.tokens import StoredToken, Used, store_token, use_identifier
from watchword.store.users import COLUMNS, User, to_user


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """Which issuer's assertions, about which subjects, buy which token; `kind` "people" is for identity assertions (ID-JAG).

    `claims` are patterns; people of the `email_domains` are found by their address; durations are in seconds, times Unix seconds.
    """

    id: str
    name: str
    kind: Literal["workload", "people"]
    issuer: str
    audience: str
    scope: tuple[str, ...]
    subject: str
    created_at: int
    created_by: str
    claims: Mapping[str, str] = {}
    resources: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    email_domains: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ()
    max_lifetime: int = 3600
    token_lifetime: int = 600
    jwks: Mapping[str, object] | None = None
    jwks_uri: str | None = None
    networks: tuple[str, ...] = ()  # private ones in which the issuer's documents may be


class Link(msgspec.Struct, frozen=True):
    """A person as an outside provider knows them, and who that is here."""

    issuer: str
    subject: str
    user_id: str


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored when an assertion is used: its single-use identifier, the token, the linked person, and the audit details."""

    used: Used
    row: StoredToken | None
    link: Link | None
    client_id: str
    subject: str
    rule_id: str
    details: dict[str, object]


_encode = msgspec.json.Encoder().encode
_decode = documents.reader(Rule)


async def create_rule(tx: Transaction, rule: Rule) -> bool:
    """Store a rule; return False when its name is taken."""
    document = _encode(rule).decode()
    row = await tx.one(
        "INSERT INTO trust_rules (id, name, issuer, document, created_at) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT (name) DO NOTHING RETURNING id",
        rule.id,
        rule.name,
        rule.issuer,
        document,
        rule.created_at,
    )
    if row is None:
        return False
    await tx.record(
        "trust.created",
        actor=rule.created_by,
        target=rule.id,
        at=rule.created_at,
        name=rule.name,
        issuer=rule.issuer,
        scope=" ".join(rule.scope),
        document=fingerprint(document),
        **({"networks": " ".join(rule.networks)} if rule.networks else {}),
    )
    return True


async def find_rule(tx: Transaction, name: str) -> Rule | None:
    """Return a rule by its identifier or, failing that, its name: a rule's name may be the identifier of another."""
    row = await tx.one(
        "SELECT document FROM trust_rules WHERE id = $1 OR name = $1 "
        "ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1",
        name,
    )
    return _decode(row["document"]) if row else None


async def rules_of(tx: Transaction, issuer: str) -> list[Rule]:
    """Return the rules for an issuer, oldest first."""
    rows = await tx.all("SELECT document FROM trust_rules WHERE issuer = $1 ORDER BY id", issuer)
    return [_decode(row["document"]) for row in rows]


async def list_rules(tx: Transaction, *, after: str, limit: int) -> list[Rule]:
    """Return a page of rules ordered by identifier."""
    rows = await tx.all("SELECT document FROM trust_rules WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
    return [_decode(row["document"]) for row in rows]


async def delete_rule(tx: Transaction, rule_id: str, *, actor: str, now: int) -> bool:
    """Delete a rule; return False when there was none. Tokens that it bought are inactive at introspection from then on."""
    row = await tx.one("DELETE FROM trust_rules WHERE id = $1 RETURNING name, issuer", rule_id)
    if row is None:
        return False
    await tx.record(
        "trust.deleted", actor=actor, target=rule_id, at=now, name=row["name"], issuer=row["issuer"]
    )
    return True


async def replace_rule(tx: Transaction, rule_id: str, rule: Rule) -> bool:
    """Replace a rule by another one of the same name; return False when the old one is gone."""
    if not await delete_rule(tx, rule_id, actor=rule.created_by, now=rule.created_at):
        return False
    return await create_rule(tx, rule)


async def find_asserted(tx: Transaction, issuer: str, subject: str) -> str | None:
    """Return the account of a provider's subject, or None."""
    row = await tx.one(
        "SELECT user_id FROM asserted_people WHERE issuer = $1 AND subject = $2", issuer, subject
    )
    return str(row["user_id"]) if row else None


async def find_by_address(tx: Transaction, canonical_email: str) -> User | None:
    """Return the account with this verified address, or None."""
    row = await tx.one(
        f"SELECT {COLUMNS} FROM users WHERE canonical_email = $1 AND email_verified_at IS NOT NULL",  # noqa: S608 - literals
        canonical_email,
    )
    return to_user(row) if row else None


async def use_assertion(tx: Transaction, use: Use, now: int) -> str:
    """Use up an assertion and store what it buys, both or neither (RFC 7523 §3 item 7): "accepted", "replayed", or "linked" when the
    account belongs to another subject of that provider, or is gone."""
    if not await use_identifier(tx, *use.used):
        await tx.record(
            "assertion.replayed", actor=use.client_id, target=use.rule_id, at=now, subject=use.subject
        )
        return "replayed"
    if use.link is not None and not await _link(tx, use.link, now):
        await tx.record(
            "assertion.refused",
            actor=use.client_id,
            target=use.rule_id,
            at=now,
            reason="account taken or gone",
        )
        return "linked"
    if use.row is not None:
        await store_token(tx, use.row)
    await tx.record(
        "assertion.accepted",
        actor=use.client_id,
        target=use.rule_id,
        at=now,
        subject=use.subject,
        **use.details,
    )
    return "accepted"


async def _link(tx: Transaction, link: Link, now: int) -> bool:
    await tx.run(
        "INSERT INTO asserted_people (issuer, subject, user_id, linked_at) SELECT $1, $2, $3, $4 FROM users WHERE id = $3 FOR KEY SHARE "
        "ON CONFLICT DO NOTHING",
        link.issuer,
        link.subject,
        link.user_id,
        now,
    )
    return await find_asserted(tx, link.issuer, link.subject) == link.user_id


async def note_refusal(tx: Transaction, *, client_id: str, target: str, reason: str, now: int) -> None:
    """Record that an assertion was refused, and why."""
    await tx.record("assertion.refused", actor=client_id, target=target, at=now, reason=reason)
