"""The ways in which a person can sign in, of which the last one cannot be removed.

Theory of operation. Whatever removes a way locks the account's row first: a concurrent removal waits, and counts afterwards. A passkey
that never verified its user is a second factor and no way in: alone it is refused at sign-in.
"""

import msgspec

from watchword.store.database import Transaction
from watchword.store.identities import RegisteredIdentity, revoke_identity
from watchword.store.users import outdate_proofs


class Accepted(msgspec.Struct, frozen=True):
    """The ways to sign in that this service accepts: one that it does not accept does not count as left."""

    password: bool
    passkey: bool
    identity: bool
    issuers: frozenset[str]


async def has_other_way(
    tx: Transaction,
    user_id: str,
    accepted: Accepted,
    now: int,
    *,
    passkey: str = "",
    identity: str = "",
    issuer: str = "",
) -> bool:
    """Whether a person can sign in without a passkey or an identity of theirs, or without their accounts at an issuer."""
    row = await tx.one(
        "SELECT (SELECT COUNT(*) FROM users WHERE id = $1 AND password_hash IS NOT NULL) AS passwords, "
        "(SELECT COUNT(*) FROM passkeys WHERE user_id = $1 AND id <> $2 AND user_verified = 1) AS passkeys, "
        "(SELECT COUNT(*) FROM identities WHERE owner_id = $1 AND id <> $3 AND revoked_at IS NULL AND expires_at > $4) AS identities",
        user_id,
        passkey,
        identity,
        now,
    )
    assert row is not None
    ways = (accepted.password, "passwords"), (accepted.passkey, "passkeys"), (accepted.identity, "identities")
    if any(is_accepted and row[name] for is_accepted, name in ways):
        return True
    linked = await tx.all(
        "SELECT issuer FROM upstream_accounts WHERE user_id = $1 AND issuer <> $2", user_id, issuer
    )
    return any(row["issuer"] in accepted.issuers for row in linked)


async def remove_passkey(
    tx: Transaction, passkey_id: str, user_id: str, accepted: Accepted, *, actor: str, now: int
) -> str:
    """Remove one's own passkey: "removed", "unknown", or "last" when it is the only way in."""
    await _hold(tx, user_id)
    if accepted.passkey and not await has_other_way(tx, user_id, accepted, now, passkey=passkey_id):
        return "last"
    if not await tx.run("DELETE FROM passkeys WHERE id = $1 AND user_id = $2", passkey_id, user_id):
        return "unknown"
    await outdate_proofs(tx, user_id)
    await tx.record("passkey.removed", actor=actor, target=user_id, at=now, passkey=passkey_id)
    return "removed"


async def revoke_own_identity(
    tx: Transaction, identity: RegisteredIdentity, point: bytes, accepted: Accepted, *, now: int
) -> str:
    """Revoke an identity for its signed-in owner: "removed", "unknown", or "last" when it is the only way in.

    The holder's signed revocation works even then: a stolen secret is worse than no way in.
    """
    owner = identity.owner_id
    await _hold(tx, owner)
    if accepted.identity and not await has_other_way(tx, owner, accepted, now, identity=identity.id):
        return "last"
    revoked = await revoke_identity(tx, point, owner_id=owner, actor=owner, now=now)
    return "removed" if revoked else "unknown"


async def unlink_upstream(
    tx: Transaction, user_id: str, issuer: str, accepted: Accepted, *, actor: str, now: int
) -> str:
    """Unlink a person's accounts of an issuer: "removed", "unknown", or "last" when they are the only way in."""
    await _hold(tx, user_id)
    if issuer in accepted.issuers and not await has_other_way(tx, user_id, accepted, now, issuer=issuer):
        return "last"
    if not await tx.run("DELETE FROM upstream_accounts WHERE user_id = $1 AND issuer = $2", user_id, issuer):
        return "unknown"
    await outdate_proofs(tx, user_id)
    await tx.record("upstream.unlinked", actor=actor, target=user_id, at=now, issuer=issuer)
    return "removed"


async def _hold(tx: Transaction, user_id: str) -> None:
    await tx.run("UPDATE users SET valid_from = valid_from WHERE id = $1", user_id)
