"""People: accounts and what identifies them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from watchword.credentials import names
from watchword.oauth.groups import is_name
from watchword.store import documents, searches, unreadable
from watchword.store.database import Row, Transaction
from watchword.store.filters import where
from watchword.store.searches import Key
from watchword.store.several import in_parts, padded, places


class User(msgspec.Struct, frozen=True):
    """A person's account, without the password's hash; times are Unix seconds.

    `proof_epoch` moves whenever a credential of the person is removed or changed: it invalidates proofs given before.
    """

    id: str
    username: str
    email: str | None = None
    email_verified_at: int | None = None
    display_name: str | None = None
    attributes: dict[str, object] = {}
    is_admin: bool = False
    created_at: int = 0
    disabled_at: int | None = None
    password_changed_at: int | None = None
    valid_from: int = 0
    proof_epoch: int = 0
    groups: tuple[str, ...] = ()


NAMES = User.__struct_fields__
COLUMNS = ", ".join(NAMES)
_TABLE = searches.Table("users", COLUMNS, "id")
_IN_STATE: dict[str, tuple[tuple[object, ...], ...]] = {
    "all": (),
    # Written as a subquery so that they are found through their index and then sorted, not by a scan of everybody by name.
    "administrators": (("id IN (SELECT id FROM users WHERE is_admin = 1)",),),
    "disabled": (("disabled_at IS NOT NULL",),),
}
STATES = tuple(_IN_STATE)
NO_GROUPS = "[]"
_decode = documents.reader(dict[str, object])
_decode_groups = documents.reader(tuple[str, ...])


def to_user(row: Row) -> User:
    """Build a User from a row that has all of COLUMNS."""
    return user_of([row[name] for name in NAMES])


def user_of(values: Sequence[Any]) -> User:
    """Build a User from the values of COLUMNS, in their order."""
    identifier, username, email, verified_at, shown, attributes, is_admin, *times, groups = values
    user = User(identifier, username, email, verified_at, shown, _decode(attributes), bool(is_admin), *times)
    return msgspec.structs.replace(user, groups=read_groups(groups)) if groups != NO_GROUPS else user


def stored_groups(groups: tuple[str, ...]) -> str:
    """Return groups as the column keeps them."""
    return msgspec.json.encode(groups).decode()


def read_groups(stored: str) -> tuple[str, ...]:
    """Return groups that the column keeps."""
    return _decode_groups(stored) if stored != NO_GROUPS else ()


async def create_user(
    tx: Transaction,
    user: User,
    *,
    canonical_username: str,
    skeleton: str,
    canonical_email: str | None,
    password_hash: str | None,
    actor: str,
) -> bool:
    """Store a new account; return False when the name, one that looks like it, or the address is taken.

    A verified address must not be somebody's user name either: signing in by it would be ambiguous.
    """
    proved = canonical_email if user.email_verified_at is not None else None
    if proved is not None and await is_email_taken(tx, proved):
        return False
    row = await tx.one(
        "INSERT INTO users (id, username, canonical_username, skeleton, email, canonical_email, email_verified_at, display_name, "
        "attributes, is_admin, password_hash, password_changed_at, created_at, groups) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING RETURNING id",
        user.id,
        user.username,
        canonical_username,
        skeleton,
        user.email,
        canonical_email,
        user.email_verified_at,
        user.display_name,
        msgspec.json.encode(user.attributes).decode(),
        int(user.is_admin),
        password_hash,
        user.created_at if password_hash else None,
        user.created_at,
        stored_groups(user.groups),
    )
    if row is None:
        return False
    await tx.record(
        "user.created",
        actor=actor,
        target=user.id,
        at=user.created_at,
        username=user.username,
        admin=user.is_admin,
        **({"verified": True} if proved is not None else {}),
        groups=stored_groups(user.groups),
    )
    return True


async def get_user(tx: Transaction, user_id: str) -> User | None:
    """Return an account by its identifier."""
    row = await tx.one(f"SELECT {COLUMNS} FROM users WHERE id = $1", user_id)  # noqa: S608 - literals
    return to_user(row) if row else None


async def hold_user(
    tx: Transaction, user_id: str, proof_epoch: int | None = None, *, alone: bool = False
) -> bool:
    """Lock an account against its end until this transaction is over; return False when it is gone or disabled.

    An end that came first prevents what is begun here; one that comes later ends it. With `proof_epoch`, the account's from before the
    person proved who they are, also return False when that proof was invalidated since. `alone` also waits for others who hold it.
    """
    held = (
        "SELECT id FROM users WHERE id = $1 AND disabled_at IS NULL "
        "AND (CAST($2 AS BIGINT) < 0 OR proof_epoch = $2) FOR "
    )
    how = "NO KEY UPDATE" if alone else "SHARE"
    return await tx.one(held + how, user_id, -1 if proof_epoch is None else proof_epoch) is not None


async def hold_address(tx: Transaction, user_id: str, email: str) -> bool:
    """Lock an account if it is enabled and this is its verified address; return False otherwise: then no link may be mailed there."""
    held = (
        "SELECT id FROM users WHERE id = $1 AND email = $2 AND email_verified_at IS NOT NULL "
        "AND disabled_at IS NULL FOR SHARE"
    )
    return await tx.one(held, user_id, email) is not None


async def outdate_proofs(tx: Transaction, user_id: str) -> bool:
    """Invalidate every proof that a person has given so far: none begins or elevates a session, or links an account, any more.

    Return False when there is no such account.
    """
    return await tx.run("UPDATE users SET proof_epoch = proof_epoch + 1 WHERE id = $1", user_id) > 0


async def find_user(
    tx: Transaction, canonical_username: str, canonical_email: str | None = None
) -> User | None:
    """Return an account by its canonical name, or by its verified canonical address."""
    row = await tx.one(
        f"SELECT {COLUMNS} FROM users WHERE canonical_username = $1 "  # noqa: S608 - literals
        "OR (canonical_email = $2 AND email_verified_at IS NOT NULL)",
        canonical_username,
        canonical_email,
    )
    return to_user(row) if row else None


async def count_admins(tx: Transaction) -> int:
    """Return how many accounts may administer."""
    row = await tx.one("SELECT COUNT(*) AS n FROM users WHERE is_admin = 1 AND disabled_at IS NULL")
    return int(row["n"]) if row else 0


async def is_last_admin(tx: Transaction, user_id: str) -> bool:
    """Whether this is the only enabled administrator; locks all of them until the transaction ends, so that the answer stays true.

    Of somebody else only that account is locked: what two administrators do to others is no reason to wait for each other.
    """
    ordinary = "SELECT id FROM users WHERE id = $1 AND is_admin = 0 FOR NO KEY UPDATE"
    if await tx.one(ordinary, user_id) is not None:
        return False
    held = await tx.all_as_kept(
        "UPDATE users SET is_admin = is_admin WHERE is_admin = 1 AND disabled_at IS NULL RETURNING id"
    )
    return {row["id"] for row in unreadable.sound(held, {"id": str}, "users")} == {user_id}


async def list_users(tx: Transaction, *, after: str, limit: int, group: str = "") -> list[User]:
    """Return a page of accounts ordered by identifier, with `group` of those who are in it."""
    which, values = where(("id > {}", after), *_in_group(group))
    rows = await tx.all(
        f"SELECT {COLUMNS} FROM users{which} ORDER BY id LIMIT ${len(values) + 1}",  # noqa: S608 - literals
        *values,
        limit,
    )
    return [to_user(row) for row in rows]


def _in_group(group: str) -> tuple[tuple[object, ...], ...]:
    """Return the condition that somebody is in a group; a name that no group can have finds nobody."""
    if group and not is_name(group):
        return (("1 = 0",),)
    # `replace` minds case in both databases. The first half is what the indexes hold.
    return (("groups <> '[]' AND groups <> replace(groups, {}, '')", f'"{group}"'),) if group else ()


async def list_by_name(
    tx: Transaction, *, after: str, limit: int, search: str = "", state: str = "all", group: str = ""
) -> list[tuple[User, str]]:
    """Return a page of accounts ordered by name, each with its cursor; `after` is the last cursor of the page before.

    `search` is a prefix of a name or of an address, or an identifier; those found by address come last. `state` is one of STATES;
    with `group` only those who are in it.
    """
    named: tuple[tuple[object, ...], ...] = _in_group(group)
    keys = [Key("canonical_username", "")]
    if names.is_identifier(search):
        named = (*named, ("id = {}", search))
    elif search:
        name, address = names.beginnings(search)
        keys = [Key("canonical_username", name), Key("canonical_email", address)]
    rows = await searches.walk(tx, _TABLE, keys, *named, *_IN_STATE[state], after=after, limit=limit)
    return [(to_user(row), place) for row, place in rows]


async def search_users(
    tx: Transaction, *, search: str, after: str, limit: int, group: str = ""
) -> list[tuple[User, str]]:
    """Return a page of accounts as `list_by_name` finds them, each with its cursor; an empty `search` finds all, or all of the group,
    ordered by identifier."""
    if not search:
        return [(user, user.id) for user in await list_users(tx, after=after, limit=limit, group=group)]
    return await list_by_name(tx, after=after, limit=limit, search=search, group=group)


async def names_of(tx: Transaction, user_ids: Sequence[str]) -> dict[str, str]:
    """Return the user names of accounts by identifier; those that are gone are left out."""
    found: dict[str, str] = {}
    for part in in_parts(user_ids):
        rows = await tx.all(
            f"SELECT id, username FROM users WHERE id IN ({places(1, part)})",  # noqa: S608 - placeholders
            *padded(part),
        )
        found |= {row["id"]: row["username"] for row in rows}
    return found


async def find_for_sign_in(
    tx: Transaction, canonical_username: str, canonical_email: str | None
) -> tuple[User, str | None] | None:
    """Return an account with its password's hash, by name or by verified address."""
    row = await tx.one(
        f"SELECT {COLUMNS}, password_hash FROM users WHERE canonical_username = $1 "  # noqa: S608 - literals
        "OR (canonical_email = $2 AND email_verified_at IS NOT NULL)",
        canonical_username,
        canonical_email,
    )
    return (to_user(row), row["password_hash"]) if row else None


async def find_password(tx: Transaction, user_id: str) -> str | None:
    """Return the hash of an account's password, or None when it has none."""
    row = await tx.one("SELECT password_hash FROM users WHERE id = $1", user_id)
    return row["password_hash"] if row else None


async def is_email_taken(tx: Transaction, canonical_email: str) -> bool:
    """Whether an address belongs to an account, or is somebody's user name."""
    row = await tx.one(
        "SELECT 1 AS taken FROM users WHERE canonical_email = $1 OR canonical_username = $1", canonical_email
    )
    return row is not None


async def set_password(tx: Transaction, user_id: str, password_hash: str, *, actor: str, now: int) -> bool:
    """Set an account's password; return False when there is no such account."""
    row = await tx.one(
        "UPDATE users SET password_hash = $1, password_changed_at = $2, proof_epoch = proof_epoch + 1 WHERE id = $3 RETURNING id",
        password_hash,
        now,
        user_id,
    )
    if row is None:
        return False
    await tx.record("user.password_changed", actor=actor, target=user_id, at=now)
    return True


async def remove_password(tx: Transaction, user_id: str, now: int) -> bool:
    """Remove the password of an account that has another way to sign in; return False when there is none."""
    row = await tx.one(
        "UPDATE users SET password_hash = NULL, password_changed_at = $1, proof_epoch = proof_epoch + 1 "
        "WHERE id = $2 AND password_hash IS NOT NULL RETURNING id",
        now,
        user_id,
    )
    if row is None:
        return False
    await tx.record("user.password_removed", actor=user_id, target=user_id, at=now)
    return True


async def rehash_password(tx: Transaction, user_id: str, *, old: str, new: str) -> None:
    """Replace a hash by one with today's parameters, unless the password changed meanwhile."""
    await tx.run(
        "UPDATE users SET password_hash = $1 WHERE id = $2 AND password_hash = $3", new, user_id, old
    )


async def set_display_name(tx: Transaction, user_id: str, name: str | None, *, actor: str, now: int) -> None:
    """Set the name that people see."""
    await tx.run("UPDATE users SET display_name = $1 WHERE id = $2", name, user_id)
    await tx.record("user.profile_changed", actor=actor, target=user_id, at=now)
