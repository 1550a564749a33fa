"""RFC 8628 §3.4: the device code grant: a device polls until a person has answered."""

import hmac
from collections.abc import Mapping

from watchword.flows import issuing
from watchword.flows.binding import Binding
from watchword.flows.runtime import Runtime
from watchword.oauth import token_format
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.parameters import Parameters
from watchword.presence import HasLeft
from watchword.store import devices as store
from watchword.store import grants
from watchword.store.devices import DeviceCode
from watchword.store.redemption import Bought


def _unknown() -> OAuthError:
    return OAuthError("invalid_grant", "The device code is not valid for this client.")


def decide(form: Parameters, client: Client, code: DeviceCode | None, binding: Binding) -> DeviceCode:
    """Check who polls before anything changes, so that another client cannot slow the right one down; raise `invalid_grant`."""
    if code is None or code.client_id != client.client_id:  # DV-01
        raise _unknown()
    if code.jkt is not None and not (binding.jkt and hmac.compare_digest(code.jkt, binding.jkt)):
        raise OAuthError(
            "invalid_grant", "The device code is bound to a DPoP key that this request does not prove."
        )
    return code


async def handle(
    runtime: Runtime, client: Client, form: Parameters, binding: Binding, _has_left: HasLeft
) -> Mapping[str, object]:
    """Answer a poll; of concurrent polls of an approved code one gets the tokens, a replay revokes them."""
    digest = token_format.digest(form.require("device_code"))
    code = decide(form, client, await runtime.database.read(store.find_device_code, digest), binding)
    if code.status == "redeemed":
        # Before what is asked for is read: a resource too much must not hide a replay.
        error = await runtime.database.write(
            store.redeem_device_code, digest, client.client_id, Bought(), runtime.now()
        )
        raise error or _unknown()
    if code.status != "approved":
        error = await runtime.database.write(store.note_poll, digest, client.client_id, runtime.now())
        raise error or OAuthError("authorization_pending", "The person has not answered yet.")
    return await _redeem(runtime, client, form, binding, digest, code)


async def _redeem(
    runtime: Runtime, client: Client, form: Parameters, binding: Binding, digest: bytes, code: DeviceCode
) -> Mapping[str, object]:
    now = runtime.now()
    standing = await runtime.database.read(grants.get_standing, code.grant_id or "", now)
    if standing is None:
        raise _unknown()
    issued = await issuing.make(runtime, client, standing, form, binding)
    refresh_token, bought = issuing.buy(runtime, client, standing.grant, binding)
    async with issuing.stored(runtime, issued) as storing:
        if storing is not None:
            await storing
        error = await runtime.database.write(store.redeem_device_code, digest, client.client_id, bought, now)
    if error is not None:
        raise error
    return issuing.answer(issued, refresh_token)
