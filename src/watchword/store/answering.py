"""Answering an authorization request that was stored while a person signed in and agreed: everything in one transaction.

If the database fails, the request is still stored, and the person can send the same form or load the same page again.
"""

from collections.abc import Awaitable, Callable

from watchword.store.clients import hold_client
from watchword.store.consents import hold_consent
from watchword.store.database import Transaction
from watchword.store.grants import Code, Grant, hold_session, store_grant
from watchword.store.interactions import finish_interaction, use_pushed_request


async def answer_with_code(
    tx: Transaction,
    interaction_id: str,
    grant: Grant,
    code: Code,
    remember: Callable[[Transaction], Awaitable[None]] | None,
) -> bool:
    """Use up a request, remember the consent, and store the grant with its code; return False when the request was answered before, or
    the session or the client has ended. Without `remember` it is given by an earlier consent: False as well when that was withdrawn."""
    now = grant.created_at
    if not await _hold(tx, grant, by_consent=remember is None):
        return False
    if not await finish_interaction(tx, interaction_id, now):
        return False
    if remember is not None:
        await remember(tx)
    await store_grant(tx, grant, code)
    return True


async def answer_pushed_with_code(tx: Transaction, pushed: bytes, grant: Grant, code: Code) -> bool:
    """Do the same for a pushed request, given by its digest, that is answered at once, by what was agreed to earlier."""
    if not await _hold(tx, grant, by_consent=True):
        return False
    if not await use_pushed_request(tx, pushed, grant.created_at):
        return False
    await store_grant(tx, grant, code)
    return True


async def _hold(tx: Transaction, grant: Grant, *, by_consent: bool) -> bool:
    """Lock the session and the client of a grant against their end, and the consent that it is given by against its withdrawal; return
    False when one is gone."""
    live = await hold_session(tx, grant.session_id, grant.created_at) and await hold_client(
        tx, grant.client_id
    )
    return live and (not by_consent or await hold_consent(tx, grant.user_id, grant.client_id, grant.audience))
