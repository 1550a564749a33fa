"""RFC 7591 and RFC 7592: the client registration endpoint and each client's configuration endpoint."""

from watchword.flows import registration
from watchword.http import Request, Response, json_response
from watchword.oauth.errors import OAuthError
from watchword.telemetry import count

REDIRECT_URIS = ("redirect_uris", "post_logout_redirect_uris")


async def register(request: Request) -> Response:
    """Register a client by its own metadata (RFC 7591 §3)."""
    runtime = request.runtime
    made = await registration.register(runtime, request.credentials(), _metadata(request))
    count("clients_registered")
    return json_response(201, registration.describe(made, runtime.settings))


async def show(request: Request) -> Response:
    """Show a client its registration (RFC 7592 §2.1)."""
    found = await registration.find(request.runtime, request.credentials(), request.path_params["client_id"])
    return json_response(200, registration.describe(found, request.runtime.settings))


async def replace(request: Request) -> Response:
    """Replace what a client registered (RFC 7592 §2.2)."""
    runtime, client_id = request.runtime, request.path_params["client_id"]
    made = await registration.replace(runtime, request.credentials(), client_id, _metadata(request))
    return json_response(200, registration.describe(made, runtime.settings))


async def delete(request: Request) -> Response:
    """Delete a client at its own request (RFC 7592 §2.3)."""
    await registration.delete(request.runtime, request.credentials(), request.path_params["client_id"])
    return Response(204)


def _metadata(request: Request) -> object:
    try:
        return request.json()
    except OAuthError as error:  # RFC 7591 §3.2.2: always one of these codes, with 400
        code = "invalid_redirect_uri" if error.field in REDIRECT_URIS else "invalid_client_metadata"
        raise OAuthError(code, error.description, field=error.field) from None
