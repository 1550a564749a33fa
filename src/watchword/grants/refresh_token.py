"""RFC 6749 §6 and RFC 9700 §4.14: the refresh token grant, rotating with every use.

The state machine is in `oauth.refresh`. The successor is kept sealed under the predecessor's own text, so that the loser of an
honest race gets the very same one and nobody who reads the database gets any.
"""

import hashlib
import os
from collections.abc import Mapping

from watchword.flows import issuing
from watchword.flows.binding import Binding
from watchword.flows.master_key import MasterKey
from watchword.flows.runtime import Runtime
from watchword.oauth import refresh, token_format
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.parameters import Parameters
from watchword.oauth.refresh import Limits
from watchword.store import grants as store
from watchword.store.grants import Grant

PURPOSE = "refresh successor"


def _limits(runtime: Runtime) -> Limits:
    settings = runtime.settings
    return Limits(settings.refresh_token_idle, settings.refresh_token_lifetime, settings.refresh_token_grace)


def _seal(token: str) -> MasterKey:
    return MasterKey(hashlib.sha256(b"refresh successor\n" + token.encode()).digest())


def decide(client: Client, grant: Grant, binding: Binding) -> None:
    """Check who presents a refresh token, before anything changes; raise `invalid_grant`."""
    refresh.check_binding(
        owner=grant.client_id,
        client_id=client.client_id,
        jkt=grant.jkt,
        proven_jkt=binding.jkt,
        x5t=grant.x5t,
        proven_x5t=binding.x5t,
    )


async def handle(
    runtime: Runtime, client: Client, form: Parameters, binding: Binding
) -> Mapping[str, object]:
    """Rotate a refresh token, or hand out its successor once more, or end the family: as the state machine says."""
    token = form.require("refresh_token")
    digest = token_format.digest(token)
    grant = await runtime.database.read(store.find_refresh_token, digest)
    if grant is None:
        raise OAuthError("invalid_grant", "The refresh token is not valid.")
    decide(client, grant, binding)
    issued = await issuing.make(runtime, client, grant, form, binding, scope=form.get("scope"))
    successor = runtime.new_secret("r")
    sealed = _seal(token).seal(PURPOSE, grant.id, successor.encode(), os.urandom(12))
    refreshed = await runtime.database.write(
        store.rotate_refresh_token,
        digest,
        successor=token_format.digest(successor),
        sealed_successor=sealed,
        limits=_limits(runtime),
        now=runtime.now(),
        access_token=issued.access_token.row,
    )
    if refreshed is None:
        raise OAuthError("invalid_grant", "The refresh token is not valid.")
    if (refused := refresh.refusal(refreshed.outcome)) is not None:
        raise refused
    if refreshed.outcome == "replay":
        successor = _opened(token, refreshed.sealed_successor, grant.id)
    return issuing.answer(issued, successor)


def _opened(token: str, sealed: bytes | None, grant_id: str) -> str:
    if sealed is None:
        raise OAuthError("invalid_grant", "The refresh token is not valid.")
    return _seal(token).open(PURPOSE, grant_id, sealed).decode()
