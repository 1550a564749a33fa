"""Outgoing mail: sealed, and retried by any node until it is delivered or has expired."""

import msgspec

from watchword.store import unreadable
from watchword.store.database import Transaction
from watchword.telemetry import log

RETRY_SECONDS = 60
MAX_PENDING = 10_000


class Sealed(msgspec.Struct, frozen=True):
    """A mail that is ready for the outbox; times are Unix seconds."""

    id: str
    sealed: bytes
    created_at: int
    expires_at: int


class Outgoing(msgspec.Struct, frozen=True):
    """A mail that is to be sent; `sealed` holds address, template and context."""

    id: str
    sealed: bytes
    attempts: int
    created_at: int


async def add_mail(tx: Transaction, mail: Sealed) -> bool:
    """Put a mail into the outbox; return False when it is full, which the log says too."""
    row = await tx.one(
        "INSERT INTO outbox (id, sealed, created_at, next_at, expires_at) SELECT $1, $2, $3, $3, $4 "  # noqa: S608 - a literal
        f"WHERE (SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL) < {MAX_PENDING} RETURNING id",
        mail.id,
        mail.sealed,
        mail.created_at,
        mail.expires_at,
    )
    if row is None:
        log.error("mail.outbox_full")
    return row is not None


async def is_mail_due(tx: Transaction, now: int) -> bool:
    """Whether there is anything to send."""
    row = await tx.one(
        "SELECT 1 AS due FROM outbox WHERE next_at <= $1 AND delivered_at IS NULL AND expires_at > $1 LIMIT 1",
        now,
    )
    return row is not None


_OUTGOING: dict[str, type] = {"id": str, "sealed": bytes, "attempts": int, "created_at": int}


async def claim_mail(tx: Transaction, now: int) -> Outgoing | None:
    """Take a mail that is due; it comes back, later each time, unless it is reported delivered. One whose row is damaged is passed over."""
    claim = (
        f"UPDATE outbox SET attempts = attempts + 1, next_at = $1 + {RETRY_SECONDS} * (attempts + 1) * (attempts + 1) "  # noqa: S608 - a literal
        "WHERE delivered_at IS NULL AND id = (SELECT id FROM outbox WHERE next_at <= $1 AND delivered_at IS NULL AND expires_at > $1 "
        "ORDER BY next_at, id LIMIT 1) AND next_at <= $1 RETURNING id, sealed, attempts, created_at"
    )
    while rows := await tx.all_as_kept(claim, now):
        for row in unreadable.sound(rows, _OUTGOING, "outbox"):
            return Outgoing(row["id"], bytes(row["sealed"]), row["attempts"], row["created_at"])
    return None


async def note_delivered(tx: Transaction, mail_id: str) -> None:
    """Delete a mail that was delivered, or that has no recipient any more."""
    await tx.run("DELETE FROM outbox WHERE id = $1", mail_id)


async def keep_delivered(tx: Transaction, mail_id: str, sealed: bytes, now: int) -> None:
    """Keep a mail as it was delivered, to be shown (development)."""
    await tx.run("UPDATE outbox SET delivered_at = $1, sealed = $2 WHERE id = $3", now, sealed, mail_id)


async def list_mail(tx: Transaction, limit: int = 50) -> list[Outgoing]:
    """Return the newest delivered mails, newest first."""
    rows = await tx.all(
        "SELECT id, sealed, attempts, created_at FROM outbox WHERE delivered_at IS NOT NULL ORDER BY created_at DESC, id DESC LIMIT $1",
        limit,
    )
    return [Outgoing(row["id"], bytes(row["sealed"]), row["attempts"], row["created_at"]) for row in rows]
