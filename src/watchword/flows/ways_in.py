"""Removal of a way to sign in by the account's owner: a passkey, an identity or a linked provider; the last way cannot be removed."""

from collections.abc import Iterable

from watchword.flows import identities, sessions
from watchword.flows.runtime import Runtime
from watchword.flows.upstream import provider_sign_in, upstream_links
from watchword.settings import Settings
from watchword.store import ways_in as store
from watchword.store.identities import list_identities
from watchword.store.passkeys import StoredPasskey
from watchword.store.sessions import Session
from watchword.store.users import User
from watchword.store.ways_in import Accepted


def accepted(settings: Settings) -> Accepted:
    """Return the ways to sign in that are accepted here."""
    methods = settings.sign_in_methods
    issuers = frozenset(upstream_links.issuer_of(one) for one in settings.upstream)
    return Accepted("password" in methods, "passkey" in methods, "identity" in methods, issuers)


async def may_lose_passkey(runtime: Runtime, user: User, passkeys: Iterable[StoredPasskey]) -> bool:
    """Whether at least one of a person's passkeys can be removed without locking them out."""
    ways, now = accepted(runtime.settings), runtime.now()
    for one in passkeys:
        if not ways.passkey or await runtime.database.read(
            store.has_other_way, user.id, ways, now, passkey=one.id
        ):
            return True
    return False


async def remove_passkey(runtime: Runtime, session: Session, passkey_id: str) -> str:
    """Remove a person's passkey: "removed", "unknown", or "last" when it is the only way in. Raise as `sessions.act`."""
    who, ways = session.user_id, accepted(runtime.settings)
    more = {"actor": who, "now": runtime.now()}
    return await sessions.act(runtime, session, store.remove_passkey, passkey_id, who, ways, **more)


async def revoke_identity(runtime: Runtime, session: Session, identity_id: str) -> str:
    """Revoke one of a person's identities: "removed", "unknown", or "last" when it is the only way in. Raise as `sessions.act`."""
    for registered in await runtime.database.read(list_identities, session.user_id):
        if registered.id != identity_id:
            continue
        point, ways = identities.read_identity(registered.document).public, accepted(runtime.settings)
        return await sessions.act(
            runtime, session, store.revoke_own_identity, registered, point, ways, now=runtime.now()
        )
    return "unknown"


async def unlink(runtime: Runtime, session: Session, name: str) -> str:
    """Unlink a person's account with a provider: "removed", "unknown", or "last" when it is the only way in. Raise as `sessions.act`.

    `name` is the provider's, or the issuer of one that is no longer offered. Raise `not_found` for a name that no provider has.
    """
    is_issuer = "://" in name
    issuer = name if is_issuer else upstream_links.issuer_of(provider_sign_in.configured(runtime, name))
    who, ways = session.user_id, accepted(runtime.settings)
    more = {"actor": who, "now": runtime.now()}
    return await sessions.act(runtime, session, store.unlink_upstream, who, issuer, ways, **more)
