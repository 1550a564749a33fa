"""The grants of the token endpoint: one file each, and the table that names them."""

from collections.abc import Awaitable, Callable, Mapping

from watchword.flows import proofs
from watchword.flows.client_auth import Credentials
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.grants import (
    authorization_code,
    client_credentials,
    device_code,
    jwt_bearer,
    refresh_token,
    token_exchange,
    zero_proof,
)
from watchword.oauth.clients import DEVICE_CODE, JWT_BEARER, TOKEN_EXCHANGE, ZERO_PROOF, Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.parameters import Parameters
from watchword.presence import HasLeft
from watchword.telemetry import count

Handle = Callable[[Runtime, TokenRequest], Awaitable[Mapping[str, object]]]

# By their names, which clients register for: `oauth.clients` has those of all grants.
GRANTS: dict[str, Handle] = {
    "authorization_code": authorization_code.handle,
    "refresh_token": refresh_token.handle,
    "client_credentials": client_credentials.handle,
    DEVICE_CODE: device_code.handle,
    TOKEN_EXCHANGE: token_exchange.handle,
    JWT_BEARER: jwt_bearer.handle,
    ZERO_PROOF: zero_proof.handle,
}


async def respond(
    runtime: Runtime, client: Client, form: Parameters, credentials: Credentials, has_left: HasLeft
) -> Mapping[str, object]:
    """Answer a token request of an authenticated client: check its proofs, and let the grant that it names decide (RFC 6749 §5.1).

    Raise `invalid_request`, `unsupported_grant_type`, `unauthorized_client`, or what the proofs and the grant refuse.
    """
    grant_type = form.require("grant_type")
    handle = GRANTS.get(grant_type)
    if handle is None:
        raise OAuthError("unsupported_grant_type", "This grant type is not supported.", field="grant_type")
    if not client.may(grant_type):
        raise OAuthError("unauthorized_client", "The client is not registered for this grant type.")
    binding = await proofs.prove(runtime, client, credentials, "/token")
    if runtime.statuses.concern(client):
        await runtime.statuses.prepare(client)
    answer = await handle(runtime, TokenRequest(client, form, binding, has_left))
    count("tokens_issued", grant_type)
    runtime.usage.note_issue(client.client_id)
    return answer
