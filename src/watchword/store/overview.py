"""Counts of people, sessions, tokens and clients for the console, each capped, however large its table."""

import msgspec

from watchword.store.database import Transaction
from watchword.store.liveness import live_session, live_token

MOST = 10_000  # counting stops here


class Numbers(msgspec.Struct, frozen=True):
    """What is live now, each counted up to MOST; `ending` are the API tokens that expire soon."""

    people: int
    sessions: int
    tokens: int
    clients: int
    ending: int


_SESSIONS = f"sessions WHERE {live_session('$1')}"
_TOKENS = f"api_tokens WHERE {live_token('$1')}"
_ENDING = "api_tokens WHERE expires_at > $1 AND expires_at <= $2 AND revoked_at IS NULL"


async def count_everything(tx: Transaction, now: int, soon: int) -> Numbers:
    """Return how much there is at `now`, and how many API tokens end until `soon` (Unix seconds)."""
    return Numbers(
        people=await _count(tx, "users WHERE disabled_at IS NULL"),
        sessions=await _count(tx, _SESSIONS, now),
        tokens=await _count(tx, _TOKENS, now),
        clients=await _count(tx, "clients WHERE disabled_at IS NULL"),
        ending=await _count(tx, _ENDING, now, soon),
    )


async def _count(tx: Transaction, which: str, *values: int) -> int:
    row = await tx.one(f"SELECT COUNT(*) AS n FROM (SELECT 1 FROM {which} LIMIT {MOST}) AS found", *values)  # noqa: S608 - literals
    return int(row["n"]) if row else 0
