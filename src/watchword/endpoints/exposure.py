"""Where guards report a token that reached them over unencrypted HTTP."""

from watchword.flows import exposure
from watchword.http import NO_STORE, Request, Response


async def report(request: Request) -> Response:
    """Note an exposed token; the answer is the same whatever it is, so that it tells nothing."""
    await exposure.report(request.runtime, request.form().require("token"))
    return Response(200, b"", tuple(NO_STORE))
