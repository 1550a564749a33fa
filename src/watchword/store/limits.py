"""Token buckets that processes and nodes share, and the purge of expired rows."""

from watchword.store.database import Transaction

# Tables whose rows are deleted once `expires_at` has passed, and their keys. One step deletes at most STEP rows, however many expired
# in the same second, so that no purge stalls a writer.
PURGED: dict[str, str] = {
    "access_tokens": "digest",
    "revoked_tokens": "jti",
    "ended": "digest",
    "status_lists": "id",
    "status_marks": "list_id, idx, digest",
    "used_identifiers": "digest",
    "one_time_links": "digest",
    "client_secrets": "digest",
    "sessions": "id",
    "interactions": "id",
    "grants": "id",
    "pushed_requests": "digest",
    "device_codes": "digest",
    "email_codes": "user_id, purpose",
    "outbox": "id",
}
# Seconds for which a row is kept after it expired: an expired session is ended, and its clients notified, before it is deleted.
KEPT: dict[str, int] = {"sessions": 86_400}
STEP = 500
_REFILLED = (
    "buckets.level + CAST($3 AS DOUBLE PRECISION) * "
    "CASE WHEN $4 > buckets.updated_at THEN $4 - buckets.updated_at ELSE 0 END"
)
# Seconds by which a bucket may be ahead of the clock of its taker. One further ahead was written by a clock that has been corrected since:
# it would regain nothing until that time comes, so it counts as full.
AHEAD = 86_400
_LEFT_BEHIND = f"buckets.updated_at - {AHEAD} > $4"
_CAPPED = f"CASE WHEN {_LEFT_BEHIND} OR {_REFILLED} > $2 THEN $2 ELSE {_REFILLED} END"
_LEVEL = f"SELECT {_CAPPED} AS level FROM buckets WHERE name = $1 AND $2 >= 0"  # noqa: S608 - literals
# One statement decides, so that two takers cannot both get the last token. The clock of another node may be behind.
_TAKE = (
    "INSERT INTO buckets (name, level, updated_at) "  # noqa: S608 - literals
    "VALUES ($1, CAST($2 AS DOUBLE PRECISION) - 1, CAST($4 AS DOUBLE PRECISION)) "
    f"ON CONFLICT (name) DO UPDATE SET level = {_CAPPED} - 1, "
    f"updated_at = CASE WHEN $4 > buckets.updated_at OR {_LEFT_BEHIND} THEN $4 ELSE buckets.updated_at END "
    f"WHERE {_CAPPED} >= 1 RETURNING level"
)


async def take(tx: Transaction, name: str, *, capacity: float, per_second: float, now: float) -> float:
    """Take one from a bucket that refills steadily; return 0 when there was one, else the seconds to wait."""
    if await tx.one(_TAKE, name, capacity, per_second, now) is not None:
        return 0.0
    row = await tx.one(_LEVEL, name, capacity, per_second, now)
    missing = 1 - float(row["level"]) if row is not None else 0.0
    # Never 0, which means "taken", even when it was refilled meanwhile.
    return max(missing / per_second, 0.001)


async def is_drained(tx: Transaction, name: str, per_second: float, now: float) -> bool:
    """Whether a bucket holds less than one token; nothing is taken."""
    row = await tx.one("SELECT level, updated_at FROM buckets WHERE name = $1", name)
    if row is None or row["updated_at"] - AHEAD > now:
        return False
    return bool(row["level"] + max(0.0, now - row["updated_at"]) * per_second < 1)


async def purge(tx: Transaction, table: str, before: int) -> int:
    """Delete at most STEP rows of a table that expired before a moment; return how many."""
    key = PURGED[table]
    return await tx.run(
        f"DELETE FROM {table} WHERE expires_at < $1 AND ({key}) IN "  # noqa: S608 - both come from the literal table above
        f"(SELECT {key} FROM {table} WHERE expires_at < $1 ORDER BY expires_at LIMIT {STEP})",
        before,
    )


async def purge_buckets(tx: Transaction, before: float) -> int:
    """Delete at most STEP buckets last used before a moment; return how many."""
    return await tx.run(
        "DELETE FROM buckets WHERE updated_at < $1 AND name IN "  # noqa: S608 - a literal number
        f"(SELECT name FROM buckets WHERE updated_at < $1 ORDER BY updated_at LIMIT {STEP})",
        before,
    )
