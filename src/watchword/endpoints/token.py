"""RFC 6749 §3.2: the token endpoint."""

from watchword.flows import client_auth, proofs
from watchword.grants import GRANTS
from watchword.http import Request, Response, json_response
from watchword.oauth.errors import OAuthError
from watchword.telemetry import count


async def token(request: Request) -> Response:
    """Authenticate the client, check its proofs, and let the grant decide and answer (§5.1)."""
    form = request.form()
    grant_type = form.require("grant_type")
    client = await client_auth.authenticate(request.runtime, request.credentials(), form.single())
    handle = GRANTS.get(grant_type)
    if handle is None:
        raise OAuthError("unsupported_grant_type", "This grant type is not supported.", field="grant_type")
    if not client.may(grant_type):
        raise OAuthError("unauthorized_client", "The client is not registered for this grant type.")
    binding = await proofs.prove(request.runtime, client, request.credentials(), "/token")
    if request.runtime.statuses.concern(client):
        await request.runtime.statuses.prepare(client)
    answer = await handle(request.runtime, client, form, binding, request.has_left)
    count("tokens_issued", grant_type)
    request.runtime.usage.note_issue(client.client_id)
    return json_response(200, answer)
