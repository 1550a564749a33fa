"""The endpoint to which guards report a token that reached them over unencrypted HTTP."""

from watchword.flows import exposure
from watchword.http import NO_STORE, Request, Response


async def report(request: Request) -> Response:
    """Record an exposed token; the answer is always the same, so that it reveals nothing about the token."""
    await exposure.report(request.runtime, request.form().require("token"))
    return Response(200, b"", tuple(NO_STORE))
