"""Signing keys at rest: public part in the clear, private part sealed by the caller; and facts about this database.

A key is *next* while it is only published (`activates_at` is NULL), *current* from its activation, and *retiring* from the
activation of its successor until `retires_at`, when the last token that it signed has expired.
"""

from collections.abc import Collection

import msgspec

from watchword.store.database import Row, Transaction
from watchword.store.documents import bytes_of

STEP = 100


class StoredKey(msgspec.Struct, frozen=True):
    """One signing key; `sealed_private` is opaque here. Times are Unix seconds."""

    kid: str
    algorithm: str
    public_jwk: str
    sealed_private: bytes
    created_at: int
    activates_at: int | None
    retires_at: int | None = None


_COLUMNS = "kid, algorithm, public_jwk, sealed_private, created_at, activates_at, retires_at"


def _key(row: Row) -> StoredKey:
    return StoredKey(*(row[column] for column in _COLUMNS.split(", ")))


async def list_keys(tx: Transaction, now: int) -> list[StoredKey]:
    """Return the keys that are published: neither revoked nor past the end of their overlap."""
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM signing_keys WHERE revoked_at IS NULL AND (retires_at IS NULL OR retires_at > $1) "  # noqa: S608 - literals
        "ORDER BY created_at, kid",
        now,
    )
    return [_key(row) for row in rows]


async def list_former_keys(tx: Transaction, now: int) -> list[StoredKey]:
    """Return the keys past the end of their overlap that were not revoked and not forgotten yet."""
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM signing_keys WHERE revoked_at IS NULL AND retires_at <= $1 ORDER BY created_at, kid",  # noqa: S608 - literals
        now,
    )
    return [_key(row) for row in rows]


async def create_keys(
    tx: Transaction,
    algorithm: str,
    keys: list[StoredKey],
    *,
    seen: Collection[str] = (),
    actor: str,
    now: int,
) -> bool:
    """Store keys of an algorithm of which those `seen` are published; return False when another process did so meanwhile."""
    name = f"first key {algorithm}"
    # Read before the keys: whoever stores keys after those were read has changed it.
    last = await get_fact(tx, name)
    if {key.kid for key in await list_keys(tx, now) if key.algorithm == algorithm} != set(seen):
        return False
    claimed = await tx.run(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE facts.value = $3",
        name,
        keys[0].kid,
        last or "",
    )
    if not claimed:
        return False
    for key in keys:
        await _insert(tx, key, actor, now)
    return True


async def _insert(tx: Transaction, key: StoredKey, actor: str, now: int) -> None:
    await tx.run(
        f"INSERT INTO signing_keys ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)",  # noqa: S608 - literals
        key.kid,
        key.algorithm,
        key.public_jwk,
        key.sealed_private,
        key.created_at,
        key.activates_at,
        key.retires_at,
    )
    await tx.record("key.created", actor=actor, target=key.kid, at=now, algorithm=key.algorithm)


async def rotate_key(
    tx: Transaction,
    promoted: str,
    successor: StoredKey,
    *,
    activates_at: int,
    retires_at: int,
    actor: str,
    now: int,
) -> bool:
    """Make the next key current and publish its successor; of two nodes that rotate at once one gets False (KR-02)."""
    row = await tx.one(
        "UPDATE signing_keys SET activates_at = $1 WHERE kid = $2 AND activates_at IS NULL AND revoked_at IS NULL RETURNING kid",
        activates_at,
        promoted,
    )
    if row is None:
        return False
    await tx.run(
        "UPDATE signing_keys SET retires_at = $1 WHERE algorithm = $2 AND kid <> $3 AND activates_at IS NOT NULL AND retires_at IS NULL",
        retires_at,
        successor.algorithm,
        promoted,
    )
    await _insert(tx, successor, actor, now)
    await tx.record(
        "key.rotated",
        actor=actor,
        target=promoted,
        at=now,
        algorithm=successor.algorithm,
        activates_at=activates_at,
    )
    return True


async def hasten_key(tx: Transaction, kid: str, *, algorithm: str, actor: str, now: int) -> bool:
    """Let a key that was to take over later, or waits, sign at once; return False when it signs already or was revoked."""
    row = await tx.one(
        "UPDATE signing_keys SET activates_at = $1 WHERE kid = $2 AND coalesce(activates_at, $1 + 1) > $1 AND revoked_at IS NULL RETURNING kid",
        now,
        kid,
    )
    if row is None:
        return False
    await tx.record("key.rotated", actor=actor, target=kid, at=now, algorithm=algorithm, activates_at=now)
    return True


class Succession(msgspec.Struct, frozen=True):
    """Which key replaces a revoked one and from when, and until when the others stay published.

    `following` is published as the new next key; None where the replacement was about to take over anyway, or no other is to be made.
    """

    kid: str
    algorithm: str
    activates_at: int
    following: StoredKey | None = None
    retires_at: int = 0


async def revoke_key(
    tx: Transaction, kid: str, succession: Succession | None = None, *, actor: str, now: int
) -> bool:
    """Revoke a key, and let another take its place; what it signed is refused from now on (KR-03)."""
    row = await tx.one(
        "UPDATE signing_keys SET revoked_at = $1 WHERE kid = $2 AND revoked_at IS NULL RETURNING kid",
        now,
        kid,
    )
    if row is None:
        return False
    if succession is not None:
        await _succeed(tx, succession, actor, now)
    await tx.record("key.revoked", actor=actor, target=kid, at=now)
    return True


async def _succeed(tx: Transaction, succession: Succession, actor: str, now: int) -> None:
    """Let a key take over, unless another node has done so meanwhile."""
    if succession.following is None:
        await hasten_key(tx, succession.kid, algorithm=succession.algorithm, actor=actor, now=now)
    else:
        await rotate_key(
            tx,
            succession.kid,
            succession.following,
            activates_at=succession.activates_at,
            retires_at=succession.retires_at,
            actor=actor,
            now=now,
        )


async def replace_next(tx: Transaction, kid: str, successor: StoredKey, *, actor: str, now: int) -> bool:
    """Revoke a next key and publish another in its place; return False when it is not next any more."""
    row = await tx.one(
        "UPDATE signing_keys SET revoked_at = $1 WHERE kid = $2 AND activates_at IS NULL AND revoked_at IS NULL RETURNING kid",
        now,
        kid,
    )
    if row is None:
        return False
    await _insert(tx, successor, actor, now)
    await tx.record("key.revoked", actor=actor, target=kid, at=now)
    return True


async def purge_keys(tx: Transaction, before: int) -> int:
    """Forget keys that were revoked, or whose last token expired, before a moment; return how many."""
    return await tx.run(
        "DELETE FROM signing_keys WHERE kid IN (SELECT kid FROM signing_keys "  # noqa: S608 - a literal number
        f"WHERE revoked_at < $1 OR retires_at < $1 ORDER BY kid LIMIT {STEP})",
        before,
    )


async def find_secret(tx: Transaction, name: str) -> bytes | None:
    """Return a sealed secret of the server's own, or None."""
    row = await tx.one("SELECT sealed FROM secrets WHERE name = $1", name)
    return bytes_of(row, "sealed") if row else None


async def keep_secret(tx: Transaction, name: str, sealed: bytes, now: int) -> bytes:
    """Store a sealed secret unless another node was first; return the one that is stored."""
    claimed = await tx.run(
        "INSERT INTO secrets (name, sealed, created_at) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING",
        name,
        sealed,
        now,
    )
    if claimed:
        await tx.record("key.created", actor="system", target=name, at=now)
        return sealed
    return await find_secret(tx, name) or sealed


async def oldest_key(tx: Transaction) -> StoredKey | None:
    """Return the oldest signing key that is still stored, whatever its state; None when there is none."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM signing_keys ORDER BY created_at, kid LIMIT 1")  # noqa: S608 - literals
    return _key(row) if row else None


async def keep_root(tx: Transaction, name: str, sealed: bytes, now: int, *, is_new: bool) -> None:
    """Store the sealed root secret unless another node was first; a new one only while no signing key can depend on another."""
    claimed = await tx.run(
        "INSERT INTO secrets (name, sealed, created_at) SELECT $1, $2, $3 "
        "WHERE $4 = 0 OR NOT EXISTS (SELECT 1 FROM signing_keys) ON CONFLICT (name) DO NOTHING",
        name,
        sealed,
        now,
        int(is_new),
    )
    if claimed:
        await tx.record("key.created", actor="system", target=name, at=now)


async def lock_secret(tx: Transaction, name: str) -> bytes | None:
    """Return a sealed secret, locked until this transaction ends; None when there is none."""
    row = await tx.one("UPDATE secrets SET sealed = sealed WHERE name = $1 RETURNING sealed", name)
    return bytes_of(row, "sealed") if row else None


async def exchange_master(
    tx: Transaction, name: str, sealed: bytes, *, actor: str, now: int, **data: object
) -> None:
    """Replace the secret that this transaction has locked by the same one sealed under another master key."""
    await tx.run("UPDATE secrets SET sealed = $1 WHERE name = $2", sealed, name)
    await tx.record("master_key.rotated", actor=actor, target=name, at=now, **data)


async def get_fact(tx: Transaction, name: str) -> str | None:
    """Return a fact about this database, or None."""
    row = await tx.one("SELECT value FROM facts WHERE name = $1", name)
    return str(row["value"]) if row else None


async def set_fact(tx: Transaction, name: str, value: str) -> None:
    """Set a fact about this database."""
    await tx.run(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name,
        value,
    )


async def touch(tx: Transaction, mark: str) -> None:
    """Write something without meaning, to learn whether writes can be committed; `mark` is new each time: SQLite skips a write that
    changes nothing."""
    await set_fact(tx, "ready", mark)
    # No change is committed without its event: an insertion of no rows says whether the trail takes one.
    await tx.run("INSERT INTO events SELECT * FROM events WHERE 1 = 0")
