"""How the secrets of API tokens were used: how often, with which outcome, when last and from where."""

import msgspec

from watchword.store.database import Transaction


class SecretUse(msgspec.Struct, frozen=True, kw_only=True):
    """One secret of a token, and how it was used, by outcome."""

    id: str
    hint: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None = None
    last_address: str | None = None
    outcomes: dict[str, int] = {}


async def list_secret_uses(tx: Transaction, token_id: str) -> list[SecretUse]:
    """Return the secrets of a token, newest first, each with when, from where and with which outcome it was used."""
    secrets = await tx.all(
        "SELECT id, hint, created_at, expires_at FROM api_token_secrets WHERE token_id = $1 ORDER BY created_at DESC, id DESC",
        token_id,
    )
    usage = await tx.all(
        "SELECT secret_id, outcome, count, last_at, last_address FROM token_usage WHERE token_id = $1 ORDER BY last_at",
        token_id,
    )
    uses = []
    for row in secrets:
        own = [use for use in usage if use["secret_id"] == row["id"]]
        last = next((use for use in reversed(own) if use["outcome"] == "active"), None)
        uses.append(
            SecretUse(
                id=row["id"],
                hint=row["hint"],
                created_at=row["created_at"],
                expires_at=row["expires_at"],
                last_used_at=last["last_at"] if last else None,
                last_address=last["last_address"] if last else None,
                outcomes={use["outcome"]: use["count"] for use in own},
            )
        )
    return uses


async def flush_usage(tx: Transaction, uses: list[tuple[str, str, str, int, int, int, str]]) -> None:
    """Add collected counts: secret, token, outcome, count, first and last moment, last address.

    Rows are written in one order everywhere, so that nodes never deadlock.
    """
    for secret_id, token_id, outcome, count, first_at, last_at, address in sorted(uses):
        await tx.run(
            "INSERT INTO token_usage (secret_id, token_id, outcome, count, first_at, last_at, last_address) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (secret_id, outcome) DO UPDATE SET "
            "count = token_usage.count + excluded.count, "
            "last_address = CASE WHEN excluded.last_at < token_usage.last_at THEN token_usage.last_address ELSE excluded.last_address END, "
            "last_at = CASE WHEN excluded.last_at < token_usage.last_at THEN token_usage.last_at ELSE excluded.last_at END",
            secret_id,
            token_id,
            outcome,
            count,
            first_at,
            last_at,
            address,
        )
