"""Taking a way to sign in from an account, by its owner: a passkey, or the account at another provider; the last one stays."""

from watchword.flows import upstream
from watchword.flows.runtime import Runtime
from watchword.settings import Settings
from watchword.store import ways_in as store
from watchword.store.users import User
from watchword.store.ways_in import Taken


def taken(settings: Settings) -> Taken:
    """Return by what people sign in here."""
    methods = settings.sign_in_methods
    issuers = frozenset(upstream.issuer_of(one) for one in settings.upstream)
    return Taken("password" in methods, "passkey" in methods, issuers)


async def may_lose_passkey(runtime: Runtime, user: User, passkey_id: str) -> bool:
    """Whether a person can sign in without one of their passkeys."""
    ways = taken(runtime.settings)
    if not ways.passkey:
        return True
    return await runtime.database.read(store.has_other_way, user.id, ways, passkey=passkey_id)


async def remove_passkey(runtime: Runtime, user: User, passkey_id: str) -> str:
    """Remove a person's passkey: "removed", "unknown", or "last" when it is the only way in."""
    ways = taken(runtime.settings)
    return await runtime.database.write(
        store.remove_passkey, passkey_id, user.id, ways, actor=user.id, now=runtime.now()
    )


async def unlink(runtime: Runtime, user: User, name: str) -> str:
    """Unlink a person's account with a provider: "removed", "unknown", or "last" when it is the only way in."""
    issuer = upstream.issuer_of(upstream.configured(runtime, name))
    return await runtime.database.write(
        store.unlink_upstream, user.id, issuer, taken(runtime.settings), actor=user.id, now=runtime.now()
    )
