"""RFC 8628 §3.1: the device authorization endpoint."""

from watchword.flows import anonymous, client_auth, devices, proofs
from watchword.http import Request, Response, json_response
from watchword.oauth.device import format_user_code


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
    shown = format_user_code(begun.user_code)
    page = f"{runtime.settings.issuer}/device"
    answer = {
        "device_code": begun.device_code,
        "user_code": shown,
        "verification_uri": page,
        "verification_uri_complete": f"{page}?user_code={shown}",  # §3.3.1: fills the form in, decides nothing
        "expires_in": runtime.settings.device_code_lifetime,
        "interval": runtime.settings.device_poll_interval,
    }
    return json_response(200, answer)
