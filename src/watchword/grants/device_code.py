"""RFC 8628 §3.4: the device code grant: a device polls until a person has answered."""

import hmac
from collections.abc import Mapping

from watchword.flows import devices, issuing
from watchword.flows.binding import Binding
from watchword.flows.runtime import Runtime
from watchword.oauth import token_format
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.parameters import Parameters
from watchword.store import devices as store
from watchword.store import grants
from watchword.store.devices import DeviceCode
from watchword.store.grants import Bought

GRANT_TYPE = devices.GRANT_TYPE


def _unknown() -> OAuthError:
    return OAuthError("invalid_grant", "The device code is not valid for this client.")


def decide(form: Parameters, client: Client, code: DeviceCode | None, binding: Binding) -> DeviceCode:
    """Check who polls before anything changes: another client's poll must not slow the right one down."""
    if code is None or code.client_id != client.client_id:  # DV-01
        raise _unknown()
    if code.jkt is not None and not (binding.jkt and hmac.compare_digest(code.jkt, binding.jkt)):
        raise OAuthError("invalid_grant", "The device code is bound to another DPoP key.")
    return code


async def handle(
    runtime: Runtime, client: Client, form: Parameters, binding: Binding
) -> Mapping[str, object]:
    """Answer a poll; of concurrent polls of an approved code one gets the tokens, a replay ends what they bought."""
    digest = token_format.digest(form.require("device_code"))
    code = decide(form, client, await runtime.database.read(store.find_device_code, digest), binding)
    if code.status not in ("approved", "redeemed"):
        error = await runtime.database.write(store.note_poll, digest, client.client_id, runtime.now())
        raise error or OAuthError("authorization_pending", "The person has not answered yet.")
    return await _redeem(runtime, client, form, binding, digest, code)


async def _redeem(
    runtime: Runtime, client: Client, form: Parameters, binding: Binding, digest: bytes, code: DeviceCode
) -> Mapping[str, object]:
    grant = await runtime.database.read(grants.get_grant, code.grant_id or "")
    if grant is None:
        raise _unknown()
    issued = await issuing.make(runtime, client, grant, form, binding)
    refresh_token = runtime.new_secret("r") if client.may("refresh_token") else None
    bought = Bought(
        access_token=issued.access_token.row,
        refresh_token=token_format.digest(refresh_token) if refresh_token else None,
        refresh_expires_at=grant.started_at + runtime.settings.refresh_token_lifetime,
        # RFC 9449 §5 and RFC 8705 §4: what binds a public client's refresh tokens
        jkt=binding.jkt if client.is_public else None,
        x5t=binding.x5t if client.is_public else None,
    )
    polled = await runtime.database.write(
        store.redeem_device_code, digest, client.client_id, bought, runtime.now()
    )
    if polled.error is not None or polled.grant is None:
        raise polled.error or _unknown()
    return issuing.answer(issued, refresh_token)
