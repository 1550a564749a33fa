"""Runtimes whose writes are conditional: the condition is checked in the same transaction.

- `runtime_in`: the administrator's session is live, and its person still an administrator; the audit trail names the session.
- `runtime_held`: the token by which the admin API is called is live.
- `runtime_on_ordinary`: the account to be changed is still not an administrator's.
- `runtime_once`: the form is sent for the first time.

Two add something instead: `runtime_from` puts the address of a link's holder into the audit trail, and `runtime_with` does a further
write in the same transaction. Flows need not know of any of this: they are given a runtime with such a database.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Concatenate, ParamSpec, TypeVar

from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError
from watchword.store.conditions import (
    Administers,
    Ended,
    NoAdministrator,
    SentBefore,
    and_end,
    and_then,
    as_administrator,
    for_the_first_time,
    from_address,
    in_session,
    on_ordinary,
)
from watchword.store.database import AuditEntry, Change, Database, Transaction
from watchword.store.holders import Holder, TokenEnded, as_holder
from watchword.store.outbox import add_mail
from watchword.store.sessions import Session

NO_ADMINISTRATOR = "This is for administrators, and the person signed in is not one."
P = ParamSpec("P")
T = TypeVar("T")


def runtime_in(runtime: Runtime, session: Session) -> Runtime:
    """Return a runtime for what an administrator does in a session; its writes raise `access_denied` once the session has ended or the
    person is no longer an administrator."""
    return _writing(runtime, in_the_session(runtime, session, as_administrator))


def in_the_session(
    runtime: Runtime, session: Session, within: Callable[..., Awaitable[Any]] = in_session
) -> "Bound":
    """Return the database as one session writes to it: its writes raise `access_denied` once the session has ended.

    `within` is the store operation that checks the condition and runs the write.
    """
    ended = OAuthError("access_denied", "This session has ended: sign in again.", field="session")
    nobody = OAuthError("access_denied", NO_ADMINISTRATOR, status=403)
    refusals: Mapping[type, OAuthError] = {Ended: ended, NoAdministrator: nobody}
    return Bound(runtime.database, within, lambda: (session.id, session.user_id, runtime.now()), refusals)


def runtime_held(runtime: Runtime, holder: Holder, refusal: OAuthError) -> Runtime:
    """Return a runtime for what the holder of a token asks for; its writes raise the refusal once the token has ended."""
    bound = Bound(runtime.database, as_holder, lambda: (holder, runtime.now()), {TokenEnded: refusal})
    return _writing(runtime, bound)


def runtime_on_ordinary(runtime: Runtime, user_id: str, refusal: OAuthError) -> Runtime:
    """Return a runtime for changes to the account of somebody who is no administrator; its writes raise the refusal once they are one."""
    return _writing(runtime, Bound(runtime.database, on_ordinary, lambda: (user_id,), {Administers: refusal}))


def runtime_once(runtime: Runtime, digest: bytes, expires_at: int, refusal: OAuthError) -> Runtime:
    """Return a runtime for the one write that a form asks for; it raises the refusal where the form's value was used before."""
    given = (digest, expires_at)
    return _writing(
        runtime, Bound(runtime.database, for_the_first_time, lambda: given, {SentBefore: refusal})
    )


def runtime_from(runtime: Runtime, address: str) -> Runtime:
    """Return a runtime for what the holder of a link does; the audit events of its writes name the address."""
    return _writing(runtime, Bound(runtime.database, from_address, lambda: (address,), {}))


def runtime_with(
    runtime: Runtime, then: Callable[[Transaction, Any], Awaitable[None]], *, ends: bool = False
) -> Runtime:
    """Return a runtime for one write, in whose transaction is also done what comes with it: `then`, which is told the outcome, and with
    `ends` ends something that other nodes may know."""
    return _writing(runtime, Bound(runtime.database, and_end if ends else and_then, lambda: (then,), {}))


def _writing(runtime: Runtime, bound: "Bound") -> Runtime:
    made = copy.copy(runtime)
    made.database = bound
    return made


class Bound:
    """A database whose operations are run `within` another one, which checks a condition.

    `given` returns what that is told before the operation; for an outcome of a type in `refusals` these are raised.
    """

    __slots__ = ("_database", "_given", "_refusals", "_within")

    def __init__(
        self,
        database: Database,
        within: Callable[..., Awaitable[Any]],
        given: Callable[[], tuple[object, ...]],
        refusals: Mapping[type, OAuthError],
    ) -> None:
        self._database = database
        self._within = within
        self._given = given
        self._refusals = refusals

    def append(self, sql: str, *values: object) -> Awaitable[None]:
        """Insert one row, without the condition."""
        return self._database.append(sql, *values)

    def change(
        self,
        change: Change,
        values: tuple[object, ...],
        entry: AuditEntry,
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
        """Run an operation under the condition; raise the refusal where that does not hold.

        A mail is put into the outbox without it: it tells of a change that was made, which may have ended the session or token itself.
        """
        write: Any = self._database.write
        within = () if operation is add_mail else (self._within, *self._given())
        done: T = await write(*within, operation, *args, **kwargs)
        if (refusal := self._refusals.get(type(done))) is not None:
            raise refusal
        return done

    def version(self) -> int:
        """Return the database's version."""
        return self._database.version()

    async def open(self) -> None:
        """Do nothing: it is open."""

    async def close(self) -> None:
        """Do nothing: it belongs to the runtime."""
