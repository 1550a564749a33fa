"""RFC 8628 §3.4: the device code grant: a device polls until a person has answered."""

import hmac
from collections.abc import Mapping

from watchword.flows import issuing
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.oauth import token_format
from watchword.oauth.errors import OAuthError
from watchword.store import devices as store
from watchword.store import grants
from watchword.store.devices import DeviceCode
from watchword.store.redemption import Bought


def _unknown() -> OAuthError:
    return OAuthError("invalid_grant", "The device code is not valid for this client.")


def decide(request: TokenRequest, code: DeviceCode | None) -> DeviceCode:
    """Check who polls before anything changes, so that another client cannot slow the right one down; raise `invalid_grant`."""
    if code is None or code.client_id != request.client.client_id:  # DV-01
        raise _unknown()
    proven = request.binding.jkt
    if code.jkt is not None and not (proven and hmac.compare_digest(code.jkt, proven)):
        raise OAuthError(
            "invalid_grant", "The device code is bound to a DPoP key that this request does not prove."
        )
    return code


async def handle(runtime: Runtime, request: TokenRequest) -> Mapping[str, object]:
    """Answer a poll; of concurrent polls of an approved code one gets the tokens, a replay revokes them."""
    digest = token_format.digest(request.form.require("device_code"))
    code = decide(request, await runtime.database.read(store.find_device_code, digest))
    if code.status == "redeemed":
        # Before the requested scope and resource are read: an error in them must not hide a replay.
        error = await runtime.database.write(
            store.redeem_device_code, digest, code.client_id, Bought(), runtime.now()
        )
        raise error or _unknown()
    if code.status != "approved":
        error = await runtime.database.write(store.note_poll, digest, code.client_id, runtime.now())
        raise error or OAuthError("authorization_pending", "The person has not answered yet.")
    return await _redeem(runtime, request, digest, code)


async def _redeem(
    runtime: Runtime, request: TokenRequest, digest: bytes, code: DeviceCode
) -> Mapping[str, object]:
    now = runtime.now()
    standing = await runtime.database.read(grants.get_standing, code.grant_id or "", now)
    if standing is None:
        raise _unknown()
    issued = await issuing.make(runtime, request, standing)
    refresh_token, bought = issuing.buy(runtime, request, standing.grant)
    async with issuing.stored(runtime, issued) as storing:
        if storing is not None:
            await storing
        error = await runtime.database.write(store.redeem_device_code, digest, code.client_id, bought, now)
    if error is not None:
        raise error
    return issuing.answer(issued, refresh_token)
