"""OAuth access tokens: the opaque ones by digest, and the self-contained ones that were revoked."""

from collections.abc import Awaitable

import msgspec

from watchword.store import documents, faults
from watchword.store.database import Database, Transaction
from watchword.store.statuses import StatusMarks, append_marks, store_marks


class AccessToken(msgspec.Struct, frozen=True):
    """An opaque access token as it is stored; `claims` is JSON with what else introspection answers (`cnf`, `act`, …)."""

    client_id: str
    subject: str
    scope: str
    audience: str
    issued_at: int
    expires_at: int
    grant_id: str | None
    claims: str
    revoked_at: int | None = None


# What is stored for a new access token: the record of an opaque one, or what a JWT with a status depends on.
StoredToken = tuple[bytes, AccessToken] | StatusMarks

# A single-use identifier: its digest, until when its use is remembered, and the earliest time at which it can have been used (Unix seconds).
Used = tuple[bytes, int, int]
RESTORED = "restored_at"
AFTER_ANY_RESTORE = 2**62
# The CASE keeps a database that evaluates conditions in another order from casting the text of another fact.
_USE = (
    "INSERT INTO used_identifiers (digest, expires_at) SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM facts "
    "WHERE name = 'restored_at' AND CASE WHEN name = 'restored_at' THEN CAST(value AS BIGINT) ELSE 0 END >= $3) "
    "ON CONFLICT (digest) DO NOTHING RETURNING expires_at"
)

INSERT_ACCESS_TOKEN = (
    "INSERT INTO access_tokens (digest, client_id, subject, scope, audience, issued_at, expires_at, grant_id, claims) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
)


def insert_access_token(database: Database, digest: bytes, token: AccessToken) -> Awaitable[None]:
    """Queue a new opaque access token under its digest; durable once the awaitable completes."""
    return database.append(INSERT_ACCESS_TOKEN, *_values(digest, token))


def _values(digest: bytes, token: AccessToken) -> tuple[object, ...]:
    return (
        digest,
        token.client_id,
        token.subject,
        token.scope,
        token.audience,
        token.issued_at,
        token.expires_at,
        token.grant_id,
        token.claims,
    )


def append_token(database: Database, row: StoredToken) -> Awaitable[object]:
    """Queue what is stored for a new access token; durable once the awaitable completes."""
    if isinstance(row, StatusMarks):
        return append_marks(database, row)
    return insert_access_token(database, *row)


async def store_token(tx: Transaction, row: StoredToken) -> None:
    """Store what is kept for a new access token, inside an operation that changes more."""
    if isinstance(row, StatusMarks):
        await store_marks(tx, row)
        return
    await tx.run(INSERT_ACCESS_TOKEN, *_values(*row))


async def store_exchanged(
    tx: Transaction,
    row: StoredToken | None,
    *,
    client_id: str,
    subject: str,
    details: dict[str, object],
    now: int,
) -> None:
    """Record a token exchange (RFC 8693), and store what is kept for the new token."""
    if row is not None:
        await store_token(tx, row)
    await tx.record("access_token.exchanged", actor=client_id, target=subject, at=now, **details)


async def record_assertion(
    tx: Transaction, *, client_id: str, user_id: str, details: dict[str, object], now: int
) -> None:
    """Record that we made an identity assertion about a person for another server."""
    await tx.record("identity_assertion.issued", actor=client_id, target=user_id, at=now, **details)


async def record_taken(tx: Transaction, client_id: str, *, scope: str, actor: str, now: int) -> None:
    """Record that an administrator took a token that is a client's own, which issuing it to the client does not."""
    await tx.record("playground.token", actor=actor, target=client_id, at=now, scope=scope)


def token_id(digest: bytes) -> str:
    """Return the identifier of an opaque access token: a part of its digest, which reveals nothing of the token."""
    return f"ot_{digest[-12:].hex()}"


async def find_access_token(tx: Transaction, digest: bytes) -> AccessToken | None:
    """Return the opaque access token of a digest, expired and revoked ones included."""
    row = await tx.one(
        "SELECT client_id, subject, scope, audience, issued_at, expires_at, grant_id, claims, revoked_at "
        "FROM access_tokens WHERE digest = $1",
        digest,
    )
    if row is None:
        return None
    documents.check_whole(row, "issued_at", "expires_at")
    return AccessToken(*(row[column] for column in AccessToken.__struct_fields__))


async def revoke_access_token(
    tx: Transaction, digest: bytes, client_id: str, *, actor: str, now: int
) -> bool:
    """Revoke an opaque access token of a client; return whether there was one to revoke."""
    row = await tx.one(
        "UPDATE access_tokens SET revoked_at = $1 WHERE digest = $2 AND client_id = $3 AND revoked_at IS NULL RETURNING client_id",
        now,
        digest,
        client_id,
    )
    if row is None:
        return False
    faults.reach("token.revoked")
    await tx.record("access_token.revoked", actor=actor, target=token_id(digest), at=now, client=client_id)
    return True


async def revoke_jti(
    tx: Transaction,
    jti: str,
    expires_at: int,
    *,
    client_id: str,
    actor: str,
    now: int,
    status: StatusMarks | None = None,
) -> bool:
    """Revoke a self-contained access token by its identifier; return False when it was revoked before.

    `status` is its place in a status list, where it has one.
    """
    row = await tx.one(
        "INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2) ON CONFLICT (jti) DO NOTHING RETURNING jti",
        jti,
        expires_at,
    )
    if row is None:
        return False
    if status is not None:
        await store_marks(tx, status)
    await tx.record(
        "access_token.revoked", actor=actor, target=jti, at=now, client=client_id, expires_at=expires_at
    )
    return True


async def note_exposed(
    tx: Transaction, digest: bytes, event: str, target: str, *, actor: str, now: int
) -> bool:
    """Record that a token or a session travelled in the clear, once a day; return whether this was the first report."""
    if not await use_identifier(tx, digest, now + 86_400):
        return False
    await tx.record(event, actor=actor, target=target, at=now)
    return True


async def is_jti_revoked(tx: Transaction, jti: str) -> bool:
    """Whether a self-contained token was revoked."""
    return await tx.one("SELECT 1 AS found FROM revoked_tokens WHERE jti = $1", jti) is not None


async def use_identifier(
    tx: Transaction, digest: bytes, expires_at: int, earliest: int = AFTER_ANY_RESTORE
) -> bool:
    """Use up an identifier; return True for the first use only, over all processes and nodes.

    A restored database does not know what was used since its backup, so an identifier that can have been used by the time of the
    restore, by its `earliest`, counts as used.
    """
    return await tx.one(_USE, digest, expires_at, earliest) is not None


async def note_restored(tx: Transaction, now: int) -> None:
    """Store when the database was restored: identifiers were used up to then that it does not know."""
    await tx.run(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        RESTORED,
        str(now),
    )
