"""OpenID Connect Core §5.3: the userinfo endpoint."""

from watchword.flows import caller, userinfo
from watchword.http import NO_STORE, Request, Response


async def answer(request: Request) -> Response:
    """Answer what the granted scopes tell of the person (§5.4), plain, signed or encrypted as the client registered."""
    runtime = request.runtime
    who = await caller.authenticate(runtime, request.credentials(), request.path, any_audience=True)
    client, told = await userinfo.claims_for(runtime, who)
    body, media_type = await userinfo.as_wanted(runtime, client, told)
    return Response(200, body, ((b"content-type", media_type.encode()), *NO_STORE))
