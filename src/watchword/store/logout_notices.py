"""Which clients have ID tokens of a session, and which of them have yet to be told that it has ended.

Theory of operation. A client is noted with a session in the transaction that grants it an ID token. The transaction that ends the
session queues one notice for each noted client with a logout address (Back-Channel Logout §2.2), so that neither a crash nor an
unreachable client loses one, and signing out waits for no client. A worker leases a notice; once delivered it is deleted, otherwise
it is retried after growing pauses, and one that cannot be delivered ends with an audit event.
"""

from collections import Counter
from collections.abc import Awaitable, Sequence

import msgspec

from watchword.oauth.clients import Client
from watchword.store import documents, unreadable
from watchword.store.database import Database, Transaction
from watchword.store.several import padded, places

LIFETIME = 86_400
LEASE = 60  # seconds for which a claimed notice is left to its worker
STEP = 100
# How many notices are claimed at once, and how many of one client, so that a slow client does not keep the others waiting.
CLAIMED, CLAIMED_OF_ONE = 32, 4

_decode = documents.reader(Client)


class Notice(msgspec.Struct, frozen=True):
    """A logout notice to one client for one session; `attempts` includes the present one."""

    session_id: str
    client_id: str
    user_id: str
    attempts: int


# Nothing is noted of a session that is gone, with its account perhaps.
_NOTE = (
    "INSERT INTO session_clients (session_id, client_id, since) SELECT $1, $2, $3 FROM sessions WHERE id = $1 FOR KEY SHARE "
    "ON CONFLICT DO NOTHING"
)


def note_client(database: Database, session_id: str, client_id: str, now: int) -> Awaitable[None]:
    """Note that a client is about to get ID tokens of a session; durable once the awaitable completes."""
    return database.append(_NOTE, session_id, client_id, now)


async def note_client_with(tx: Transaction, session_id: str, client_id: str, now: int) -> None:
    """Note that a client gets ID tokens of a session, together with what else an operation changes."""
    await tx.run(_NOTE, session_id, client_id, now)


async def list_clients(tx: Transaction, session_id: str) -> list[Client]:
    """Return the enabled clients that know of a session, ended or not."""
    rows = await tx.all(
        "SELECT c.document FROM session_clients n JOIN clients c ON c.client_id = n.client_id "
        "WHERE n.session_id = $1 AND c.disabled_at IS NULL ORDER BY n.since, n.client_id",
        session_id,
    )
    return [_decode(row["document"]) for row in rows]


async def queue_notices(tx: Transaction, sessions: Sequence[str], now: int) -> Counter[str]:
    """Queue notices for at most a hundred sessions, one to each client with a back-channel logout address; count them by session."""
    rows = await tx.all(
        "INSERT INTO logout_notices (session_id, client_id, user_id, created_at, next_at, expires_at) "  # noqa: S608 - literals
        "SELECT n.session_id, n.client_id, s.user_id, $1, $1, $2 FROM session_clients n JOIN sessions s ON s.id = n.session_id "
        f"JOIN clients c ON c.client_id = n.client_id WHERE n.session_id IN ({places(3, sessions)}) "
        'AND c.disabled_at IS NULL AND c.document LIKE \'%"backchannel_logout_uri":"%\' ON CONFLICT DO NOTHING RETURNING session_id',
        now,
        now + LIFETIME,
        *padded(sessions),
    )
    return Counter(row["session_id"] for row in rows)


async def is_notice_due(tx: Transaction, now: int) -> bool:
    """Whether there is anything to deliver or to give up."""
    due = "SELECT 1 AS due FROM logout_notices WHERE next_at <= $1 OR expires_at <= $1 LIMIT 1"
    return await tx.one(due, now) is not None


_NOTICE: dict[str, type] = {"session_id": str, "client_id": str, "user_id": str, "attempts": int}


async def claim_notices(tx: Transaction, now: int) -> list[Notice]:
    """Lease notices that are due, alternating between clients; no other worker gets them before the lease is over.

    One whose row is damaged is passed over, until it expires.
    """
    claim = (
        "UPDATE logout_notices SET attempts = attempts + 1, next_at = $2 WHERE next_at <= $1 AND (session_id, client_id) IN "
        "(SELECT session_id, client_id FROM (SELECT session_id, client_id, next_at, ROW_NUMBER() OVER "
        "(PARTITION BY client_id ORDER BY attempts DESC, next_at, session_id) AS place FROM logout_notices "
        "WHERE next_at <= $1 AND expires_at > $1) AS due WHERE place <= $3 ORDER BY place, next_at, client_id LIMIT $4) "
        "RETURNING session_id, client_id, user_id, attempts"
    )
    while rows := await tx.all_as_kept(claim, now, now + LEASE, CLAIMED_OF_ONE, CLAIMED):
        if sound := unreadable.sound(rows, _NOTICE, "logout_notices"):
            return [
                Notice(row["session_id"], row["client_id"], row["user_id"], row["attempts"]) for row in sound
            ]
    return []


async def forget_notice(tx: Transaction, notice: Notice) -> None:
    """Delete a notice that was delivered, or whose client or address is gone."""
    await tx.run(
        "DELETE FROM logout_notices WHERE session_id = $1 AND client_id = $2",
        notice.session_id,
        notice.client_id,
    )


async def postpone_notices(tx: Transaction, notice: Notice, next_at: int) -> None:
    """Retry a notice that was not accepted at `next_at`, and no other notice of its client before that."""
    await tx.run(
        "UPDATE logout_notices SET next_at = $1 WHERE client_id = $2 AND (session_id = $3 OR next_at < $1)",
        next_at,
        notice.client_id,
        notice.session_id,
    )


async def give_up_notice(tx: Transaction, notice: Notice, *, reason: str, now: int) -> None:
    """Delete a notice that could not be delivered, and record that the client was not told."""
    row = await tx.one(
        "DELETE FROM logout_notices WHERE session_id = $1 AND client_id = $2 RETURNING attempts",
        notice.session_id,
        notice.client_id,
    )
    if row is not None:
        await _record(tx, notice.session_id, notice.client_id, row["attempts"], reason, now)


async def give_up_expired(tx: Transaction, now: int) -> int:
    """Delete at most STEP notices that have expired, recording each; return how many."""
    rows = await tx.all_as_kept(
        "DELETE FROM logout_notices WHERE expires_at <= $1 AND (session_id, client_id) IN "
        "(SELECT session_id, client_id FROM logout_notices WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) "
        "RETURNING session_id, client_id, attempts",
        now,
        STEP,
    )
    for row in rows:
        session_id, client_id = unreadable.text(row["session_id"]), unreadable.text(row["client_id"])
        await _record(tx, session_id, client_id, unreadable.number(row["attempts"]), "expired", now)
    return len(rows)


async def _record(
    tx: Transaction, session_id: str, client_id: str, attempts: int, reason: str, now: int
) -> None:
    await tx.record(
        "logout.undelivered",
        actor="system",
        target=client_id,
        at=now,
        session=session_id,
        attempts=attempts,
        reason=reason,
    )
