"""RFC 6749 §4.1.3: the authorization code grant, with PKCE (RFC 7636) and DPoP binding of the code (RFC 9449 §10)."""

import hmac
from collections.abc import Mapping

from watchword.flows import authorization, issuing
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.oauth import pkce, token_format
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.errors import OAuthError
from watchword.store import redemption as store
from watchword.store.grants import Grant, Standing

UNKNOWN = "The code is not valid."
REASONS = {
    "unknown": UNKNOWN,
    "ended": UNKNOWN,
    "expired": "The code has expired.",
    "replayed": "The code was used before: everything issued for it has been revoked.",
}


def decide(request: TokenRequest, grant: Grant, authorized: AuthorizationRequest) -> None:
    """Check a token request against the request that its code was issued for, before the code is redeemed; raise `invalid_grant`."""
    form, binding = request.form, request.binding
    if grant.client_id != request.client.client_id:  # §4.1.3
        raise OAuthError("invalid_grant", UNKNOWN, detail="issued to another client")
    sent = form.get("redirect_uri")
    if (authorized.redirect_uri_sent or sent is not None) and sent != authorized.redirect_uri:  # §4.1.3
        raise OAuthError(
            "invalid_grant", "redirect_uri differs from the authorization request.", field="redirect_uri"
        )
    pkce.verify(form.get("code_verifier"), authorized.code_challenge)
    wanted = authorized.dpop_jkt
    if wanted is not None and not (binding.jkt and hmac.compare_digest(wanted, binding.jkt)):  # RFC 9449 §10
        raise OAuthError("invalid_grant", "The code is bound to a DPoP key that this request does not prove.")


async def handle(runtime: Runtime, request: TokenRequest) -> Mapping[str, object]:
    """Redeem a code; of concurrent redemptions one wins, a replay revokes everything that was issued for the code (§4.1.2)."""
    digest = token_format.digest(request.form.require("code"))
    now = runtime.now()
    found = await runtime.database.read(store.find_code, digest, now)
    if found is None or not found.request:
        raise OAuthError("invalid_grant", UNKNOWN)
    authorized = authorization.read_stored(found.request)
    decide(request, found.grant, authorized)
    if found.code_used_at is not None or found.grant.ended_at is not None or _is_late(found, now):
        # Before the requested scope and resource are read: in any case such a code is used up, and the attempt recorded.
        raise await _refusal(runtime, digest)
    issued = await issuing.make(runtime, request, found, nonce=authorized.nonce)
    refresh_token, bought = issuing.buy(runtime, request, found.grant)
    async with issuing.stored(runtime, issued) as storing:
        if not await store.redeem_code(runtime.database, digest, found.grant, bought, now, after=storing):
            raise await _refusal(runtime, digest)
    return issuing.answer(issued, refresh_token)


def _is_late(found: Standing, now: int) -> bool:
    return found.code_expires_at is not None and now >= found.code_expires_at


async def _refusal(runtime: Runtime, digest: bytes) -> OAuthError:
    reason = await runtime.database.write(store.refuse_code, digest, runtime.now())
    return OAuthError("invalid_grant", REASONS.get(reason, UNKNOWN), detail=reason)
