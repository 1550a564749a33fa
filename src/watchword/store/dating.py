"""The dates of tokens that are issued right after the client or account they depend on was enabled again.

Theory of operation. The end of a client or account is a limit: everything dated before it has ended. Dates are whole seconds and
nodes learn of an end late, so the limit lies ahead, and tokens issued in the meantime are dated at the limit. A second end must lie
beyond these dates. So a date ahead is recorded in a transaction that locks everything the token depends on, as an end does.
"""

from collections.abc import Sequence

from watchword.store import ended
from watchword.store.clients import hold_client
from watchword.store.database import Transaction


async def date_ahead(
    tx: Transaction, clients: Sequence[str], user_id: str | None, handle: str | None, since: int
) -> int | None:
    """Note and return the date of a token, `since` (Unix seconds) or later; None when a client or the account has ended meanwhile.

    `handle` is that of the account in the revocation feed.
    """
    if user_id is not None:
        held = "UPDATE users SET valid_from = valid_from WHERE id = $1 AND disabled_at IS NULL"
        if not await tx.run(held, user_id):
            return None
        since = max(since, await ended.ended_before(tx, "account", handle or ""))
    for client_id in clients:
        if not await hold_client(tx, client_id):
            return None
        since = max(since, await ended.ended_before(tx, "client", client_id))
    await ended.note_date(tx, since)
    return since
