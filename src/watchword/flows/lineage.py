"""What an access token came from, so that the end of its parents is its own end.

A token made of another names its parents in the claim `parents`: an API token by its identifier, a self-contained access token by
its `jti`, an opaque one by its digest, and the client that held it; a token made of an outside assertion names the rule of trust, and
one of a person that comes from no grant the account. Introspection asks whether they all stand; who verifies offline learns of
their end by the revocation feed.
"""

from collections.abc import Mapping

from watchword.flows import client_registry
from watchword.flows.runtime import Runtime
from watchword.store import api_tokens, tokens, trust

MAX_PARENTS = 8


def parents_of(claims: Mapping[str, object]) -> tuple[str, ...]:
    """Return the parents that a token's claims name."""
    named = claims.get("parents")
    return tuple(str(one) for one in named) if isinstance(named, list | tuple) else ()


async def stand(runtime: Runtime, parents: tuple[str, ...]) -> bool:
    """Whether every parent still stands; the expiry of each is the child's as well and need not be looked at."""
    for parent in parents:
        kind, _, identifier = parent.partition(":")
        if not await _stands(runtime, kind, identifier):
            return False
    return True


async def _stands(runtime: Runtime, kind: str, identifier: str) -> bool:
    if kind == "token":
        token = await runtime.database.read(api_tokens.get_token, identifier)
        return token is not None and token.revoked_at is None
    if kind == "jti":
        return not await runtime.database.read(tokens.is_jti_revoked, identifier)
    if kind == "digest":
        row = await runtime.database.read(tokens.find_access_token, bytes.fromhex(identifier))
        return row is not None and row.revoked_at is None
    if kind == "account":  # named for those who cannot look up the subject, as introspection has done before
        return True
    if kind == "trust":
        return await runtime.database.read(trust.find_rule, identifier) is not None
    facts = await client_registry.find_facts(runtime, identifier) if kind == "client" else None
    return facts is not None and facts.client.disabled_at is None
