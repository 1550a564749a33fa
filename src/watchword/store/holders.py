"""The condition on a change that the holder of a token requests: the token is alive when the change commits.

Theory of operation. The rows on which the token depends are locked before the change. An end that was committed before is seen, and
a later one waits. The owner's row is locked first, as everywhere that an owner's tokens end.

The locks are exclusive, so the calls of one owner run one after another. With shared locks, two calls that go on to change the
shared row would deadlock, as when a person's token creates tokens of that person. And a caller who never pauses could make an end
wait for ever.

A self-contained token has no row. Its identifier is inserted among the revoked ones and removed again, and a revocation waits for
that. People cannot grant power over this server, so an access token belongs to a client. The token that it was exchanged from is
checked only with the request.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from watchword.store.database import Transaction
from watchword.store.liveness import live_token, unexpired

T = TypeVar("T")

_OWNERS = {  # an application has no row
    "user": "SELECT id FROM users WHERE id = $1 AND disabled_at IS NULL FOR NO KEY UPDATE",
    "client": "SELECT client_id FROM clients WHERE client_id = $1 AND disabled_at IS NULL FOR NO KEY UPDATE",
}


class Holder(msgspec.Struct, frozen=True):
    """What a token depends on: an API token on `secret_id`, an access token on the rest; `digest` is an opaque one's, `issued_at` in Unix
    seconds."""

    token_id: str
    secret_id: str = ""
    digest: bytes = b""
    client_id: str = ""
    issued_at: int = 0


class TokenEnded(msgspec.Struct, frozen=True):
    """Nothing was done: the token has ended."""


async def as_holder(
    tx: Transaction,
    holder: Holder,
    now: int,
    operation: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    **more: Any,
) -> T | TokenEnded:
    """Do what the holder of a token asks for and return its outcome, or TokenEnded."""
    holds = _hold_api_token if holder.secret_id else _hold_access_token
    return await operation(tx, *args, **more) if await holds(tx, holder, now) else TokenEnded()


async def _hold_api_token(tx: Transaction, holder: Holder, now: int) -> bool:
    owned = await tx.one("SELECT owner_kind, owner_id FROM api_tokens WHERE id = $1", holder.token_id)
    owner = _OWNERS.get(owned["owner_kind"]) if owned else None
    if owned and owner and await tx.one(owner, owned["owner_id"]) is None:
        return False
    token = f"SELECT id FROM api_tokens WHERE id = $1 AND {live_token('$2')} FOR NO KEY UPDATE"  # noqa: S608 - literals
    if await tx.one(token, holder.token_id, now) is None:
        return False
    # After the token: a rotation, which ends secrets, locks that first.
    secret = f"SELECT id FROM api_token_secrets WHERE token_id = $1 AND {unexpired('$2')} AND id = $3"  # noqa: S608 - literals
    return await tx.one(secret, holder.token_id, now, holder.secret_id) is not None


async def _hold_access_token(tx: Transaction, holder: Holder, now: int) -> bool:
    client = "SELECT client_id FROM clients WHERE client_id = $1 AND disabled_at IS NULL AND valid_from <= $2 FOR NO KEY UPDATE"
    if await tx.one(client, holder.client_id, holder.issued_at) is None:
        return False
    return await (_hold_opaque(tx, holder) if holder.digest else _hold_self_contained(tx, holder, now))


async def _hold_opaque(tx: Transaction, holder: Holder) -> bool:
    held = "SELECT client_id FROM access_tokens WHERE digest = $1 AND revoked_at IS NULL FOR NO KEY UPDATE"
    return await tx.one(held, holder.digest) is not None


async def _hold_self_contained(tx: Transaction, holder: Holder, now: int) -> bool:
    claim = "INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2) ON CONFLICT (jti) DO NOTHING RETURNING jti"
    if await tx.one(claim, holder.token_id, now) is None:
        return False
    await tx.run("DELETE FROM revoked_tokens WHERE jti = $1", holder.token_id)
    return True
