"""One-time links: made for one purpose, found by digest, used once; a subject has one live link for each purpose."""

import msgspec

from watchword.store import documents
from watchword.store.database import Row, Transaction

_decode = documents.reader(dict[str, object])


class Link(msgspec.Struct, frozen=True):
    """A live one-time link."""

    purpose: str
    subject: str
    data: dict[str, object]
    expires_at: int


async def create_link(
    tx: Transaction,
    digest: bytes,
    *,
    purpose: str,
    subject: str,
    data: dict[str, object],
    expires_at: int,
    now: int,
) -> None:
    """Store a link, replacing an unused one for the same purpose and subject."""
    await tx.run(
        "INSERT INTO one_time_links (digest, purpose, subject, data, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (subject, purpose) WHERE used_at IS NULL DO UPDATE SET digest = excluded.digest, data = excluded.data, "
        "created_at = excluded.created_at, expires_at = excluded.expires_at",
        digest,
        purpose,
        subject,
        msgspec.json.encode(data).decode(),
        now,
        expires_at,
    )


async def hand_over_link(
    tx: Transaction,
    digest: bytes,
    *,
    purpose: str,
    subject: str,
    data: dict[str, object],
    expires_at: int,
    now: int,
    actor: str,
    target: str,
    facts: dict[str, object],
) -> None:
    """Store a link that an operator makes for somebody: whoever has it gets into an account, so it is in the audit trail."""
    await create_link(tx, digest, purpose=purpose, subject=subject, data=data, expires_at=expires_at, now=now)
    await tx.record("link.made", actor=actor, target=target, at=now, purpose=purpose, **facts)


async def peek_link(tx: Transaction, digest: bytes, purpose: str, now: int) -> Link | None:
    """Return a live link without using it up."""
    row = await tx.one(
        "SELECT purpose, subject, data, expires_at FROM one_time_links "
        "WHERE digest = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3",
        digest,
        purpose,
        now,
    )
    return _link(row) if row else None


async def hold_link(tx: Transaction, digest: bytes, purpose: str, now: int) -> bool:
    """Whether a link is live; if so, it is locked until this transaction ends."""
    # A write that changes nothing takes the row's lock on PostgreSQL, which a plain read does not.
    row = await tx.one(
        "UPDATE one_time_links SET used_at = NULL WHERE digest = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3 "
        "RETURNING digest",
        digest,
        purpose,
        now,
    )
    return row is not None


async def find_live_link(tx: Transaction, subject: str, purpose: str, now: int) -> Link | None:
    """Return what a live link of a subject is for; the link itself is known to its holder only."""
    row = await tx.one(
        "SELECT purpose, subject, data, expires_at FROM one_time_links "
        "WHERE subject = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3",
        subject,
        purpose,
        now,
    )
    return _link(row) if row else None


def _link(row: Row) -> Link:
    data = _decode(row["data"])
    return Link(row["purpose"], row["subject"], data, row["expires_at"])


async def use_link(tx: Transaction, digest: bytes, purpose: str, now: int) -> Link | None:
    """Use up a live link and return it; of two concurrent uses one gets None."""
    row = await tx.one(
        "UPDATE one_time_links SET used_at = $1 WHERE digest = $2 AND purpose = $3 AND used_at IS NULL AND expires_at > $1 "
        "RETURNING purpose, subject, data, expires_at",
        now,
        digest,
        purpose,
    )
    return _link(row) if row else None


async def forget_links(tx: Transaction, subject: str, purpose: str) -> None:
    """Delete the unused links of a subject for a purpose."""
    await tx.run(
        "DELETE FROM one_time_links WHERE subject = $1 AND purpose = $2 AND used_at IS NULL", subject, purpose
    )
