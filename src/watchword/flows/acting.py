"""Databases that write under a condition, which is checked in the same transaction.

Three conditions: the session in which somebody acts is still live (its identifier goes into the audit trail), the token by which somebody
calls the admin API is, and the account to be changed is still not an administrator's. What is done by a link has no condition beside the link, and its address in the trail. Flows know nothing of either: they are given a runtime with such a database.
"""

import copy
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError
from watchword.store.conditions import (
    Administers,
    Ended,
    NoAdministrator,
    as_administrator,
    from_address,
    in_session,
    on_ordinary,
)
from watchword.store.database import Change, Database, Entry, Transaction
from watchword.store.holders import Holder, TokenEnded, as_holder
from watchword.store.outbox import add_mail
from watchword.store.sessions import Session

NO_ADMINISTRATOR = "This is for administrators, and the person signed in is not one."
P = ParamSpec("P")
T = TypeVar("T")


def runtime_in(runtime: Runtime, session: Session) -> Runtime:
    """Return a runtime for what an administrator does in a session; its writes raise `access_denied` once the session has ended or the
    person is no longer an administrator."""
    inside = copy.copy(runtime)
    inside.database = InSession(runtime, session, as_administrator)
    return inside


def runtime_held(runtime: Runtime, holder: Holder, refusal: OAuthError) -> Runtime:
    """Return a runtime for what the holder of a token asks for; its writes raise the refusal once the token has ended."""
    bound = copy.copy(runtime)
    bound.database = Held(runtime, holder, refusal)
    return bound


def runtime_on_ordinary(runtime: Runtime, user_id: str, refusal: OAuthError) -> Runtime:
    """Return a runtime for changes to the account of somebody who is no administrator; its writes raise the refusal once they are one."""
    bound = copy.copy(runtime)
    bound.database = OnOrdinary(runtime.database, user_id, refusal)
    return bound


def runtime_from(runtime: Runtime, address: str) -> Runtime:
    """Return a runtime for what the holder of a link does; the audit events of its writes name the address."""
    told = copy.copy(runtime)
    told.database = FromAddress(runtime.database, address)
    return told


class _Bound:
    """A database that passes everything on; subclasses add `_write`, with the condition."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, sql: str, *values: object) -> Awaitable[None]:
        """Insert one row, without the condition."""
        return self._database.append(sql, *values)

    def change(
        self,
        change: Change,
        values: tuple[object, ...],
        entry: Entry,
        *,
        after: Awaitable[object] | None = None,
    ) -> Awaitable[bool]:
        """Make one of the batched changes, without the condition."""
        return self._database.change(change, values, entry, after=after)

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that changes nothing."""
        return await self._database.read(operation, *args, **kwargs)

    async def write(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation under the condition; that a mail is to be sent is noted without.

        It tells of a change that was made, and that may have ended what the condition asks for.
        """
        write = self._database.write if operation is add_mail else self._write
        return await write(operation, *args, **kwargs)

    async def _write(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        raise NotImplementedError

    def version(self) -> int:
        """Return the database's version."""
        return self._database.version()

    async def open(self) -> None:
        """Do nothing: it is open."""

    async def close(self) -> None:
        """Do nothing: it belongs to the runtime."""


class InSession(_Bound):
    """The database as one session writes to it; `within` is the store operation that checks the condition and runs the write."""

    __slots__ = ("_runtime", "_session", "_within")

    def __init__(
        self, runtime: Runtime, session: Session, within: Callable[..., Awaitable[Any]] = in_session
    ) -> None:
        super().__init__(runtime.database)
        self._runtime = runtime
        self._session = session
        self._within = within

    async def _write(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation while the session is live; raise `access_denied` otherwise."""
        write: Any = self._database.write
        asked = (self._session.id, self._session.user_id, self._runtime.now(), operation)
        done: T | Ended | NoAdministrator = await write(self._within, *asked, *args, **kwargs)
        if isinstance(done, Ended):
            raise OAuthError("access_denied", "This session has ended: sign in again.", field="session")
        if isinstance(done, NoAdministrator):
            raise OAuthError("access_denied", NO_ADMINISTRATOR, status=403)
        return done


class FromAddress(_Bound):
    """The database as written by the holder of a link, whose address the audit events name."""

    __slots__ = ("_address",)

    def __init__(self, database: Database, address: str) -> None:
        super().__init__(database)
        self._address = address

    async def _write(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation, without a condition."""
        write: Any = self._database.write
        done: T = await write(from_address, self._address, operation, *args, **kwargs)
        return done


class Held(_Bound):
    """The database as written by the holder of a token."""

    __slots__ = ("_holder", "_refusal", "_runtime")

    def __init__(self, runtime: Runtime, holder: Holder, refusal: OAuthError) -> None:
        super().__init__(runtime.database)
        self._runtime = runtime
        self._holder = holder
        self._refusal = refusal

    async def _write(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation while the token is alive; raise the refusal otherwise."""
        write: Any = self._database.write
        asked = (self._holder, self._runtime.now(), operation)
        done: T | TokenEnded = await write(as_holder, *asked, *args, **kwargs)
        if isinstance(done, TokenEnded):
            raise self._refusal
        return done


class OnOrdinary(_Bound):
    """The database as written by somebody who may change every account but an administrator's."""

    __slots__ = ("_refusal", "_user_id")

    def __init__(self, database: Database, user_id: str, refusal: OAuthError) -> None:
        super().__init__(database)
        self._user_id = user_id
        self._refusal = refusal

    async def _write(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation while the account is no administrator's; raise the refusal otherwise."""
        write: Any = self._database.write
        done: T | Administers = await write(on_ordinary, self._user_id, operation, *args, **kwargs)
        if isinstance(done, Administers):
            raise self._refusal
        return done
