"""Passkeys: the public halves of people's WebAuthn credentials, their names, counters and backup state."""

import msgspec

from watchword.credentials.passkey import Passkey
from watchword.store.database import Row, Transaction
from watchword.store.tokens import Used, use_identifier

MAX_PASSKEYS = 30


class StoredPasskey(msgspec.Struct, frozen=True, kw_only=True):
    """A person's passkey with the name they gave it; times are Unix seconds."""

    id: str
    user_id: str
    name: str
    created_at: int
    last_used_at: int | None
    passkey: Passkey


class MadePasskey(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey that was verified and is not stored yet, with the challenge that it answers."""

    stored: StoredPasskey
    challenge: Used


_COLUMNS = (
    "id, user_id, name, created_at, last_used_at, credential_id, user_handle, public_key, sign_count, backup_eligible, "
    "backed_up, user_verified, transports, aaguid"
)


def _stored(row: Row) -> StoredPasskey:
    passkey = Passkey(
        credential_id=bytes(row["credential_id"]),
        user_handle=bytes(row["user_handle"]),
        public_key=bytes(row["public_key"]),
        sign_count=row["sign_count"],
        backup_eligible=bool(row["backup_eligible"]),
        backed_up=bool(row["backed_up"]),
        user_verified=bool(row["user_verified"]),
        transports=tuple(row["transports"].split()),
        aaguid=row["aaguid"],
    )
    return StoredPasskey(
        id=row["id"],
        user_id=row["user_id"],
        name=row["name"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        passkey=passkey,
    )


async def add_passkey(tx: Transaction, made: MadePasskey, *, actor: str) -> bool:
    """Store a new passkey and use up its challenge; return False for a used challenge, a known credential or too many."""
    if not await use_identifier(tx, *made.challenge):
        return False
    stored = made.stored
    passkey = stored.passkey
    row = await tx.one(
        f"INSERT INTO passkeys ({_COLUMNS}) SELECT $1, $2, $3, $4, NULL, $5, $6, $7, $8, $9, $10, $11, $12, $13 "  # noqa: S608 - literals
        f"WHERE (SELECT COUNT(*) FROM passkeys WHERE user_id = $2) < {MAX_PASSKEYS} ON CONFLICT DO NOTHING RETURNING id",
        stored.id,
        stored.user_id,
        stored.name,
        stored.created_at,
        passkey.credential_id,
        passkey.user_handle,
        passkey.public_key,
        passkey.sign_count,
        int(passkey.backup_eligible),
        int(passkey.backed_up),
        int(passkey.user_verified),
        " ".join(passkey.transports),
        passkey.aaguid,
    )
    if row is not None:
        await tx.record(
            "passkey.added", actor=actor, target=stored.user_id, at=stored.created_at, passkey=stored.id
        )
    return row is not None


async def find_passkey(tx: Transaction, credential_id: bytes) -> StoredPasskey | None:
    """Return a passkey by its credential."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM passkeys WHERE credential_id = $1", credential_id)  # noqa: S608 - literals
    return _stored(row) if row else None


async def list_passkeys(tx: Transaction, user_id: str) -> list[StoredPasskey]:
    """Return a person's passkeys, oldest first."""
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM passkeys WHERE user_id = $1 ORDER BY created_at, id",  # noqa: S608 - literals
        user_id,
    )
    return [_stored(row) for row in rows]


async def use_passkey(
    tx: Transaction,
    passkey_id: str,
    *,
    sign_count: int,
    backed_up: bool,
    user_verified: bool,
    challenge: Used,
    now: int,
) -> bool:
    """Note an assertion and use up its challenge; return False when the challenge was used, or the signature counter did not increase.

    A passkey that has verified its user once is taken to be able to from then on.
    """
    if not await use_identifier(tx, *challenge):
        return False
    row = await tx.one(
        "UPDATE passkeys SET sign_count = $1, backed_up = $2, last_used_at = $3, "
        "user_verified = CASE WHEN $5 = 1 THEN 1 ELSE user_verified END "
        "WHERE id = $4 AND (sign_count < $1 OR $1 = 0) RETURNING id",
        sign_count,
        int(backed_up),
        now,
        passkey_id,
        int(user_verified),
    )
    return row is not None


async def note_copied_passkey(tx: Transaction, passkey_id: str, *, user_id: str, now: int) -> None:
    """Record that a counter went backwards: perhaps the key was copied (WebAuthn §7.2 step 22)."""
    await tx.record("passkey.counter_regressed", actor=user_id, target=user_id, at=now, passkey=passkey_id)


async def rename_passkey(tx: Transaction, passkey_id: str, user_id: str, name: str, *, now: int) -> None:
    """Rename one's own passkey, where there is such a one."""
    renamed = "UPDATE passkeys SET name = $1 WHERE id = $2 AND user_id = $3"
    if await tx.run(renamed, name, passkey_id, user_id):
        await tx.record("passkey.renamed", actor=user_id, target=user_id, at=now, passkey=passkey_id)
