"""RFC 6749 §4.1.3: the authorization code grant, with PKCE (RFC 7636) and every binding that the code has."""

import hmac
from collections.abc import Mapping

from watchword.flows import authorization, issuing
from watchword.flows.binding import Binding
from watchword.flows.runtime import Runtime
from watchword.oauth import pkce, token_format
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.parameters import Parameters
from watchword.store import grants as store
from watchword.store.grants import Bought, Grant

UNKNOWN = "The code is not valid."
REASONS = {
    "unknown": UNKNOWN,
    "ended": UNKNOWN,
    "expired": "The code has expired.",
    "replayed": "The code was used before: everything issued for it has been revoked.",
}


def decide(
    form: Parameters, client: Client, grant: Grant, request: AuthorizationRequest, binding: Binding
) -> None:
    """Check a token request against what its code was issued for, before the code is used up; raise `invalid_grant`."""
    if grant.client_id != client.client_id:  # §4.1.3
        raise OAuthError("invalid_grant", UNKNOWN, detail="issued to another client")
    sent = form.get("redirect_uri")
    if (request.redirect_uri_sent or sent is not None) and sent != request.redirect_uri:  # §4.1.3
        raise OAuthError(
            "invalid_grant", "redirect_uri differs from the authorization request.", field="redirect_uri"
        )
    pkce.verify(form.get("code_verifier"), request.code_challenge)
    wanted = request.dpop_jkt
    if wanted is not None and not (binding.jkt and hmac.compare_digest(wanted, binding.jkt)):  # RFC 9449 §10
        raise OAuthError("invalid_grant", "The code is bound to another DPoP key.")


async def handle(
    runtime: Runtime, client: Client, form: Parameters, binding: Binding
) -> Mapping[str, object]:
    """Redeem a code; of concurrent redemptions one wins, a replay ends everything that the code bought."""
    digest = token_format.digest(form.require("code"))
    found = await runtime.database.read(store.find_code, digest)
    if found.grant is None:
        raise OAuthError("invalid_grant", UNKNOWN)
    request = authorization.read_stored(found.request)
    decide(form, client, found.grant, request, binding)
    issued = await issuing.make(runtime, client, found.grant, form, binding, nonce=request.nonce)
    refresh_token = runtime.new_secret("r") if client.may("refresh_token") else None
    bought = Bought(
        access_token=issued.access_token.row,
        refresh_token=token_format.digest(refresh_token) if refresh_token else None,
        refresh_expires_at=found.grant.started_at + runtime.settings.refresh_token_lifetime,
        # RFC 9449 §5 and RFC 8705 §4: what binds a public client's refresh tokens
        jkt=binding.jkt if client.is_public else None,
        x5t=binding.x5t if client.is_public else None,
    )
    redeemed = await runtime.database.write(store.redeem_code, digest, bought, runtime.now())
    if redeemed.outcome != "redeemed" or redeemed.grant is None:
        raise OAuthError("invalid_grant", REASONS.get(redeemed.outcome, UNKNOWN), detail=redeemed.outcome)
    return issuing.answer(issued, refresh_token)
