"""Accounts at upstream providers that people sign in with, found by issuer and subject alone (FD-01)."""

import msgspec

from watchword.store.database import Transaction
from watchword.store.users import hold_user


class UpstreamAccount(msgspec.Struct, frozen=True):
    """A linked account; times are Unix seconds."""

    issuer: str
    subject: str
    user_id: str
    name: str
    linked_at: int


async def find_upstream(tx: Transaction, issuer: str, subject: str) -> UpstreamAccount | None:
    """Return the linked account of an issuer's subject, or None."""
    row = await tx.one(
        "SELECT issuer, subject, user_id, name, linked_at FROM upstream_accounts WHERE issuer = $1 AND subject = $2",
        issuer,
        subject,
    )
    if row is None:
        return None
    return UpstreamAccount(row["issuer"], row["subject"], row["user_id"], row["name"], row["linked_at"])


async def list_upstream(tx: Transaction, user_id: str) -> list[UpstreamAccount]:
    """Return the upstream accounts that a person linked."""
    rows = await tx.all(
        "SELECT issuer, subject, user_id, name, linked_at FROM upstream_accounts WHERE user_id = $1 ORDER BY linked_at, issuer",
        user_id,
    )
    return [
        UpstreamAccount(row["issuer"], row["subject"], row["user_id"], row["name"], row["linked_at"])
        for row in rows
    ]


async def link_upstream(tx: Transaction, account: UpstreamAccount, *, actor: str) -> bool:
    """Link an upstream account; return False when it is linked to anybody already."""
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


async def link_proved(tx: Transaction, account: UpstreamAccount, *, proof_epoch: int) -> bool:
    """Link an upstream account to an account whose owner has just been authenticated; `proof_epoch` is its value from before that.

    Return False when the epoch has moved since, or the account is linked already: whoever proved a password that was changed meanwhile
    must not gain another way in (FD-03).
    """
    if not await hold_user(tx, account.user_id, proof_epoch):
        return False
    return await link_upstream(tx, account, actor=account.user_id)


async def use_upstream(tx: Transaction, issuer: str, subject: str, user_id: str, now: int) -> bool:
    """Note that an upstream account signs a person in; return False when it is no longer linked to them."""
    used = await tx.run(
        "UPDATE upstream_accounts SET last_used_at = $1 WHERE issuer = $2 AND subject = $3 AND user_id = $4",
        now,
        issuer,
        subject,
        user_id,
    )
    return used > 0
