"""Accounts made together with what signs them in: by a one-time link, or by an account elsewhere; both or neither."""

from typing import Literal, TypedDict

from watchword.store.database import Transaction
from watchword.store.links import Link, hold_link, peek_link, use_link
from watchword.store.passkeys import MadePasskey, add_passkey
from watchword.store.upstream_accounts import UpstreamAccount, link_upstream
from watchword.store.users import User, count_admins, create_user, get_user, hold_user

# What signs somebody in who has no password.
WayIn = MadePasskey | UpstreamAccount
Outcome = Literal["created", "link", "taken", "way"]


class Unique(TypedDict):
    """The forms of a new account's names under which they are unique, and the hash of its password."""

    canonical_username: str
    skeleton: str
    canonical_email: str | None
    password_hash: str | None


async def create_owner(
    tx: Transaction, link: bytes, user: User, unique: Unique, way: WayIn | None = None
) -> Outcome:
    """Use the one-time link of the first start up and make the owner, both or neither; like `create_by_link`."""
    if await count_admins(tx):
        return "link"
    return await create_by_link(tx, link, "setup", user, unique, way)


def inviter_of(link: Link | None) -> str | None:
    """Return who invited by a link, by their identifier; None where that is no person."""
    by = link.data.get("by") if link is not None else None
    return by if isinstance(by, str) and by.startswith("user_") else None


def stands(link: Link, inviter: User | None) -> bool:
    """Whether who invited, as they are now, may still do so: what an administrator leaves behind makes no other one."""
    if inviter_of(link) is None:
        return True
    if inviter is None or inviter.disabled_at is not None:
        return False
    return inviter.is_admin or not link.data.get("is_admin")


async def create_by_link(
    tx: Transaction, link: bytes, purpose: str, user: User, unique: Unique, way: WayIn | None = None
) -> Outcome:
    """Use a link up and make the account that it allows with what signs it in, all or nothing.

    Return "created", or what stood against it: the "link" that is gone, names that are "taken", or the "way" in, which is
    somebody's already.
    """
    if not await hold_link(tx, link, purpose, user.created_at):
        return "link"
    found = await peek_link(tx, link, purpose, user.created_at)
    # Whoever takes from the inviter the right to invite comes before this, and then there is no account, or after it.
    if (inviter := inviter_of(found)) is not None and not await hold_user(tx, inviter):
        return "link"
    if found is None or not stands(found, await get_user(tx, inviter) if inviter else None):
        return "link"
    outcome = await create_with(tx, user, unique, way)
    if outcome == "created":
        await use_link(tx, link, purpose, user.created_at)
    return outcome


async def create_with(tx: Transaction, user: User, unique: Unique, way: WayIn | None) -> Outcome:
    """Make an account with what signs it in, both or neither; like `create_by_link`, without a link."""
    if not await create_user(tx, user, **unique, actor=user.id):
        return "taken"
    if way is None or await _keep(tx, way, user):
        return "created"
    # It is somebody's, or was answered before: nobody could ever sign in to this account.
    await tx.run("DELETE FROM users WHERE id = $1", user.id)
    await tx.record(
        "user.deleted",
        actor="system",
        target=user.id,
        at=user.created_at,
        reason="what was to sign it in was refused",
    )
    return "way"


async def _keep(tx: Transaction, way: WayIn, user: User) -> bool:
    if isinstance(way, MadePasskey):
        return await add_passkey(tx, way, actor=user.id)
    return await link_upstream(tx, way, actor=user.id)
