"""RFC 6749 §6 and RFC 9700 §4.14: the refresh token grant, with rotation at every use unless the client's profile forbids it.

The state machine is in `oauth.refresh`. The successor of a token is derived from the token and the root secret. So the loser of an
honest race gets the same successor, and nobody can compute it with only one of the two.
"""

from collections.abc import Awaitable, Mapping

from watchword.flows import issuing, refresh_tokens
from watchword.flows.refresh_tokens import Presented
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.oauth import refresh, token_format
from watchword.oauth.errors import OAuthError
from watchword.oauth.refresh import Outcome
from watchword.presence import HasLeft
from watchword.store import redemption as store
from watchword.store.grants import Grant, Standing


def _unknown() -> OAuthError:
    return OAuthError("invalid_grant", "The refresh token is not valid.")


def decide(request: TokenRequest, grant: Grant) -> None:
    """Check who presents a refresh token, before anything changes; raise `invalid_grant`."""
    refresh.check_binding(
        owner=grant.client_id,
        client_id=request.client.client_id,
        jkt=grant.jkt,
        proven_jkt=request.binding.jkt,
        x5t=grant.x5t,
        proven_x5t=request.binding.x5t,
    )


async def handle(runtime: Runtime, request: TokenRequest) -> Mapping[str, object]:
    """Rotate a refresh token, return its successor once more, or burn the family, as the state machine decides."""
    presented = refresh_tokens.read(runtime, request.form.require("refresh_token"))
    if presented is None:
        raise _unknown()
    standing = await refresh_tokens.find(runtime, presented)
    if standing is None:
        raise _unknown()
    decide(request, standing.grant)
    generation = store.generation_of(standing, presented.digest)
    outcome = refresh.decide(
        store.family_of(standing.grant), generation, refresh_tokens.limits(runtime), runtime.now()
    )
    if outcome not in ("rotate", "replay"):
        # Before the requested scope and resource are read: an error in them must not hide a reuse (RFC 9700 §4.14.2).
        await _settle(runtime, presented, request.has_left)
        outcome = "replay"  # a concurrent refresh has revived the family
    issued = await issuing.make(runtime, request, standing, scope=request.form.get("scope"))
    async with issuing.stored(runtime, issued) as storing:
        token = await _next(runtime, request, presented, standing, outcome, after=storing)
    return issuing.answer(issued, token)


async def _next(
    runtime: Runtime,
    request: TokenRequest,
    presented: Presented,
    standing: Standing,
    outcome: Outcome,
    *,
    after: Awaitable[object] | None,
) -> str:
    """Return the refresh token to use next, once this use is stored; raise `invalid_grant`. `after` as in `Database.change`."""
    now = runtime.now()
    expires_at = standing.grant.started_at + runtime.settings.refresh_token_lifetime
    if outcome == "rotate" and not request.client.rotates_refresh_tokens:
        used = await runtime.database.write(
            store.use_refresh_token, presented.digest, standing, expires_at=expires_at, now=now
        )
        if used:
            return presented.token
    elif outcome == "rotate":
        successor = refresh_tokens.successor(runtime, presented.token)
        rotating = store.rotate_refresh_token(
            runtime.database,
            presented.digest,
            standing,
            mark=presented.mark,
            successor=token_format.digest(successor),
            expires_at=expires_at,
            now=now,
            after=after,
        )
        if await rotating:
            return successor
    return await _settle(runtime, presented, request.has_left)


async def _settle(runtime: Runtime, presented: Presented, has_left: HasLeft) -> str:
    """Return the successor that a token has already; raise `invalid_grant`, after burning the family where it was reused.

    This decides again, in one transaction with the consequences: a concurrent refresh may have changed the family since.
    """
    outcome = await runtime.database.write(
        store.settle_refresh_token,
        presented.mark,
        presented.digest,
        refresh_tokens.limits(runtime),
        runtime.now(),
        has_left,
    )
    if outcome is None:
        raise _unknown()
    if (refused := refresh.refusal(outcome)) is not None:
        raise refused
    if outcome != "replay":
        raise _unknown()
    return refresh_tokens.successor(runtime, presented.token)
