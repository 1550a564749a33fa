"""Stored token status lists, and what the token at each index depends on; whether that has ended is looked up in `ended`."""

import asyncio
from collections.abc import Awaitable

import msgspec

from watchword.oauth import ended
from watchword.store.database import Database, Transaction
from watchword.store.ended import ended_before


class StatusMarks(msgspec.Struct, frozen=True):
    """What the token at an index of a list depends on, as digests; times are Unix seconds."""

    list_id: str
    idx: int
    issued_at: int
    expires_at: int
    digests: tuple[bytes, ...]

    def rows(self) -> list[tuple[object, ...]]:
        """Return the rows to store."""
        return [(self.list_id, self.idx, one, self.issued_at, self.expires_at) for one in self.digests]


class StatusListRow(msgspec.Struct, frozen=True):
    """A list: the client whose tokens are in it, when it began, and when the last of them expires (Unix seconds)."""

    client_id: str
    created_at: int
    expires_at: int


INSERT_MARK = (
    "INSERT INTO status_marks (list_id, idx, digest, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5) "
    "ON CONFLICT (list_id, idx, digest) DO NOTHING"
)


async def create_list(tx: Transaction, list_id: str, row: StatusListRow) -> None:
    """Store a new list, dated after the last end of its client: what ended tokens issued before does not end this list."""
    before = await ended_before(tx, "client", row.client_id)
    await tx.run(
        "INSERT INTO status_lists (id, client_id, created_at, expires_at) VALUES ($1, $2, $3, $4)",
        list_id,
        row.client_id,
        max(row.created_at, before),
        row.expires_at,
    )


async def find_list(tx: Transaction, list_id: str, now: int) -> StatusListRow | None:
    """Return a list that may still hold an unexpired token, or None."""
    row = await tx.one(
        "SELECT client_id, created_at, expires_at FROM status_lists WHERE id = $1 AND expires_at > $2",
        list_id,
        now,
    )
    return StatusListRow(row["client_id"], row["created_at"], row["expires_at"]) if row else None


async def store_marks(tx: Transaction, marks: StatusMarks) -> None:
    """Store what a token depends on, together with what else an operation changes."""
    for row in marks.rows():
        await tx.run(INSERT_MARK, *row)


def append_marks(database: Database, marks: StatusMarks) -> Awaitable[object]:
    """Queue what a token depends on; durable once the awaitable completes."""
    return asyncio.gather(*[database.append(INSERT_MARK, *row) for row in marks.rows()])


async def ended_in(tx: Transaction, list_id: str) -> list[int]:
    """Return the indexes of a list whose tokens depend on something that has ended."""
    rows = await tx.all(
        "SELECT DISTINCT m.idx FROM status_marks m JOIN ended e ON e.digest = m.digest "
        "WHERE m.list_id = $1 AND (e.before IS NULL OR m.issued_at < e.before)",
        list_id,
    )
    return [row["idx"] for row in rows]


async def is_over(tx: Transaction, row: StatusListRow) -> bool:
    """Whether every token of a list has ended, with its client or with everything."""
    found = await tx.one(
        "SELECT 1 AS found FROM ended WHERE digest IN ($1, $2) AND (before IS NULL OR before > $3)",
        ended.digest("client", row.client_id),
        ended.digest(*ended.EVERYTHING),
        row.created_at,
    )
    return found is not None
