"""Browsers that a person was seen with, by digest of the browser's own value; some are trusted for a while."""

import msgspec

from watchword.store.database import Transaction
from watchword.store.grants import hold_session
from watchword.store.users import hold_user


class Sighting(msgspec.Struct, frozen=True):
    """What was known of a device before this sign-in."""

    known: bool
    others: bool


async def find_trust(tx: Transaction, user_id: str, browser: bytes, now: int) -> bool:
    """Whether a person may skip the second factor in this browser."""
    row = await tx.one(
        "SELECT 1 AS trusted FROM browsers WHERE user_id = $1 AND browser = $2 AND trusted_until > $3",
        user_id,
        browser,
        now,
    )
    return row is not None


async def is_known(tx: Transaction, user_id: str, browser: bytes) -> bool:
    """Whether a person was signed in with a browser before."""
    row = await tx.one(
        "SELECT 1 AS known FROM browsers WHERE user_id = $1 AND browser = $2", user_id, browser
    )
    return row is not None


async def note_browser(tx: Transaction, user_id: str, browser: bytes, now: int) -> Sighting:
    """Note that a person signed in with a browser; return whether this one, and whether any other, was known.

    Nothing is noted of somebody whose account was deleted meanwhile.
    """
    row = await tx.one(
        "SELECT COALESCE(SUM(CASE WHEN browser = $2 THEN 1 ELSE 0 END), 0) AS known, COUNT(*) AS devices FROM browsers WHERE user_id = $1",
        user_id,
        browser,
    )
    await tx.run(
        "INSERT INTO browsers (user_id, browser, first_seen_at, last_seen_at) "
        "SELECT $1, $2, $3, $3 FROM users WHERE id = $1 FOR KEY SHARE "
        "ON CONFLICT (user_id, browser) DO UPDATE SET last_seen_at = excluded.last_seen_at",
        user_id,
        browser,
        now,
    )
    known, devices = (int(row["known"]), int(row["devices"])) if row else (0, 0)
    return Sighting(known > 0, devices > known)


async def trust_browser(
    tx: Transaction, user_id: str, browser: bytes, session_id: str, *, proof_epoch: int, until: int, now: int
) -> bool:
    """Let a person skip the second factor in a known browser, as they asked for in a session.

    Return False when the session, or the proof behind it, was ended meanwhile: that ended the trust as well.
    """
    if not await hold_user(tx, user_id, proof_epoch) or not await hold_session(tx, session_id, now):
        return False
    trust = "UPDATE browsers SET trusted_until = $1 WHERE user_id = $2 AND browser = $3"
    if not await tx.run(trust, until, user_id, browser):
        return False
    told = {"session": session_id, "until": until}
    await tx.record("browser.trusted", actor=user_id, target=user_id, at=now, **told)
    return True


async def forget_trust(tx: Transaction, user_id: str, browser: bytes | None = None) -> None:
    """Ask for the second factor again with one browser of a person, or with every one."""
    await tx.run(
        "UPDATE browsers SET trusted_until = NULL WHERE user_id = $1 AND browser = COALESCE($2, browser)",
        user_id,
        browser,
    )


async def purge_browsers(tx: Transaction, before: int) -> int:
    """Forget browsers that were not seen for long."""
    return await tx.run(
        "DELETE FROM browsers WHERE last_seen_at < $1 AND (user_id, browser) IN "
        "(SELECT user_id, browser FROM browsers WHERE last_seen_at < $1 LIMIT 500)",
        before,
    )
