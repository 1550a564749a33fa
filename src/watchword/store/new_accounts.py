"""Accounts created together with their first way to sign in, both or neither: from a one-time link, or from an upstream account."""

from collections.abc import Iterable
from typing import Literal, TypedDict

from watchword.store.database import Transaction
from watchword.store.links import Link, hold_link, peek_link, use_link
from watchword.store.passkeys import MadePasskey, add_passkey
from watchword.store.upstream_accounts import UpstreamAccount, link_upstream
from watchword.store.user_changes import set_disabled
from watchword.store.users import User, count_admins, create_user, get_user, hold_user, is_email_taken

# How somebody without a password signs in.
WayIn = MadePasskey | UpstreamAccount
Outcome = Literal["created", "link", "taken", "way"]
Imported = Literal["created", "existing", "alike"]

# Imports take turns: two with the same names in another order would each wait for the other. Nobody ever sees this row.
_CLAIM = "INSERT INTO facts (name, value) VALUES ('importing', '') ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_UNCLAIM = "DELETE FROM facts WHERE name = 'importing'"


class Unique(TypedDict):
    """The normalised names of a new account, which must be unique, and the hash of its password."""

    canonical_username: str
    skeleton: str
    canonical_email: str | None
    password_hash: str | None


async def peek_owner_link(tx: Transaction, digest: bytes, now: int) -> Link | None:
    """Return the live setup link without using it up, as long as there is no owner."""
    return None if await count_admins(tx) else await peek_link(tx, digest, "setup", now)


async def create_owner(
    tx: Transaction, link: bytes, user: User, unique: Unique, way: WayIn | None = None
) -> Outcome:
    """Use up the one-time setup link and create the owner's account, both or neither; like `create_by_link`."""
    if await count_admins(tx):
        return "link"
    return await create_by_link(tx, link, "setup", user, unique, way)


def inviter_of(link: Link | None) -> str | None:
    """Return the identifier of the person who sent an invitation; None where no person did."""
    by = link.data.get("by") if link is not None else None
    return by if isinstance(by, str) and by.startswith("user_") else None


def stands(link: Link, inviter: User | None) -> bool:
    """Whether an invitation is still valid given what its sender is now: a former administrator's makes no administrator."""
    if inviter_of(link) is None:
        return True
    if inviter is None or inviter.disabled_at is not None:
        return False
    return inviter.is_admin or not link.data.get("is_admin")


async def create_by_link(
    tx: Transaction, link: bytes, purpose: str, user: User, unique: Unique, way: WayIn | None = None
) -> Outcome:
    """Use up a link and create the account that it allows with its way to sign in, all or nothing.

    Return "created", or what prevented it: the "link" is gone, the names are "taken", or the "way" in belongs to somebody already.
    """
    found = await peek_link(tx, link, purpose, user.created_at)
    # Locks the inviter before the link, the same order as for a repeated invitation. If the inviter loses the right to invite, that
    # comes either before this, and then there is no account, or after it.
    if (inviter := inviter_of(found)) is not None and not await hold_user(tx, inviter):
        return "link"
    if not await hold_link(tx, link, purpose, user.created_at):
        return "link"
    if found is None or not stands(found, await get_user(tx, inviter) if inviter else None):
        return "link"
    outcome = await create_with(tx, user, unique, way)
    if outcome == "created":
        await use_link(tx, link, purpose, user.created_at)
    return outcome


async def create_with(tx: Transaction, user: User, unique: Unique, way: WayIn | None) -> Outcome:
    """Create an account with its way to sign in, both or neither; like `create_by_link`, without a link."""
    if not await create_user(tx, user, **unique, actor=user.id):
        return "taken"
    if way is None or await _keep(tx, way, user):
        return "created"
    # The way in belongs to somebody, or its challenge was used: nobody could ever sign in to this account.
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


async def create_imported(
    tx: Transaction, accounts: Iterable[tuple[User, Unique]], *, actor: str
) -> list[Imported]:
    """Create accounts that were another product's, switched off where they were so there.

    Of each, return "created", that an account of the name or the address is "existing", or that another one's name looks "alike".
    """
    await tx.run(_CLAIM)
    made: list[Imported] = []
    for user, unique in accounts:
        if not await create_user(tx, user, **unique, actor=actor):
            made.append("existing" if await _exists(tx, unique) else "alike")
            continue
        made.append("created")
        if user.disabled_at is not None:
            await set_disabled(tx, user.id, True, actor=actor, now=user.disabled_at)
    await tx.run(_UNCLAIM)
    return made


async def _exists(tx: Transaction, unique: Unique) -> bool:
    names = [one for one in (unique["canonical_username"], unique["canonical_email"]) if one]
    return any([await is_email_taken(tx, name) for name in names])
