"""People's accounts: made with names that cannot be mistaken for one another, and passwords that cost to guess."""

import hashlib
import hmac
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from watchword.credentials import breach_list, names
from watchword.credentials import password as passwords
from watchword.credentials.breach_list import BreachListError
from watchword.credentials.names import NameRefused
from watchword.credentials.passkey import PasskeyRefused
from watchword.credentials.password import PasswordRefused
from watchword.flows import hashing
from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store import upstream_accounts
from watchword.store import users as store
from watchword.store.passkeys import MadePasskey
from watchword.store.upstream_accounts import UpstreamAccount
from watchword.store.users import User

MIN_PASSWORD = passwords.MIN_SINGLE_FACTOR
TAKEN = "This name or address, or one that looks like it, is taken."


@dataclass(frozen=True, slots=True)
class Names:
    """A user name and address in the forms under which they are unique."""

    username: str
    skeleton: str
    email: str | None


def check_names(username: str, email: str | None) -> Names:
    """Return the unique forms of a name and an address; raise `invalid_request` naming what to change."""
    try:
        return Names(
            names.canonical_username(username),
            names.skeleton(username),
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
    """Return the identifier that an account will have which is made by a one-time link, given by its digest.

    It is known before the account is there, so that a browser can make a passkey for it.
    """
    key = runtime.master.derive("accounts made by a link")
    return f"user_{hmac.new(key, link, hashlib.sha256).hexdigest()[:32]}"


def _new_user(
    runtime: Runtime, username: str, email: str | None, *, is_admin: bool, user_id: str | None = None
) -> User:
    return User(
        id=user_id or f"user_{uuid.uuid4().hex}",
        username=username,
        email=email,
        is_admin=is_admin,
        created_at=runtime.now(),
    )


async def create(
    runtime: Runtime,
    *,
    username: str,
    email: str | None = None,
    password: str | None = None,
    is_admin: bool = False,
    actor: str,
) -> User:
    """Create an account; raise `invalid_request` naming what to change, or `conflict` when the name is taken."""
    unique = check_names(username, email)
    password_hash = await _hash(runtime, password, username, email)
    user = _new_user(runtime, username, email, is_admin=is_admin)
    created = await runtime.database.write(
        store.create_user,
        user,
        canonical_username=unique.username,
        skeleton=unique.skeleton,
        canonical_email=unique.email,
        password_hash=password_hash,
        actor=actor,
    )
    if not created:
        raise OAuthError("conflict", TAKEN, field="username")
    return user


async def create_owner(
    runtime: Runtime,
    *,
    link: bytes,
    username: str,
    email: str | None,
    password: str | None,
    passkey: MadePasskey | None = None,
) -> User | None:
    """Make the first owner by the one-time link of the first start; None when the link is spent or there is an owner.

    The owner signs in by the password or the passkey. Raise PasskeyRefused for one that is somebody's or was answered before.
    """
    unique = check_names(username, email)
    hashed = await _hash(runtime, password, username, email)
    user = _new_user(runtime, username, email, is_admin=True, user_id=id_by_link(runtime, link))
    outcome = await runtime.database.write(
        store.create_owner,
        link,
        user,
        canonical_username=unique.username,
        skeleton=unique.skeleton,
        canonical_email=unique.email,
        password_hash=hashed,
        passkey=passkey,
    )
    if outcome == "taken":
        raise OAuthError("conflict", TAKEN, field="username")
    _check_kept(outcome)
    return user if outcome == "created" else None


def _check_kept(outcome: str) -> None:
    if outcome == "passkey":
        raise PasskeyRefused("known")


async def create_by_link(
    runtime: Runtime,
    *,
    link: bytes,
    purpose: str,
    email: str,
    is_admin: bool,
    password: str | None,
    passkey: MadePasskey | None = None,
    name: str | None,
) -> User | None:
    """Make the account of a proved address, which is its user name; None when the link is spent or the address taken.

    It is signed in to by the password or the passkey. Raise PasskeyRefused for one that is somebody's or was answered before.
    """
    unique = _names_of(email)
    hashed = await _hash(runtime, password, email, email)
    user = _verified_user(runtime, email, name, is_admin=is_admin, user_id=id_by_link(runtime, link))
    outcome = await runtime.database.write(
        store.create_by_link,
        link,
        purpose,
        user,
        canonical_username=unique.username,
        skeleton=unique.skeleton,
        canonical_email=unique.email,
        password_hash=hashed,
        passkey=passkey,
    )
    _check_kept(outcome)
    return user if outcome == "created" else None


async def create_linked(
    runtime: Runtime, *, email: str, name: str | None, issuer: str, subject: str, known_as: str
) -> User | None:
    """Make an account without a password for an address that another provider has verified, with the account there that
    signs it in; None when either is taken. Raise `invalid_request` for an address that can be no user name."""
    unique = _names_of(email)
    user = _verified_user(runtime, email, name, is_admin=False)
    created = await runtime.database.write(
        upstream_accounts.create_linked,
        user,
        UpstreamAccount(issuer, subject, user.id, known_as, user.created_at),
        canonical_username=unique.username,
        skeleton=unique.skeleton,
        canonical_email=unique.email,
    )
    return user if created else None


def _names_of(email: str) -> Names:
    try:
        return Names(
            names.canonical_username(email, email=email),
            names.skeleton(email, email=email),
            names.canonical_email(email),
        )
    except NameRefused as error:
        raise OAuthError("invalid_request", str(error), field="email") from None


def _verified_user(
    runtime: Runtime, email: str, name: str | None, *, is_admin: bool, user_id: str | None = None
) -> User:
    fresh = _new_user(runtime, email, email, is_admin=is_admin, user_id=user_id)
    return msgspec.structs.replace(fresh, email_verified_at=fresh.created_at, display_name=name)


async def _hash(runtime: Runtime, password: str | None, username: str, email: str | None) -> str | None:
    return None if password is None else await hash_new_password(runtime, password, username, email)


async def hash_new_password(runtime: Runtime, password: str, username: str, email: str | None) -> str:
    """Check a new password against the rules and return its hash; raise `invalid_request` with the remedy."""
    context = [runtime.settings.service_name, username, *(email or "").split("@")]
    try:
        passwords.check_new_password(
            password, context_words=context, breached=_breached(runtime), single_factor=True
        )
    except PasswordRefused as error:
        raise OAuthError("invalid_request", error.remedy, detail=error.code, field="password") from None
    return await hashing.run(passwords.hash_password, password, os.urandom(16))
