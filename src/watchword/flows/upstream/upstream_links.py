"""Accounts at other providers that people have linked to theirs here: linked, listed, and created from one with a verified address.

How somebody signs in there is in `provider_sign_in`, removing a link in `flows.ways_in`.
"""

import hashlib
import hmac
from urllib.parse import urlsplit

from watchword.credentials import upstream_apple, upstream_github
from watchword.credentials.names import NameRefused, canonical_email
from watchword.credentials.upstream import Identity
from watchword.flows import sessions
from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts
from watchword.oauth.errors import OAuthError
from watchword.settings import Upstream
from watchword.store import upstream_accounts, users
from watchword.store.sessions import Session
from watchword.store.upstream_accounts import UpstreamAccount
from watchword.store.users import User


async def owner_of_address(runtime: Runtime, identity: Identity) -> User | None:
    """Return the account with the provider's verified address; its owner has to sign in here before the identity is linked."""
    email = _address(identity)
    return await runtime.database.read(users.find_user, "\x1f", email) if email is not None else None


def _address(identity: Identity) -> str | None:
    """Return the canonical form of the address that a provider has verified; None without a valid one."""
    try:
        return canonical_email(identity.verified_email) if identity.verified_email is not None else None
    except NameRefused:
        return None


async def is_address_taken(runtime: Runtime, identity: Identity) -> bool:
    """Whether an account has the address that a provider has verified, or has it as its user name, verified here or not."""
    email = _address(identity)
    return email is not None and await runtime.database.read(users.is_email_taken, email)


async def link(runtime: Runtime, user: User, identity: Identity, session: Session | None = None) -> bool:
    """Link a verified identity to an account, in a session of its owner, or without one right after the owner has signed in.

    Returns False when it is linked to an account already, or what proved the account was removed meanwhile; raises as `sessions.act`.
    """
    account, write = accounts.upstream_account(identity, user, runtime.now()), runtime.database.write
    if session is not None:
        return await sessions.act(runtime, session, upstream_accounts.link_upstream, account, actor=user.id)
    return await write(upstream_accounts.link_proved, account, proof_epoch=user.proof_epoch)


def ticket(runtime: Runtime, session_id: str, name: str) -> str:
    """Return the CSRF ticket by which a session's account page begins to link a provider."""
    text = f"{session_id}\n{name}".encode()
    return hmac.new(runtime.root.derive("upstream linking"), text, hashlib.sha256).hexdigest()


def check_ticket(runtime: Runtime, session_id: str, name: str, sent: str) -> None:
    """Check the ticket of the account page; raise `access_denied`."""
    if not hmac.compare_digest(ticket(runtime, session_id, name).encode(), sent.encode("utf-8", "replace")):
        raise OAuthError(
            "access_denied", "This was not asked for on the account page: open it again.", field="csrf"
        )


async def linked(runtime: Runtime, user: User) -> list[tuple[Upstream, UpstreamAccount | None]]:
    """Return every provider that is offered, each with the account that a person linked there."""
    accounts_there = await runtime.database.read(upstream_accounts.list_upstream, user.id)
    by_issuer = {one.issuer: one for one in accounts_there}
    return [(one, by_issuer.get(issuer_of(one))) for one in runtime.settings.upstream]


async def left_over(runtime: Runtime, user: User) -> list[UpstreamAccount]:
    """Return the accounts that a person linked at providers that are no longer offered."""
    offered = {issuer_of(one) for one in runtime.settings.upstream}
    linked_ever = await runtime.database.read(upstream_accounts.list_upstream, user.id)
    return [one for one in linked_ever if one.issuer not in offered]


def host_of(account: UpstreamAccount) -> str:
    """Return by what a provider is called that has no title any more."""
    return urlsplit(account.issuer).netloc or account.issuer


def issuer_of(settings: Upstream) -> str:
    """Return the issuer under which a provider's accounts are linked."""
    known = {"github": upstream_github.ISSUER, "apple": upstream_apple.ISSUER}
    return settings.issuer or known.get(settings.kind, "")


async def register(runtime: Runtime, identity: Identity) -> User | None:
    """Create an account for an identity with a verified address, linked to it; None when either is taken or unsuitable."""
    if identity.verified_email is None:
        return None
    try:
        return await accounts.create_linked(runtime, identity.verified_email, identity)
    except OAuthError:
        return None
