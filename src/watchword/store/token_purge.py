"""API tokens that ended long ago are deleted in small steps. The usage of a secret is kept as long as its token."""

from watchword.store import unreadable
from watchword.store.database import Row, Transaction
from watchword.store.token_usage import flush_usage

_USE: dict[str, type] = {"outcome": str, "count": int, "first_at": int, "last_at": int, "last_address": str}


async def purge_dead_tokens(tx: Transaction, before: int, limit: int = 200) -> int:
    """Forget tokens and secrets that ended before a moment, children first; return how many, 0 when none is left that can be read."""
    dead = (
        "SELECT id FROM api_tokens t WHERE (expires_at < $1 OR revoked_at < $1) "
        "AND NOT EXISTS (SELECT 1 FROM api_tokens c WHERE c.parent_id = t.id) LIMIT $2 OFFSET $3"
    )
    rows = await unreadable.first_page(tx, dead, before, limit=limit, kinds={"id": str}, table="api_tokens")
    for row in rows:
        await tx.run("DELETE FROM token_usage WHERE token_id = $1", row["id"])
        await tx.run("DELETE FROM api_tokens WHERE id = $1", row["id"])
    return len(rows) + await _forget_secrets(tx, before, limit)


async def _forget_secrets(tx: Transaction, before: int, limit: int) -> int:
    """Forget secrets that were rotated out; their use is added to the token's own counts, where its quota still sees it."""
    rotated = "SELECT id, token_id FROM api_token_secrets WHERE expires_at < $1 ORDER BY expires_at, id LIMIT $2 OFFSET $3"
    kinds: dict[str, type] = {"id": str, "token_id": str}
    ended = await unreadable.first_page(
        tx, rotated, before, limit=limit, kinds=kinds, table="api_token_secrets"
    )
    for row in ended:
        uses = await tx.all_as_kept(
            "DELETE FROM token_usage WHERE secret_id = $1 RETURNING outcome, count, first_at, last_at, last_address",
            row["id"],
        )
        counted = [_use(use) for use in unreadable.sound(uses, _USE, "token_usage")]
        await flush_usage(tx, [(row["token_id"], row["token_id"], *use) for use in counted])
        await tx.run("DELETE FROM api_token_secrets WHERE id = $1", row["id"])
    return len(ended)


def _use(row: Row) -> tuple[str, int, int, int, str]:
    return row["outcome"], row["count"], row["first_at"], row["last_at"], row["last_address"]
