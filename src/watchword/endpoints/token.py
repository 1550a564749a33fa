"""RFC 6749 §3.2: the token endpoint."""

from watchword import grants
from watchword.flows import client_auth
from watchword.http import Request, Response, json_response


async def token(request: Request) -> Response:
    """Authenticate the client, and let the grant decide and answer (§5.1)."""
    form, credentials = request.form(), request.credentials()
    form.require("grant_type")  # before the client's secret is looked at: such a request can be of no use
    client = await client_auth.authenticate(request.runtime, credentials, form.single())
    answer = await grants.respond(request.runtime, client, form, credentials, request.has_left)
    return json_response(200, answer)
