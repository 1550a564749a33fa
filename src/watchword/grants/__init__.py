"""The grants of the token endpoint: one file each, and the table that names them."""

from collections.abc import Awaitable, Callable, Mapping

from watchword.flows.binding import Binding
from watchword.flows.runtime import Runtime
from watchword.grants import (
    authorization_code,
    client_credentials,
    device_code,
    jwt_bearer,
    refresh_token,
    token_exchange,
    zero_proof,
)
from watchword.oauth.clients import Client
from watchword.oauth.parameters import Parameters
from watchword.presence import HasLeft

Handle = Callable[[Runtime, Client, Parameters, Binding, HasLeft], Awaitable[Mapping[str, object]]]

GRANTS: dict[str, Handle] = {
    "authorization_code": authorization_code.handle,
    "refresh_token": refresh_token.handle,
    "client_credentials": client_credentials.handle,
    device_code.GRANT_TYPE: device_code.handle,
    token_exchange.GRANT_TYPE: token_exchange.handle,
    jwt_bearer.GRANT_TYPE: jwt_bearer.handle,
    zero_proof.GRANT_TYPE: zero_proof.handle,
}
