"""Signing a person in: proofs are checked, throttled and recorded; a session begins only after.

The answer and its time are the same for a name that exists and one that does not (SE-05): both cost one hash and the same writes.
"""

import os

import msgspec

from watchword.credentials import names
from watchword.credentials import password as passwords
from watchword.credentials.names import NameRefused
from watchword.flows import hashing, throttle
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import Source
from watchword.store import users as store
from watchword.store.attempts import Bucket
from watchword.store.users import User


class SignInRefused(Exception):
    """The proof was not accepted."""


async def by_password(runtime: Runtime, identifier: str, password: str, source: Source) -> User:
    """Return the person with this name and password; raise SignInRefused or Throttled."""
    name, email = canonical(identifier)
    found = await runtime.database.read(store.find_for_sign_in, name, email)
    user, stored = found if found is not None else (None, None)
    # By account where there is one, so that its name and its address share one counter (LG-04).
    account = user.id if user is not None else throttle.stranger(runtime, name)
    taken = await throttle.admit(runtime, source, account)
    right = await _verify(runtime, stored or passwords.DUMMY_HASH, password, taken)
    if user is None or stored is None or not right or user.disabled_at is not None:
        await throttle.refused(runtime, source, user.id if user is not None else None)
        raise SignInRefused
    await throttle.accepted(runtime, "password", taken)
    if passwords.needs_rehash(stored):
        renewed = await hashing.run(passwords.hash_password, password, os.urandom(16))
        await runtime.database.write(store.rehash_password, user.id, old=stored, new=renewed)
    return user


async def confirm_password(runtime: Runtime, user: User, password: str) -> bool:
    """Whether this is the password of somebody who is signed in; raise Throttled.

    Counted separately from sign-ins: only somebody with a session gets here, so strangers cannot exhaust it. The right one gives back
    what it took (LG-03).
    """
    bucket = Bucket(f"confirm password {user.id}", *throttle.ACCOUNT)
    await throttle.throttle(runtime, *msgspec.structs.astuple(bucket))
    stored = await runtime.database.read(store.find_password, user.id)
    right = stored is not None and await _verify(runtime, stored, password, (bucket,))
    if right:
        await throttle.give_back(runtime, (bucket,))
    return right


async def _verify(runtime: Runtime, stored: str, password: str, taken: tuple[Bucket, ...]) -> bool:
    """Whether a password is right; where there is no time or no memory to find out, give back what the attempt took."""
    try:
        return await hashing.run(passwords.verify_password, stored, password)
    except Exception:
        await throttle.give_back(runtime, taken)
        raise


def canonical(identifier: str) -> tuple[str, str | None]:
    """Return the forms under which what was typed is looked up: as a user name, and as an address if it is one."""
    identifier = identifier.strip()
    try:
        email = names.canonical_email(identifier) if "@" in identifier else None
    except NameRefused:
        email = None
    try:
        return names.canonical_username(identifier, email=identifier if email else None), email
    except NameRefused:
        return f"\x1f{email or ''}", email
