"""OpenID Connect Back-Channel Logout 1.0 §2.5: delivery of logout tokens to clients.

Theory of operation. The notices are in the database, written by the transaction that ended the session. This claims those that are
due, makes a fresh token for each and sends it through the hardened fetch: bounded in time and size, no redirects, no private networks.
After a failure all notices of that client wait, longer each time, and after the last attempt an event records that it was not
notified. Signing out does not wait for any of this.
"""

import asyncio
import os

from watchword import fetch
from watchword.flows import subjects
from watchword.flows.clients import client_answers, client_registry
from watchword.flows.runtime import Runtime
from watchword.oauth import logout
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.store import logout_notices as store
from watchword.store.database import StorageUnavailable
from watchword.store.logout_notices import Notice
from watchword.telemetry import count, log

# Seconds between the attempts; a notice is given up after the attempt that follows the last pause.
PAUSES = (10, 60, 300, 900, 3600, 3 * 3600, 6 * 3600)


async def deliver_due(runtime: Runtime) -> None:
    """Deliver all due notices in batches, and give up those that have expired."""
    if not await runtime.database.read(store.is_notice_due, runtime.now()):
        return
    while claimed := await runtime.database.write(store.claim_notices, runtime.now()):
        await asyncio.gather(*(_deliver(runtime, notice) for notice in claimed))
    while await runtime.database.write(store.give_up_expired, runtime.now()):
        log.warning("logout.expired")


async def _deliver(runtime: Runtime, notice: Notice) -> None:
    try:
        client = await client_registry.find(runtime, notice.client_id)
    except StorageUnavailable as error:  # a row that is damaged keeps no other client from being told
        await _postpone(runtime, notice, error.reason)
        return
    if client is None or client.disabled_at is not None or client.backchannel_logout_uri is None:
        await runtime.database.write(store.forget_notice, notice)
        return
    reason = await _send(runtime, client, client.backchannel_logout_uri, notice)
    if reason is None:
        count("logout_notices", outcome="delivered")
        await runtime.database.write(store.forget_notice, notice)
    else:
        await _postpone(runtime, notice, reason)


async def _send(runtime: Runtime, client: Client, address: str, notice: Notice) -> str | None:
    """Send a logout token; return None when the client accepted it, else why not."""
    try:
        form = {"logout_token": await make_token(runtime, client, notice)}
        answer = await fetch.post_form(
            address,
            form,
            allow_loopback=runtime.settings.fetch_allow_loopback,
            resolver=runtime.fetcher_for(client).resolver,
        )
    except fetch.FetchError as error:
        return error.reason
    except OAuthError as error:  # the token cannot be encrypted to the client's key
        return error.description
    return None if 200 <= answer.status < 300 else f"answered {answer.status}"  # §2.8


async def make_token(runtime: Runtime, client: Client, notice: Notice) -> str:
    """Return the logout token of a notice (§2.4), signed and encrypted as the client's ID tokens are (§2.6); each attempt has
    its own `jti`. Raise `invalid_request` when it cannot be encrypted."""
    claims = logout.logout_token_claims(
        issuer=runtime.settings.issuer,
        client_id=client.client_id,
        subject=subjects.subject_for(runtime, client, notice.user_id),
        sid=subjects.session_for(runtime, client, notice.session_id),
        jti=os.urandom(16).hex(),
        now=runtime.now(),
    )
    return await client_answers.signed(runtime, client, "id_token", claims, logout.LOGOUT_TOKEN_TYPE)


async def _postpone(runtime: Runtime, notice: Notice, reason: str) -> None:
    final = notice.attempts > len(PAUSES)
    count("logout_notices", outcome="given up" if final else "postponed")
    log.warning(
        "logout.not_taken", client=notice.client_id, attempts=notice.attempts, final=final, reason=reason
    )
    if final:
        await runtime.database.write(store.give_up_notice, notice, reason=reason, now=runtime.now())
    else:
        next_at = runtime.now() + PAUSES[notice.attempts - 1]
        await runtime.database.write(store.postpone_notices, notice, next_at)
