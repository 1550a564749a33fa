"""What a restore changes beside the rows of the backup, within its transaction: the number of changes, and what may have ended since."""

from watchword.credentials import totp
from watchword.oauth.ended import EVERYTHING
from watchword.store import ended, tokens
from watchword.store.copying.bulk import Bulk, clear
from watchword.store.database import Transaction


async def changes(bulk: Bulk) -> int:
    """Return the number of changes that the nodes of this database have seen."""
    row = await bulk.one("SELECT value FROM facts WHERE name = 'changes'")
    return int(row["value"]) if row else 0


async def continue_changes(bulk: Bulk, seen: int) -> None:
    """Count on from `seen`: a server that has this database open must notice that everything it has cached is out of date."""
    await bulk.run(
        "UPDATE facts SET value = CAST(CAST(value AS BIGINT) + $1 AS TEXT) WHERE name = 'changes'", seen + 1
    )


async def end_the_uncertain(tx: Transaction, now: int) -> None:
    """End what may have ended, and use up what may have been used, between the backup and now (Unix seconds)."""
    for statement in (
        "UPDATE users SET valid_from = $1, proof_epoch = $1",
        "UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL",
        "UPDATE grants SET ended_at = $1 WHERE ended_at IS NULL",
        "UPDATE access_tokens SET revoked_at = $1 WHERE revoked_at IS NULL",
        "UPDATE one_time_links SET used_at = $1 WHERE used_at IS NULL",
    ):
        await tx.run(statement, now)
    await ended.note_everything(tx, now)
    await tx.run("UPDATE clients SET valid_from = $1", await ended.ended_before(tx, *EVERYTHING))
    await tokens.note_restored(tx, now)
    await tx.run("UPDATE totp_keys SET last_step = $1 WHERE last_step < $1", totp.step_at(now))
    # Mails may have been sent since, and their links are used up.
    for table in ("interactions", "pushed_requests", "email_codes", "outbox"):
        await clear(tx, table)


async def end_api_tokens(tx: Transaction, now: int) -> None:
    """Revoke every API token; which ones were revoked since the backup is unknown."""
    await tx.run(
        "UPDATE api_tokens SET revoked_at = $1, revoked_reason = 'restored' WHERE revoked_at IS NULL", now
    )
