"""Conditions on who may make a change, checked in the transaction of the change: what takes the right away comes wholly before or after.

Theory of operation. The account's row is locked first, then the session: an end of the session that was committed before is seen, and
one that comes later waits for the change. So a session that its person has ended elsewhere adds nothing to the account. Audit events
name the session in which a change was asked for, and those of a change by a link the address from which it was used.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from watchword.store.database import Transaction
from watchword.store.grants import hold_session
from watchword.store.tokens import use_identifier

T = TypeVar("T")


class Ended(msgspec.Struct, frozen=True):
    """Nothing was done: the session has ended, or the account is disabled."""


class _Telling:
    """A transaction whose audit events also tell how something was asked for: in which session, or from where."""

    __slots__ = ("_facts", "_tx", "all", "all_as_kept", "each_as_kept", "one", "run")

    def __init__(self, tx: Transaction, **facts: str) -> None:
        self._tx = tx
        self._facts = facts
        self.one, self.all, self.run = tx.one, tx.all, tx.run
        self.all_as_kept, self.each_as_kept = tx.all_as_kept, tx.each_as_kept

    async def record(self, name: str, /, *, actor: str, target: str, at: int, **data: object) -> None:
        """Append an audit event to this writer's hash chain, with these facts."""
        await self._tx.record(name, actor=actor, target=target, at=at, **{**self._facts, **data})


async def in_session(
    tx: Transaction,
    session_id: str,
    user_id: str,
    now: int,
    operation: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    **more: Any,
) -> T | Ended:
    """Do what a person asks for in a session and return its outcome, or Ended."""
    held = "UPDATE users SET valid_from = valid_from WHERE id = $1 AND disabled_at IS NULL"
    if not await tx.run(held, user_id) or not await hold_session(tx, session_id, now):
        return Ended()
    return await operation(_Telling(tx, session=session_id), *args, **more)


async def from_address(
    tx: Transaction, address: str, operation: Callable[..., Awaitable[T]], /, *args: Any, **more: Any
) -> T:
    """Do what the holder of a link asks for, who needs no session, and return its outcome."""
    return await operation(_Telling(tx, address=address), *args, **more)


async def and_then(
    tx: Transaction,
    then: Callable[[Transaction, T], Awaitable[None]],
    operation: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    **more: Any,
) -> T:
    """Make a change, and in the same transaction what comes with it, which is told the outcome; return that.

    What it raises undoes both.
    """
    done = await operation(tx, *args, **more)
    await then(tx, done)
    return done


async def and_end(
    tx: Transaction,
    then: Callable[[Transaction, T], Awaitable[None]],
    operation: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    **more: Any,
) -> T:
    """Do as `and_then` where what comes with the change ends something."""
    return await and_then(tx, then, operation, *args, **more)


class SentBefore(msgspec.Struct, frozen=True):
    """Nothing was done: the form that asks for it was sent before."""


# Outcomes that say that a form created nothing, for example because a name is taken.
NOTHING_DONE = (False, "owner", "groups", "parent")


async def for_the_first_time(
    tx: Transaction,
    digest: bytes,
    expires_at: int,
    operation: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    **more: Any,
) -> T | SentBefore:
    """Use up the value of a form and do what it asks for, both or neither; return the outcome, or SentBefore."""
    if not await use_identifier(tx, digest, expires_at):
        return SentBefore()
    done = await operation(tx, *args, **more)
    if done in NOTHING_DONE:
        await tx.run("DELETE FROM used_identifiers WHERE digest = $1", digest)
    return done


class NoAdministrator(msgspec.Struct, frozen=True):
    """Nothing was done: whoever asked is not an administrator any more."""


async def as_administrator(
    tx: Transaction,
    session_id: str,
    user_id: str,
    now: int,
    operation: Callable[..., Awaitable[T]],
    /,
    *args: Any,
    **more: Any,
) -> T | Ended | NoAdministrator:
    """Do what an administrator asks for in a session and return its outcome, or why nothing was done."""

    async def asked(inside: Transaction) -> T | NoAdministrator:
        # `in_session` has locked the person's row: nobody can take the right away until this is done.
        row = await inside.one("SELECT is_admin FROM users WHERE id = $1", user_id)
        return await operation(inside, *args, **more) if row and row["is_admin"] else NoAdministrator()

    return await in_session(tx, session_id, user_id, now, asked)


class Administers(msgspec.Struct, frozen=True):
    """Nothing was done: the account is an administrator's."""


async def on_ordinary(
    tx: Transaction, user_id: str, operation: Callable[..., Awaitable[T]], /, *args: Any, **more: Any
) -> T | Administers:
    """Do something to an account that is not an administrator's and return its outcome; it cannot become one until this is done."""
    held = "UPDATE users SET valid_from = valid_from WHERE id = $1 RETURNING is_admin"
    row = await tx.one(held, user_id)
    return Administers() if row and row["is_admin"] else await operation(tx, *args, **more)
