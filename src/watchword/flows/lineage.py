"""What an access token was derived from, so that it ends with its parents.

The claim `parents` of a token names what it depends on. If it was obtained by exchange, that is the token before it (an API token by
its identifier, a self-contained access token by its `jti` and the key that signed it, an opaque one by its digest) and the client that
held it; if it was issued for another issuer's assertion, the trust rule; if it is a person's without a grant, the account.
Introspection checks that none of them has ended. Resource servers that verify offline learn of it from the revocation feed.
"""

from collections.abc import Mapping

from watchword.flows.clients import client_registry
from watchword.flows.runtime import Runtime
from watchword.oauth import ended
from watchword.store import api_tokens, tokens, trust
from watchword.store.ended import ended_before
from watchword.store.users import User

MAX_PARENTS = 9


def parents_of(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Return the parents that a token's claims name."""
    named = claims.get("parents")
    return tuple(str(one) for one in named) if isinstance(named, list | tuple) else ()


def clients_of(parents: tuple[str, ...]) -> tuple[str, ...]:
    """Return the clients among a token's parents."""
    return tuple(one.removeprefix("client:") for one in parents if one.startswith("client:"))


async def stand(runtime: Runtime, parents: tuple[str, ...], issued_at: int) -> bool:
    """Whether no parent has ended since a token was issued (Unix seconds); expiry need not be checked, since a child never outlives its
    parents."""
    for parent in parents:
        kind, _, identifier = parent.partition(":")
        if not await _stands(runtime, kind, identifier, issued_at):
            return False
    return True


async def valid_since(runtime: Runtime, parents: tuple[str, ...]) -> int:
    """Return the earliest date of issue (Unix seconds) at which a token with these parents has not ended with one of their clients."""
    since = 0
    for client_id in clients_of(parents):
        facts = await client_registry.find_facts(runtime, client_id)
        since = max(since, facts.valid_from if facts is not None else 0)
    return since


def account_handle(runtime: Runtime, user_id: str) -> str:
    """Return the name of an account in its tokens and in the revocation feed."""
    return ended.account_handle(runtime.root.derive("audit"), user_id)


async def account_valid_since(runtime: Runtime, user: User) -> int:
    """Return the earliest date of issue (Unix seconds) at which a token of a person without a grant has not ended with the account."""
    if not user.valid_from:  # it was never disabled
        return 0
    return await runtime.database.read(ended_before, "account", account_handle(runtime, user.id))


async def _stands(runtime: Runtime, kind: str, identifier: str, issued_at: int) -> bool:
    if kind == "token":
        token = await runtime.database.read(api_tokens.get_token, identifier)
        return token is not None and token.revoked_at is None
    if kind == "jti":
        return not await runtime.database.read(tokens.is_jti_revoked, identifier)
    if kind == "digest":
        row = await runtime.database.read(tokens.find_access_token, bytes.fromhex(identifier))
        return row is not None and row.revoked_at is None
    if kind == "account":  # for the revocation feed only: introspection has checked the subject itself
        return True
    if kind == "key":  # it is published for longer than anything that it signed lives, unless it was revoked
        return any(key.kid == identifier for key in await runtime.keyring.verification_keys())
    if kind == "trust":
        return await runtime.database.read(trust.find_rule, identifier) is not None
    facts = await client_registry.find_facts(runtime, identifier) if kind == "client" else None
    # A client that was disabled is enabled again without what it held before, and so without what was made of that.
    return facts is not None and facts.client.disabled_at is None and issued_at >= facts.valid_from
