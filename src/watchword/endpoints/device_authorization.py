"""RFC 8628 §3.1: the device authorization endpoint."""

from watchword.flows import anonymous, client_auth, devices, proofs
from watchword.http import Request, Response, json_response


async def begin(request: Request) -> Response:
    """Give a device its two codes (§3.2); a DPoP proof binds the device code to its key."""
    form, runtime = request.form(), request.runtime
    client = await client_auth.authenticate(runtime, request.credentials(), form.single())
    anonymous.admit_client(runtime, client, "device", request.address)
    binding = await proofs.prove(runtime, client, request.credentials(), "/device_authorization")
    begun = await devices.begin(
        runtime,
        client,
        form,
        jkt=binding.jkt,
        address=request.address,
        user_agent=request.header(b"user-agent") or "",
    )
    return json_response(200, devices.answer(runtime, begun))
