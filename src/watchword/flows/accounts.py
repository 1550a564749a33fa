"""People's accounts: made with names that cannot be mistaken for one another."""

import asyncio
import os
import uuid

from watchword.credentials import names
from watchword.credentials import password as passwords
from watchword.credentials.names import NameRefused
from watchword.credentials.password import PasswordRefused
from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError
from watchword.store import users as store
from watchword.store.users import User


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
    try:
        canonical, skeleton = names.canonical_username(username), names.skeleton(username)
        canonical_email = names.canonical_email(email) if email else None
    except NameRefused as error:
        raise OAuthError("invalid_request", error.remedy, field=error.field) from None
    password_hash = (
        await hash_new_password(runtime, password, username, email) if password is not None else None
    )
    user = User(
        id=f"user_{uuid.uuid4().hex}",
        username=username,
        email=email,
        is_admin=is_admin,
        created_at=runtime.now(),
    )
    created = await runtime.database.write(
        store.create_user,
        user,
        canonical_username=canonical,
        skeleton=skeleton,
        canonical_email=canonical_email,
        password_hash=password_hash,
        actor=actor,
    )
    if not created:
        raise OAuthError(
            "conflict", "This name or address, or one that looks like it, is taken.", field="username"
        )
    return user


async def hash_new_password(runtime: Runtime, password: str, username: str, email: str | None) -> str:
    """Check a new password against the rules and return its hash; raise `invalid_request` with the remedy."""
    context = [runtime.settings.service_name, username, *(email or "").split("@")]
    try:
        passwords.check_new_password(password, context_words=context, single_factor=True)
    except PasswordRefused as error:
        raise OAuthError("invalid_request", error.remedy, field="password") from None
    return await asyncio.to_thread(passwords.hash_password, password, os.urandom(16))
