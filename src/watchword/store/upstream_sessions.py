"""Sessions at upstream providers that sessions here came from, so that ending the one ends the other."""

import msgspec

from watchword.store.database import Transaction


class UpstreamSession(msgspec.Struct, frozen=True):
    """A person's session at a provider; `sid` is the provider's session identifier, where it gave one."""

    issuer: str
    subject: str
    sid: str | None = None


async def note_upstream_session(tx: Transaction, session_id: str, came_from: UpstreamSession) -> None:
    """Note what a session came from; a later sign-in with the same provider replaces an earlier one."""
    await tx.run(
        "INSERT INTO upstream_sessions (session_id, issuer, subject, sid) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (session_id, issuer) DO UPDATE SET subject = excluded.subject, sid = excluded.sid",
        session_id,
        came_from.issuer,
        came_from.subject,
        came_from.sid,
    )
