"""Zero-knowledge identities registered for users and clients: the public documents, and whether they were revoked."""

import msgspec

from watchword.store import unreadable
from watchword.store.api_tokens import OWNERS
from watchword.store.database import Row, Transaction
from watchword.store.tokens import Used, use_identifier

MAX_IDENTITIES = 50  # of one owner that registers them itself; a renewal takes no other place
# Seconds: what is registered and revoked, over and over, counts as well. The row stays for good, as the revocation does.
COUNTS_REVOKED = 90 * 86_400
_TAKEN = "SELECT COUNT(*) AS places FROM identities WHERE owner_id = $1 AND (revoked_at IS NULL OR revoked_at > $2)"


class RegisteredIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """An identity as registered; `document` is its public document as JSON, times are Unix seconds."""

    id: str
    owner_kind: str
    owner_id: str
    name: str
    document: str
    registered_at: int
    expires_at: int
    revoked_at: int | None = None
    last_used_at: int | None = None


_NAMES = RegisteredIdentity.__struct_fields__
_COLUMNS = ", ".join(_NAMES)


def _identity(row: Row) -> RegisteredIdentity:
    return RegisteredIdentity(**{name: row[name] for name in _NAMES})


async def register_identity(
    tx: Transaction,
    identity: RegisteredIdentity,
    public_point: bytes,
    *,
    actor: str,
    used: Used | None = None,
) -> bool:
    """Store an identity and use up its challenge; return False when the challenge was used, the point is registered to anybody, or the
    owner is gone or has registered as many as may be: operators, who need no proof, have no bound."""
    if identity.owner_kind in OWNERS and not await tx.run(OWNERS[identity.owner_kind], identity.owner_id):
        return False
    if used is not None and not await use_identifier(tx, *used):
        return False
    if used is not None and await has_many(tx, identity.owner_id, identity.registered_at):
        return False
    row = await tx.one(
        "INSERT INTO identities (id, public_point, owner_kind, owner_id, name, document, registered_at, expires_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING id",
        identity.id,
        public_point,
        identity.owner_kind,
        identity.owner_id,
        identity.name,
        identity.document,
        identity.registered_at,
        identity.expires_at,
    )
    if row is None:
        return False
    await tx.record(
        "identity.registered",
        actor=actor,
        target=identity.id,
        at=identity.registered_at,
        owner=identity.owner_id,
    )
    return True


async def has_many(tx: Transaction, owner_id: str, now: int) -> bool:
    """Whether an owner has as many identities as may be, with those that were revoked in the last three months."""
    row = await tx.one(_TAKEN, owner_id, now - COUNTS_REVOKED)
    return row is not None and row["places"] >= MAX_IDENTITIES


async def find_identity(tx: Transaction, public_point: bytes) -> RegisteredIdentity | None:
    """Return the identity of a public point, whatever its state."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM identities WHERE public_point = $1", public_point)  # noqa: S608 - literals
    return _identity(row) if row else None


def is_live(identity: RegisteredIdentity, now: int) -> bool:
    """Whether an identity still proves its owner."""
    return identity.revoked_at is None and identity.expires_at > now


async def list_identities(tx: Transaction, owner_id: str) -> list[RegisteredIdentity]:
    """Return an owner's identities, the newest first."""
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM identities WHERE owner_id = $1 ORDER BY registered_at DESC, id",  # noqa: S608 - literals
        owner_id,
    )
    return [_identity(row) for row in rows]


async def renew_identity(
    tx: Transaction, public_point: bytes, *, known: str, document: str, expires_at: int, now: int
) -> bool:
    """Replace an identity's document by its renewal, unless it changed or was revoked meanwhile."""
    row = await tx.one(
        "UPDATE identities SET document = $1, expires_at = $2 "
        "WHERE public_point = $3 AND document = $4 AND revoked_at IS NULL RETURNING id",
        document,
        expires_at,
        public_point,
        known,
    )
    if row is None:
        return False
    await tx.record("identity.renewed", actor=row["id"], target=row["id"], at=now, expires_at=expires_at)
    return True


async def revoke_identity(
    tx: Transaction, public_point: bytes, *, owner_id: str = "", actor: str, now: int
) -> bool:
    """Revoke an identity, of one owner if named; return False when there is none alive."""
    # An owner who is a person has their row locked first: the order in which every way in is removed from an account.
    await tx.run(
        "UPDATE users SET proof_epoch = proof_epoch + 1 WHERE id IN (SELECT owner_id FROM identities "
        "WHERE public_point = $1 AND ($2 = '' OR owner_id = $2) AND revoked_at IS NULL)",
        public_point,
        owner_id,
    )
    row = await tx.one(
        "UPDATE identities SET revoked_at = $1 WHERE public_point = $2 AND ($3 = '' OR owner_id = $3) "
        "AND revoked_at IS NULL RETURNING id",
        now,
        public_point,
        owner_id,
    )
    if row is None:
        return False
    await tx.record("identity.revoked", actor=actor, target=row["id"], at=now)
    return True


async def revoke_identities_of(tx: Transaction, owner: tuple[str, str], *, actor: str, now: int) -> None:
    """Revoke every identity of an owner (kind, identifier), who ends."""
    rows = await tx.all_as_kept(
        "UPDATE identities SET revoked_at = $1 WHERE owner_kind = $2 AND owner_id = $3 AND revoked_at IS NULL RETURNING id",
        now,
        *owner,
    )
    for row in unreadable.sound(rows, {"id": str}, "identities"):
        await tx.record("identity.revoked", actor=actor, target=row["id"], at=now)


async def use_identity(tx: Transaction, used: Used, public_point: bytes, now: int) -> str:
    """Use up a challenge and note the identity's use: "used", "replayed" when the challenge was used before, or "ended" when the
    identity is not live."""
    if not await use_identifier(tx, *used):
        return "replayed"
    row = await tx.one(
        "UPDATE identities SET last_used_at = $1 WHERE public_point = $2 AND revoked_at IS NULL AND expires_at > $1 RETURNING id",
        now,
        public_point,
    )
    return "ended" if row is None else "used"
