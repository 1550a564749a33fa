"""People's accounts: creation, with user names that cannot be mistaken for one another and passwords that are hard to guess."""

import hashlib
import hmac
import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from watchword.credentials import breach_list, names
from watchword.credentials import password as passwords
from watchword.credentials.breach_list import BreachListError
from watchword.credentials.names import NameRefused
from watchword.credentials.passkey import PasskeyRefused
from watchword.credentials.password import PasswordRefused
from watchword.credentials.upstream import Identity, UpstreamRefused
from watchword.flows import hashing
from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError
from watchword.oauth.groups import check as check_groups
from watchword.settings import Settings, SettingsError
from watchword.store import new_accounts
from watchword.store import users as store
from watchword.store.new_accounts import Unique, WayIn
from watchword.store.passkeys import MadePasskey
from watchword.store.upstream_accounts import UpstreamAccount
from watchword.store.users import User

MIN_PASSWORD = passwords.MIN_LENGTH
NO_ADDRESS = "Give an address: there is none to verify, and one that is there can only be replaced."
TAKEN = "This name or address, or one that looks like it, is taken."


class Names(msgspec.Struct, frozen=True):
    """A user name and address in the forms under which they are unique."""

    username: str
    skeleton: str
    email: str | None


def check_names(username: str, email: str | None, *, own_address: bool = False) -> Names:
    """Return the unique forms of a name and an address; raise `invalid_request` naming what to change.

    With `own_address` the address has been verified, and may be the user name as well.
    """
    address = email if own_address else None
    try:
        return Names(
            names.canonical_username(username, email=address),
            names.skeleton(username, email=address),
            names.canonical_email(email) if email else None,
        )
    except NameRefused as error:
        raise OAuthError("invalid_request", str(error), field=getattr(error, "field", "username")) from None


def check(settings: Settings) -> None:
    """Refuse to start with a breach list that cannot be searched; raise SettingsError."""
    if settings.breach_list is None:
        return
    try:
        with Path(settings.breach_list).open("rb") as file:
            breach_list.contains(file, bytes(breach_list.DIGEST))
    except (OSError, BreachListError) as error:
        raise SettingsError(f"breach_list: {settings.breach_list}: {error}") from None


def _breached(runtime: Runtime) -> Callable[[bytes], bool] | None:
    path = runtime.settings.breach_list
    if path is None:
        return None

    def look_up(digest: bytes) -> bool:
        with Path(path).open("rb") as file:
            return breach_list.contains(file, digest)

    return look_up


def id_by_link(runtime: Runtime, link: bytes) -> str:
    """Return the identifier of the account that a one-time link, given by its digest, will create.

    It is known before the account exists, so that a browser can make a passkey for it.
    """
    key = runtime.root.derive("accounts made by a link")
    return f"user_{hmac.new(key, link, hashlib.sha256).hexdigest()[:32]}"


def new_user(
    runtime: Runtime,
    username: str,
    email: str | None,
    *,
    email_verified: bool = False,
    is_admin: bool = False,
    display_name: str | None = None,
    groups: tuple[str, ...] = (),
    user_id: str | None = None,
) -> User:
    """Return an account that is not stored yet, of names that `check_names` has checked."""
    now = runtime.now()
    return User(
        id=user_id or f"user_{uuid.uuid4().hex}",
        username=username,
        email=names.deliverable_email(email) if email else None,
        email_verified_at=now if email and email_verified else None,
        is_admin=is_admin,
        display_name=display_name,
        created_at=now,
        groups=groups,
    )


async def create(
    runtime: Runtime,
    *,
    username: str,
    email: str | None = None,
    email_verified: bool = False,
    password: str | None = None,
    is_admin: bool = False,
    groups: Iterable[str] = (),
    actor: str,
) -> User:
    """Create an account; raise `invalid_request` naming what to change, or `conflict` when the name is taken.

    The address may be the user name if it is verified; an empty one is none.
    """
    email = email or None
    if email_verified and email is None:
        raise OAuthError("invalid_request", NO_ADDRESS, field="email")
    unique = check_names(username, email, own_address=email_verified)
    member_of = check_groups(groups)
    password_hash = await _hash(runtime, password, username, email)
    user = new_user(
        runtime, username, email, email_verified=email_verified, is_admin=is_admin, groups=member_of
    )
    created = await runtime.database.write(
        store.create_user, user, **unique_of(unique, password_hash), actor=actor
    )
    if not created:
        raise OAuthError("conflict", TAKEN, field="username")
    return msgspec.structs.replace(user, password_changed_at=user.created_at if password_hash else None)


async def create_owner(
    runtime: Runtime,
    *,
    link: bytes,
    username: str,
    email: str | None,
    email_verified: bool = False,
    name: str | None = None,
    password: str | None = None,
    way: MadePasskey | Identity | None = None,
) -> User | None:
    """Create the first owner's account by the one-time link of the first start; None when the link was used or there is an owner.

    The owner signs in with the password or by `way`. Raise as `create_by_link`, and `conflict` for a name that is taken.
    """
    unique = check_names(username, email, own_address=email_verified)
    hashed = await _hash(runtime, password, username, email)
    user = new_user(
        runtime,
        username,
        email,
        email_verified=email_verified,
        is_admin=True,
        display_name=name,
        user_id=id_by_link(runtime, link),
    )
    outcome = await runtime.database.write(
        new_accounts.create_owner, link, user, unique_of(unique, hashed), _way_in(way, user)
    )
    if outcome == "taken":
        raise OAuthError("conflict", TAKEN, field="username")
    _check_way(outcome, way)
    return user if outcome == "created" else None


def unique_of(unique: Names, password_hash: str | None) -> Unique:
    """Return what is stored of an account besides what it shows: the unique forms of its names, and the hash of its password."""
    return {
        "canonical_username": unique.username,
        "skeleton": unique.skeleton,
        "canonical_email": unique.email,
        "password_hash": password_hash,
    }


def _way_in(way: MadePasskey | Identity | None, user: User) -> WayIn | None:
    return upstream_account(way, user) if isinstance(way, Identity) else way


def upstream_account(identity: Identity, user: User, now: int | None = None) -> UpstreamAccount:
    """Return the link between a verified upstream identity and a person, dated `now`, by default the creation of the account."""
    known_as = identity.preferred_username or identity.verified_email or identity.sub
    return UpstreamAccount(*identity.key, user.id, known_as, user.created_at if now is None else now)


def _check_way(outcome: str, way: MadePasskey | Identity | None) -> None:
    if outcome == "way":
        raise UpstreamRefused("refused_taken") if isinstance(way, Identity) else PasskeyRefused("known")


async def create_by_link(
    runtime: Runtime,
    *,
    link: bytes,
    purpose: str,
    email: str,
    is_admin: bool,
    password: str | None = None,
    way: MadePasskey | Identity | None = None,
    name: str | None,
) -> User | None:
    """Create the account of a verified address, which is its user name; None when the link was used.

    The person signs in with the password or by `way`: a passkey, or a verified identity at another provider. Raises `invalid_request`,
    `conflict` for an address that is taken, and PasskeyRefused or UpstreamRefused for a way that belongs to another account or was used
    before.
    """
    unique = check_names(email, email, own_address=True)
    hashed = await _hash(runtime, password, email, email)
    user = new_user(
        runtime,
        email,
        email,
        email_verified=True,
        is_admin=is_admin,
        display_name=name,
        user_id=id_by_link(runtime, link),
    )
    outcome = await runtime.database.write(
        new_accounts.create_by_link, link, purpose, user, unique_of(unique, hashed), _way_in(way, user)
    )
    if outcome == "taken":
        raise OAuthError("conflict", TAKEN, field="username")
    _check_way(outcome, way)
    return user if outcome == "created" else None


async def create_linked(runtime: Runtime, email: str, identity: Identity) -> User | None:
    """Create an account without a password for an address that another provider has verified, linked to the identity there; None when
    either is taken. Raise `invalid_request` for an address that cannot be a user name."""
    unique = check_names(email, email, own_address=True)
    user = new_user(runtime, email, email, email_verified=True, display_name=identity.name)
    outcome = await runtime.database.write(
        new_accounts.create_with, user, unique_of(unique, None), upstream_account(identity, user)
    )
    return user if outcome == "created" else None


async def _hash(runtime: Runtime, password: str | None, username: str, email: str | None) -> str | None:
    return None if password is None else await hash_new_password(runtime, password, username, email)


async def hash_new_password(runtime: Runtime, password: str, username: str, email: str | None) -> str:
    """Check a new password against the rules and return its hash; raise `invalid_request` with the remedy."""
    context = [runtime.settings.service_name, username, *(email or "").split("@")]
    try:
        passwords.check_new_password(password, context_words=context, breached=_breached(runtime))
    except PasswordRefused as error:
        raise OAuthError("invalid_request", error.remedy, detail=error.code, field="password") from None
    return await hashing.run(passwords.hash_password, password, os.urandom(16))
