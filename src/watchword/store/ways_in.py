"""The ways in which a person can sign in, of which the last one stays.

Theory of operation. Whatever takes a way writes the account's row first: whoever takes another one waits, and counts afterwards.
"""

from dataclasses import dataclass

from watchword.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Taken:
    """By what people sign in at this service: what nobody can sign in by is no way that is left."""

    password: bool
    passkey: bool
    issuers: frozenset[str]


async def has_other_way(
    tx: Transaction, user_id: str, taken: Taken, *, passkey: str = "", issuer: str = ""
) -> bool:
    """Whether a person can sign in without one of their passkeys, or without their accounts at an issuer."""
    row = await tx.one(
        "SELECT (SELECT COUNT(*) FROM users WHERE id = $1 AND password_hash IS NOT NULL) AS passwords, "
        "(SELECT COUNT(*) FROM passkeys WHERE user_id = $1 AND id <> $2) AS passkeys",
        user_id,
        passkey,
    )
    assert row is not None
    if (taken.password and row["passwords"]) or (taken.passkey and row["passkeys"]):
        return True
    linked = await tx.all(
        "SELECT issuer FROM upstream_accounts WHERE user_id = $1 AND issuer <> $2", user_id, issuer
    )
    return any(row["issuer"] in taken.issuers for row in linked)


async def remove_passkey(
    tx: Transaction, passkey_id: str, user_id: str, taken: Taken, *, actor: str, now: int
) -> str:
    """Remove one's own passkey: "removed", "unknown", or "last" when it is the only way in."""
    await _hold(tx, user_id)
    if taken.passkey and not await has_other_way(tx, user_id, taken, passkey=passkey_id):
        return "last"
    if not await tx.run("DELETE FROM passkeys WHERE id = $1 AND user_id = $2", passkey_id, user_id):
        return "unknown"
    await tx.record("passkey.removed", actor=actor, target=user_id, at=now, passkey=passkey_id)
    return "removed"


async def unlink_upstream(
    tx: Transaction, user_id: str, issuer: str, taken: Taken, *, actor: str, now: int
) -> str:
    """Unlink a person's accounts of an issuer: "removed", "unknown", or "last" when they are the only way in."""
    await _hold(tx, user_id)
    if not await has_other_way(tx, user_id, taken, issuer=issuer):
        return "last"
    if not await tx.run("DELETE FROM upstream_accounts WHERE user_id = $1 AND issuer = $2", user_id, issuer):
        return "unknown"
    await tx.record("upstream.unlinked", actor=actor, target=user_id, at=now, issuer=issuer)
    return "removed"


async def _hold(tx: Transaction, user_id: str) -> None:
    await tx.run("UPDATE users SET valid_from = valid_from WHERE id = $1", user_id)
