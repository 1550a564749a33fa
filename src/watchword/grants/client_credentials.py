"""RFC 6749 §4.4: the client credentials grant, for a client that acts for itself."""

from collections.abc import Mapping

import msgspec

from watchword.flows import minting
from watchword.flows.binding import Binding
from watchword.flows.minting import AccessGrant
from watchword.flows.runtime import Runtime
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.parameters import Parameters
from watchword.oauth.scopes import narrow, parse_scope
from watchword.oauth.targets import resolve_audience


class Request(msgspec.Struct, frozen=True):
    """What the client asks for."""

    scope: tuple[str, ...]
    resource: tuple[str, ...]


def decide(
    request: Request, client: Client, default_resource: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the scope and audience to grant; hold every check of this grant."""
    if client.is_public:  # §4.4: "MUST only be used by confidential clients"
        raise OAuthError("unauthorized_client", "A public client cannot use this grant.")
    return narrow(request.scope, client.scope), resolve_audience(
        request.resource, client.resources, default_resource
    )


async def handle(
    runtime: Runtime, client: Client, form: Parameters, binding: Binding
) -> Mapping[str, object]:
    """Issue an access token to the client itself; never a refresh token (§4.4.3)."""
    request = Request(parse_scope(form.get("scope") or ""), form.all("resource"))
    scope, audience = decide(request, client, runtime.settings.resource)
    grant = AccessGrant(
        client=client,
        subject=client.client_id,
        scope=scope,
        audience=audience,
        lifetime=minting.lifetime_of(runtime, client),
        claims=binding.confirmation(client),
    )
    return minting.token_response(await minting.issue(runtime, grant), scope)
