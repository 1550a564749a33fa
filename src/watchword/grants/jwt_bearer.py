"""RFC 7523 §2.1: the JWT bearer grant: another issuer's assertion becomes a short-lived token, by trust rules."""

from collections.abc import Mapping

from watchword.flows import minting
from watchword.flows.minting import AccessGrant
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.flows.trust import assertions
from watchword.flows.trust.assertions import Accepted, Asked
from watchword.oauth import authorization_details
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import parse_scope
from watchword.store import trust as store
from watchword.store.trust import Use


async def handle(runtime: Runtime, request: TokenRequest) -> Mapping[str, object]:
    """Issue an access token for an assertion, once; never a refresh token, since the client can present a new assertion."""
    client, form = request.client, request.form
    authorization_details.refuse(form.get("authorization_details"))
    assertion, scope = form.require("assertion"), parse_scope(form.get("scope") or "")
    asked = Asked(assertion, scope, form.all("resource"), request.binding.jkt)
    try:
        accepted = await assertions.check(runtime, client, asked)
    except OAuthError as error:
        await assertions.note_refusal(runtime, client, asked.assertion, error)
        raise
    return await _issue(runtime, request, accepted)


async def _issue(runtime: Runtime, request: TokenRequest, accepted: Accepted) -> Mapping[str, object]:
    now, client, rule = runtime.now(), request.client, accepted.rule
    claims = {**accepted.claims, **request.confirmation(), "parents": (f"trust:{rule.id}",)}
    grant = AccessGrant(
        client=client,
        subject=accepted.subject,
        scope=accepted.scope,
        audience=accepted.audience,
        lifetime=min(rule.token_lifetime, minting.lifetime_of(runtime, client)),
        claims=claims,
    )
    minted = await minting.mint(runtime, grant, now)
    use = Use(
        used=accepted.used,
        row=minted.row,
        link=accepted.link,
        client_id=client.client_id,
        subject=accepted.subject,
        rule_id=rule.id,
        details={"scope": " ".join(accepted.scope), "audience": " ".join(accepted.audience)},
    )
    outcome = await runtime.database.write(store.use_assertion, use, now)
    if outcome != "accepted":
        raise assertions.refused(outcome)  # RFC 7523 §3 (7)
    return minting.token_response(minted, accepted.scope)
