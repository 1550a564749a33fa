"""OpenID Connect Back-Channel Logout 1.0 §2.5: the endpoint to which an upstream provider sends its logout tokens."""

from watchword.flows.upstream import upstream_logout
from watchword.http import NO_STORE, Request, Response


async def receive(request: Request) -> Response:
    """Process a logout token; 200 says that no session is left that came from the one it names (§2.8)."""
    token = request.form().require("logout_token")
    await upstream_logout.receive(request.runtime, request.path_params["name"], token)
    return Response(200, b"", tuple(NO_STORE))
