"""RFC 6749 §4.4: the client credentials grant, for a client that acts for itself."""

from collections.abc import Mapping

import msgspec

from watchword.flows import detail_types, minting
from watchword.flows.issuing import Extent
from watchword.flows.minting import AccessGrant
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.oauth import authorization_details
from watchword.oauth.authorization import Rules
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import narrow, parse_scope
from watchword.oauth.targets import resolve_audience


class Request(msgspec.Struct, frozen=True):
    """What the client asks for."""

    scope: tuple[str, ...]
    resource: tuple[str, ...]
    authorization_details: str | None = None


def decide(asked: Request, client: Client, rules: Rules) -> Extent:
    """Return the scope, audience and details to grant; hold every check of this grant."""
    if client.is_public:  # §4.4: "MUST only be used by confidential clients"
        raise OAuthError("unauthorized_client", "A public client cannot use this grant.")
    audience = resolve_audience(asked.resource, client.resources, rules.default_resource)
    if asked.authorization_details is None:
        return Extent(narrow(asked.scope, client.scope), audience)
    details = authorization_details.parse(
        asked.authorization_details, rules.detail_types, client.authorization_details_types
    )
    # RFC 9396 §3.1: a request with authorization_details and no scope gets no default scope
    scope = narrow(asked.scope, client.scope) if asked.scope else ()
    return Extent(scope, audience, details)


async def handle(runtime: Runtime, request: TokenRequest) -> Mapping[str, object]:
    """Issue an access token to the client itself; never a refresh token (§4.4.3)."""
    client, form = request.client, request.form
    asked = Request(
        parse_scope(form.get("scope") or ""), form.all("resource"), form.get("authorization_details")
    )
    rules = Rules(
        runtime.settings.resource,
        detail_types.of(runtime.settings) if asked.authorization_details is not None else {},
    )
    extent = decide(asked, client, rules)
    claims = request.confirmation()
    if extent.details:
        claims["authorization_details"] = extent.details
    grant = AccessGrant(
        client=client,
        subject=client.client_id,
        scope=extent.scope,
        audience=extent.audience,
        lifetime=minting.lifetime_of(runtime, client),
        claims=claims,
    )
    return minting.token_response(await minting.issue(runtime, grant), extent.scope, extent.details)
