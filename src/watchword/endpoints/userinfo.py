"""OpenID Connect Core §5.3: the userinfo endpoint."""

from watchword.flows import caller, userinfo
from watchword.http import Request, Response, json_response


async def answer(request: Request) -> Response:
    """Answer what the granted scopes tell of the person (§5.4)."""
    runtime = request.runtime
    who = await caller.authenticate(runtime, request.credentials(), request.path, any_audience=True)
    _, told = await userinfo.claims_for(runtime, who)
    return json_response(200, told)
