"""What operators change about an account: name, address, attributes, groups, the right of administrators; and what ends with a right."""

from collections.abc import Callable

import msgspec

from watchword.oauth.scopes import is_reserved
from watchword.store import unreadable
from watchword.store.api_tokens import revoke_token
from watchword.store.database import Transaction
from watchword.store.user_changes import forget_links_of, set_email
from watchword.store.users import get_user, is_last_admin, stored_groups

PROFILE = (
    "SELECT display_name, attributes, is_admin, groups, email, email_verified_at FROM users WHERE id = $1"
)


class Address(msgspec.Struct, frozen=True):
    """A new address of an account, as for `set_email`."""

    email: str
    canonical_email: str
    verified: bool
    only: bool


class Membership(msgspec.Struct, frozen=True):
    """The groups that a person is to be in, and the scopes that are closed to these."""

    names: tuple[str, ...]
    closed: frozenset[str]


async def update_profile(
    tx: Transaction,
    user_id: str,
    *,
    display_name: str | None,
    attributes: dict[str, object] | None,
    is_admin: bool | None,
    address: Address | None = None,
    groups: Membership | None = None,
    actor: str,
    now: int,
) -> str:
    """Set what an operator may change about an account, all or nothing: "changed", "unknown", "last" administrator, or as `set_email`.

    None leaves the stored value as it is, whatever the caller read before; an empty name removes it. With the right of an administrator
    end the person's API tokens that have a scope over this server, whoever holds one still administers; with a group those that have a
    scope which it alone opened.
    """
    if is_admin is False and await is_last_admin(tx, user_id):
        return "last"
    before = await tx.one(f"{PROFILE} FOR UPDATE", user_id)  # so that no token is made with a right that ends
    if before is None:
        return "unknown"
    if address is not None:
        outcome = await set_email(tx, user_id, **msgspec.structs.asdict(address), actor=actor, now=now)
        if outcome != "changed":
            return outcome
    await tx.run(
        "UPDATE users SET display_name = NULLIF(COALESCE(CAST($1 AS TEXT), display_name), ''), "
        "attributes = COALESCE(CAST($2 AS TEXT), attributes), is_admin = COALESCE(CAST($3 AS BIGINT), is_admin) "
        "WHERE id = $4",
        display_name,
        None if attributes is None else msgspec.json.encode(attributes).decode(),
        None if is_admin is None else int(is_admin),
        user_id,
    )
    if is_admin and not before["is_admin"]:
        # A link made while the account was ordinary must not open an administrator's account.
        await forget_links_of(tx, user_id)
    if is_admin is False and before["is_admin"]:
        await _end_tokens(tx, user_id, is_reserved, "no longer an administrator", actor=actor, now=now)
    if groups is not None:
        await _set_groups(tx, user_id, groups, actor=actor, now=now)
    after = await tx.one(PROFILE, user_id)
    if after is not None and tuple(after) != tuple(before):
        await tx.record("user.updated", actor=actor, target=user_id, at=now, admin=bool(after["is_admin"]))
    return "changed"


async def _set_groups(tx: Transaction, user_id: str, groups: Membership, *, actor: str, now: int) -> None:
    before = await get_user(tx, user_id)  # the row is locked
    if before is None or before.groups == groups.names:
        return
    await tx.run("UPDATE users SET groups = $1 WHERE id = $2", stored_groups(groups.names), user_id)
    await tx.record(
        "user.groups_changed",
        actor=actor,
        target=user_id,
        at=now,
        joined=[one for one in groups.names if one not in before.groups],
        left=[one for one in before.groups if one not in groups.names],
        groups=stored_groups(groups.names),
    )
    await _end_tokens(tx, user_id, groups.closed.__contains__, "left a group", actor=actor, now=now)


async def _end_tokens(
    tx: Transaction, user_id: str, is_lost: Callable[[str], bool], reason: str, *, actor: str, now: int
) -> None:
    """Revoke the API tokens of a person that have a scope which the person may have no longer."""
    held = "SELECT id, scope FROM api_tokens WHERE owner_id = $1 AND revoked_at IS NULL"
    for row in unreadable.sound(await tx.all_as_kept(held, user_id), {"id": str, "scope": str}, "api_tokens"):
        if any(is_lost(scope) for scope in row["scope"].split()):
            await revoke_token(tx, row["id"], reason=reason, actor=actor, now=now)
