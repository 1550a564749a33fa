"""Second factors: the sealed key of an authenticator application, recovery codes by digest, codes sent by mail by keyed digest."""

import msgspec

from watchword.credentials.email_code import MAX_ATTEMPTS, Challenge
from watchword.store.database import Transaction
from watchword.store.users import hold_address, outdate_proofs


class Totp(msgspec.Struct, frozen=True):
    """An authenticator application; times are Unix seconds, `last_step` the step of the last code that was used."""

    sealed_key: bytes
    created_at: int
    last_step: int
    last_used_at: int | None


class Enrolled(msgspec.Struct, frozen=True):
    """What a person has set up."""

    passkeys: int
    totp: bool
    recovery_codes: int
    recovery_made_at: int | None
    email_code: bool


async def enrolled(tx: Transaction, user_id: str) -> Enrolled:
    """Return which second factors a person has."""
    row = await tx.one(
        "SELECT (SELECT COUNT(*) FROM passkeys WHERE user_id = $1) AS passkeys, "
        "(SELECT COUNT(*) FROM totp_keys WHERE user_id = $1) AS totp, "
        "(SELECT COUNT(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL) AS codes, "
        "(SELECT MAX(created_at) FROM recovery_codes WHERE user_id = $1) AS made, "
        "(SELECT COUNT(*) FROM users WHERE id = $1 AND email_code_on = 1 AND email_verified_at IS NOT NULL) AS email",
        user_id,
    )
    assert row is not None
    return Enrolled(row["passkeys"], row["totp"] > 0, row["codes"], row["made"], row["email"] > 0)


async def find_totp(tx: Transaction, user_id: str) -> Totp | None:
    """Return a person's authenticator application."""
    row = await tx.one(
        "SELECT sealed_key, created_at, last_step, last_used_at FROM totp_keys WHERE user_id = $1", user_id
    )
    if row is None:
        return None
    return Totp(bytes(row["sealed_key"]), row["created_at"], row["last_step"], row["last_used_at"])


async def add_totp(
    tx: Transaction, user_id: str, sealed_key: bytes, *, step: int, actor: str, now: int
) -> bool:
    """Keep an application whose first code was right; return False when there is one already."""
    row = await tx.one(
        "INSERT INTO totp_keys (user_id, sealed_key, created_at, last_step, last_used_at) VALUES ($1, $2, $3, $4, $3) "
        "ON CONFLICT DO NOTHING RETURNING user_id",
        user_id,
        sealed_key,
        now,
        step,
    )
    if row is not None:
        await tx.record("totp.added", actor=actor, target=user_id, at=now)
    return row is not None


async def use_totp_step(tx: Transaction, user_id: str, step: int, now: int) -> bool:
    """Mark the code of a time step as used; return False when it or a later one was used before (RFC 6238 §5.2, LG-09)."""
    row = await tx.one(
        "UPDATE totp_keys SET last_step = $1, last_used_at = $2 WHERE user_id = $3 AND last_step < $1 RETURNING user_id",
        step,
        now,
        user_id,
    )
    return row is not None


async def remove_totp(tx: Transaction, user_id: str, *, actor: str, now: int) -> bool:
    """Remove a person's application; return whether there was one."""
    removed = await tx.run("DELETE FROM totp_keys WHERE user_id = $1", user_id)
    if removed:
        await outdate_proofs(tx, user_id)
        await tx.record("totp.removed", actor=actor, target=user_id, at=now)
    return removed > 0


async def replace_recovery_codes(
    tx: Transaction, user_id: str, digests: list[bytes], *, actor: str, now: int
) -> bool:
    """Give a person a new set of codes and delete the old one; return False when the account is gone."""
    # The account's row is locked first: otherwise a set being made at the same time would not be seen and deleted.
    if not await outdate_proofs(tx, user_id):
        return False
    await tx.run("DELETE FROM recovery_codes WHERE user_id = $1", user_id)
    for digest in digests:
        await tx.run(
            "INSERT INTO recovery_codes (digest, user_id, created_at) VALUES ($1, $2, $3)",
            digest,
            user_id,
            now,
        )
    await tx.record("recovery_codes.made", actor=actor, target=user_id, at=now)
    return True


async def has_recovery_code(tx: Transaction, user_id: str, digest: bytes) -> bool:
    """Whether a person has this code and has not used it."""
    row = await tx.one(
        "SELECT 1 AS found FROM recovery_codes WHERE digest = $1 AND user_id = $2 AND used_at IS NULL",
        digest,
        user_id,
    )
    return row is not None


async def use_recovery_code(tx: Transaction, user_id: str, digest: bytes, now: int) -> bool:
    """Use up one of a person's codes; of two concurrent uses one gets False."""
    row = await tx.one(
        "UPDATE recovery_codes SET used_at = $1 WHERE digest = $2 AND user_id = $3 AND used_at IS NULL RETURNING user_id",
        now,
        digest,
        user_id,
    )
    if row is not None:
        await tx.record("recovery_code.used", actor=user_id, target=user_id, at=now)
    return row is not None


async def keep_email_code(
    tx: Transaction, user_id: str, purpose: str, digest: bytes, *, email: str, expires_at: int
) -> bool:
    """Store a code that is about to be sent to a person's verified address, replacing an older one for the same purpose.

    Return False when that is no longer their address: what is mailed there must open nothing.
    """
    if not await hold_address(tx, user_id, email):
        return False
    await tx.run(
        "INSERT INTO email_codes (user_id, purpose, digest, expires_at) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (user_id, purpose) DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at, "
        "attempts = 0, used_at = NULL",
        user_id,
        purpose,
        digest,
        expires_at,
    )
    return True


async def has_live_email_code(tx: Transaction, user_id: str, purpose: str, now: int) -> bool:
    """Whether a code was sent that can still be used; it cannot after too many attempts."""
    row = await tx.one(
        "SELECT 1 AS live FROM email_codes WHERE user_id = $1 AND purpose = $2 AND expires_at > $3 AND used_at IS NULL AND attempts < $4",
        user_id,
        purpose,
        now,
        MAX_ATTEMPTS,
    )
    return row is not None


async def try_email_code(tx: Transaction, user_id: str, purpose: str) -> Challenge | None:
    """Count an attempt, before it is judged, and return the code to compare it with."""
    row = await tx.one(
        "UPDATE email_codes SET attempts = attempts + 1 WHERE user_id = $1 AND purpose = $2 "
        "RETURNING digest, expires_at, attempts, used_at",
        user_id,
        purpose,
    )
    if row is None:
        return None
    return Challenge(bytes(row["digest"]), row["expires_at"], row["attempts"], row["used_at"] is not None)


async def use_email_code(tx: Transaction, user_id: str, purpose: str, digest: bytes, now: int) -> bool:
    """Use up a code; of two concurrent uses one gets False."""
    row = await tx.one(
        "UPDATE email_codes SET used_at = $1 WHERE user_id = $2 AND purpose = $3 AND digest = $4 AND used_at IS NULL RETURNING user_id",
        now,
        user_id,
        purpose,
        digest,
    )
    return row is not None


async def set_email_code(tx: Transaction, user_id: str, on: bool, *, actor: str, now: int) -> bool:
    """Switch codes by mail on or off; return False without a verified address."""
    changed = await tx.run(
        "UPDATE users SET email_code_on = $1, proof_epoch = proof_epoch + 1 - $1 "
        "WHERE id = $2 AND (email_verified_at IS NOT NULL OR $1 = 0)",
        int(on),
        user_id,
    )
    if changed:
        await tx.record("email_code.on" if on else "email_code.off", actor=actor, target=user_id, at=now)
    return changed > 0
