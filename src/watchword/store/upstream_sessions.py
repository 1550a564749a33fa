"""The sessions at upstream providers from which sessions here came: if one ends there, its sessions here end.

Theory of operation. A provider may end a session before the person is fully signed in here, for example before the second factor.
So the end is kept for longer than a sign-in takes, and a session begins only if its origin has not ended since the provider's
answer. Both lock the same row first, before any account, so of two at the same time, the later one sees the earlier.
"""

import hashlib

import msgspec

from watchword.store.database import Transaction

KEPT = 3600  # seconds; those who link an account may take twice ten minutes


class UpstreamSession(msgspec.Struct, frozen=True):
    """A person's session at a provider; `sid` is the provider's session identifier, where it gave one, `answered_at` when it told us."""

    issuer: str
    subject: str
    sid: str | None = None
    answered_at: int = 0


def _mark(issuer: str, kind: str, name: str) -> bytes:
    return hashlib.sha256(f"ended upstream\n{issuer}\n{kind}\n{name}".encode()).digest()


async def end_upstream(tx: Transaction, issuer: str, *, subject: str, sid: str, now: int) -> None:
    """Note that a provider has ended a session, or without `sid` every one of a person: no session begins here that came from it before."""
    await tx.run(
        "INSERT INTO used_identifiers (digest, expires_at) VALUES ($1, $2) "
        "ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at",
        _mark(issuer, "sid", sid) if sid else _mark(issuer, "sub", subject),
        now + KEPT,
    )


async def hold_upstream(tx: Transaction, came_from: UpstreamSession | None) -> bool:
    """Lock a session at a provider against its end until this transaction is over; return False when it has ended since the answer."""
    if came_from is None:
        return True
    marks = [_mark(came_from.issuer, "sub", came_from.subject)]
    if came_from.sid:
        marks.append(_mark(came_from.issuer, "sid", came_from.sid))
    for mark in marks:
        # Where there was none, a row to lock, which expires at once.
        row = await tx.one(
            "INSERT INTO used_identifiers (digest, expires_at) VALUES ($1, $2) "
            "ON CONFLICT (digest) DO UPDATE SET expires_at = used_identifiers.expires_at RETURNING expires_at",
            mark,
            came_from.answered_at + 1,
        )
        if row is not None and row["expires_at"] >= came_from.answered_at + KEPT:
            return False
    return True


async def note_upstream(tx: Transaction, session_id: str, came_from: UpstreamSession | None) -> None:
    """Note what a session came from; a later sign-in with the same provider replaces an earlier one."""
    if came_from is None:
        return
    await tx.run(
        "INSERT INTO upstream_sessions (session_id, issuer, subject, sid) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (session_id, issuer) DO UPDATE SET subject = excluded.subject, sid = excluded.sid",
        session_id,
        came_from.issuer,
        came_from.subject,
        came_from.sid,
    )
