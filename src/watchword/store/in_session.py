"""What people do to their own accounts: in a session of theirs while it lives, and not at all once it has ended.

Theory of operation. The account's row is written first, then the session is held: an end of the session that came before is seen, and
one that comes after waits for what was begun. So nothing is added to an account by a session that its person has ended elsewhere.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from watchword.store.database import Transaction
from watchword.store.grants import hold_session

T = TypeVar("T")


async def in_session(
    tx: Transaction,
    session_id: str,
    user_id: str,
    now: int,
    operation: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    **more: Any,
) -> T | None:
    """Do what a person asks for in a session and return what it came to; None when the session ended or the account is disabled."""
    held = "UPDATE users SET valid_from = valid_from WHERE id = $1 AND disabled_at IS NULL"
    if not await tx.run(held, user_id) or not await hold_session(tx, session_id, now):
        return None
    return await operation(tx, *args, **more)
