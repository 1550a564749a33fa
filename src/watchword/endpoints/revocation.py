"""RFC 7009: the revocation endpoint."""

from watchword.flows import client_auth, revocation
from watchword.http import NO_STORE, Request, Response
from watchword.telemetry import count


async def revoke(request: Request) -> Response:
    """Revoke a token of the calling client; an unknown one is no error (§2.2)."""
    form = request.form()
    token = form.require("token")
    client = await client_auth.authenticate(request.runtime, request.credentials(), form.single())
    await revocation.revoke(request.runtime, client, token)
    count("revocations")
    return Response(200, b"", tuple(NO_STORE))
