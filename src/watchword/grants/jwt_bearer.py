"""RFC 7523 §2.1: the JWT bearer grant: another issuer's assertion becomes a short-lived token, by trust rules."""

from collections.abc import Mapping

from watchword.flows import assertions, minting
from watchword.flows.assertions import Accepted, Asked
from watchword.flows.binding import Binding
from watchword.flows.minting import AccessGrant
from watchword.flows.runtime import Runtime
from watchword.oauth import authorization_details
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.parameters import Parameters
from watchword.oauth.scopes import parse_scope
from watchword.presence import HasLeft
from watchword.store import trust as store
from watchword.store.trust import Use


async def handle(
    runtime: Runtime, client: Client, form: Parameters, binding: Binding, _has_left: HasLeft
) -> Mapping[str, object]:
    """Issue an access token for an assertion, once; never a refresh token, since the client can present a new assertion."""
    authorization_details.refuse(form.get("authorization_details"))
    assertion, scope = form.require("assertion"), parse_scope(form.get("scope") or "")
    asked = Asked(assertion, scope, form.all("resource"), binding.jkt)
    try:
        accepted = await assertions.check(runtime, client, asked)
    except OAuthError as error:
        await assertions.note_refusal(runtime, client, asked.assertion, error)
        raise
    return await _issue(runtime, client, accepted, binding)


async def _issue(
    runtime: Runtime, client: Client, accepted: Accepted, binding: Binding
) -> Mapping[str, object]:
    now, rule = runtime.now(), accepted.rule
    claims = {**accepted.claims, **binding.confirmation(client), "parents": (f"trust:{rule.id}",)}
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
