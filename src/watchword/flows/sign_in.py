"""Signing a person in: proofs are checked, throttled and recorded; a session begins only after.

The answer and its time are the same for a name that exists and one that does not (SE-05). Throttling counts by account and by
address in the database, so that it holds over all processes; it slows and never locks out for ever (LG-01, LG-02).
"""

import os

from watchword.credentials import names
from watchword.credentials import password as passwords
from watchword.credentials.names import NameRefused
from watchword.flows import hashing
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import throttle
from watchword.store import users as store
from watchword.store.users import User

# By account: ten at once, then one a minute. By address: fifty at once, then one every two seconds.
ACCOUNT_CAPACITY, ACCOUNT_PER_SECOND = 10.0, 1 / 60
ADDRESS_CAPACITY, ADDRESS_PER_SECOND = 50.0, 0.5


class SignInRefused(Exception):
    """The proof was not accepted."""


async def by_password(runtime: Runtime, identifier: str, password: str, address: str) -> User:
    """Return the person whose name and password these are; raise SignInRefused or Throttled."""
    name, email = canonical(identifier)
    await throttle(runtime, f"sign-in address {address}", ADDRESS_CAPACITY, ADDRESS_PER_SECOND)
    found = await runtime.database.read(store.find_for_sign_in, name, email)
    user, stored = found if found is not None else (None, None)
    # By account where there is one, so that its name and its address share one counter (LG-04).
    account = user.id if user is not None else name
    await throttle(runtime, f"sign-in account {account}", ACCOUNT_CAPACITY, ACCOUNT_PER_SECOND)
    right = await hashing.run(passwords.verify_password, stored or passwords.DUMMY_HASH, password)
    if user is None or stored is None or not right or user.disabled_at is not None:
        raise SignInRefused
    if passwords.needs_rehash(stored):
        renewed = await hashing.run(passwords.hash_password, password, os.urandom(16))
        await runtime.database.write(store.rehash_password, user.id, old=stored, new=renewed)
    return user


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
