"""Accounts elsewhere that sign somebody in here, found by issuer and subject alone (FD-01)."""

import msgspec

from watchword.store.database import Transaction
from watchword.store.grants import hold_session
from watchword.store.users import hold_user


class UpstreamAccount(msgspec.Struct, frozen=True):
    """A linked account; times are Unix seconds."""

    issuer: str
    subject: str
    user_id: str
    name: str
    linked_at: int


async def find_upstream(tx: Transaction, issuer: str, subject: str) -> UpstreamAccount | None:
    """Return whose account this is here."""
    row = await tx.one(
        "SELECT issuer, subject, user_id, name, linked_at FROM upstream_accounts WHERE issuer = $1 AND subject = $2",
        issuer,
        subject,
    )
    if row is None:
        return None
    return UpstreamAccount(row["issuer"], row["subject"], row["user_id"], row["name"], row["linked_at"])


async def list_upstream(tx: Transaction, user_id: str) -> list[UpstreamAccount]:
    """Return the accounts elsewhere that a person linked."""
    rows = await tx.all(
        "SELECT issuer, subject, user_id, name, linked_at FROM upstream_accounts WHERE user_id = $1 ORDER BY linked_at, issuer",
        user_id,
    )
    return [
        UpstreamAccount(row["issuer"], row["subject"], row["user_id"], row["name"], row["linked_at"])
        for row in rows
    ]


async def link_upstream(tx: Transaction, account: UpstreamAccount, *, actor: str) -> bool:
    """Link an account elsewhere; return False when it is linked to anybody already."""
    row = await tx.one(
        "INSERT INTO upstream_accounts (issuer, subject, user_id, name, linked_at) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT DO NOTHING RETURNING user_id",
        account.issuer,
        account.subject,
        account.user_id,
        account.name,
        account.linked_at,
    )
    if row is not None:
        await tx.record(
            "upstream.linked",
            actor=actor,
            target=account.user_id,
            at=account.linked_at,
            issuer=account.issuer,
        )
    return row is not None


async def link_proved(tx: Transaction, account: UpstreamAccount, *, password_of: int) -> bool:
    """Link an account elsewhere to one that was just proved beside the password set at `password_of` (0 for none).

    False when that has changed since, or it is linked already: whoever proved the old password keeps no other way in (FD-03).
    """
    if not await hold_user(tx, account.user_id, password_of):
        return False
    return await link_upstream(tx, account, actor=account.user_id)


async def link_in_session(tx: Transaction, account: UpstreamAccount, *, session_id: str) -> bool:
    """Link an account elsewhere as its person's session asks; False when that has ended, or it is linked already."""
    if not await hold_session(tx, session_id, account.linked_at):
        return False
    return await link_upstream(tx, account, actor=account.user_id)


async def note_upstream_use(tx: Transaction, issuer: str, subject: str, now: int) -> None:
    """Note that an account elsewhere signed somebody in."""
    await tx.run(
        "UPDATE upstream_accounts SET last_used_at = $1 WHERE issuer = $2 AND subject = $3",
        now,
        issuer,
        subject,
    )
