"""Token buckets that several processes and nodes share, and the purge of what has expired."""

from watchword.store.database import Transaction

# Table, column with the end of life, and how many rows one step removes at most, so that no purge stalls a writer.
PURGED: dict[str, str] = {
    "access_tokens": "expires_at",
    "revoked_tokens": "expires_at",
    "used_identifiers": "expires_at",
    "one_time_links": "expires_at",
}
STEP = 500


async def take(
    tx: Transaction, name: str, *, capacity: float, per_second: float, now: float, cost: float = 1.0
) -> float:
    """Take from a bucket that refills steadily; return 0 when there was enough, else the seconds to wait."""
    row = await tx.one("SELECT level, updated_at FROM buckets WHERE name = $1", name)
    level = capacity
    if row is not None:
        level = min(capacity, row["level"] + max(0.0, now - row["updated_at"]) * per_second)
    if level < cost:
        return (cost - level) / per_second
    await tx.run(
        "INSERT INTO buckets (name, level, updated_at) VALUES ($1, $2, $3) "
        "ON CONFLICT (name) DO UPDATE SET level = excluded.level, updated_at = excluded.updated_at",
        name,
        level - cost,
        now,
    )
    return 0.0


async def purge(tx: Transaction, table: str, before: int) -> int:
    """Remove one step's worth of rows of a table that ended before a moment; return how many."""
    column = PURGED[table]
    return await tx.run(
        f"DELETE FROM {table} WHERE {column} < $1 AND {column} IN "  # noqa: S608 - both names come from the literal table above
        f"(SELECT {column} FROM {table} WHERE {column} < $1 ORDER BY {column} LIMIT {STEP})",
        before,
    )


async def purge_buckets(tx: Transaction, before: float) -> int:
    """Forget buckets that have been full for long."""
    return await tx.run("DELETE FROM buckets WHERE updated_at < $1", before)
