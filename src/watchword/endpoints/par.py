"""RFC 9126: pushed authorization requests."""

from watchword.flows import anonymous, authorization_requests, client_auth, proofs
from watchword.http import Request, Response, json_response


async def push(request: Request) -> Response:
    """Check and store an authorization request of an authenticated client; answer with its `request_uri` (§2.2)."""
    form = request.form()
    runtime = request.runtime
    client = await client_auth.authenticate(runtime, request.credentials(), form.single())
    anonymous.admit_client(runtime, client, "push", request.address)
    binding = await proofs.prove(runtime, client, request.credentials(), "/par")
    parameters = {**form.single(), "client_id": client.client_id}
    request_uri = await authorization_requests.push(
        runtime, client, parameters, form.all("resource"), binding.jkt
    )
    lifetime = runtime.settings.pushed_request_lifetime
    return json_response(201, {"request_uri": request_uri, "expires_in": lifetime})
