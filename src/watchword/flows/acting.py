"""What somebody changes in a session: while it lives, not at all once it has ended, and with its identifier in the audit trail.

Flows know nothing of it: they are given a runtime whose database writes in the session.
"""

import copy
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError
from watchword.store.database import Change, Database, Entry, Transaction
from watchword.store.in_session import Ended, NoAdministrator, as_administrator, in_session
from watchword.store.sessions import Session

NO_ADMINISTRATOR = "This is for administrators, and the person signed in is not one."
P = ParamSpec("P")
T = TypeVar("T")


def runtime_in(runtime: Runtime, session: Session) -> Runtime:
    """Return the runtime by which flows do what an administrator asks for in a session; whatever they write raises `access_denied` after
    its end, or the end of that right."""
    inside = copy.copy(runtime)
    inside.database = InSession(runtime, session, as_administrator)
    return inside


class InSession:
    """The database as one session writes to it; `within` holds the session, and what else has to be so."""

    __slots__ = ("_database", "_runtime", "_session", "_within")

    def __init__(
        self, runtime: Runtime, session: Session, within: Callable[..., Awaitable[Any]] = in_session
    ) -> None:
        self._runtime = runtime
        self._database: Database = runtime.database
        self._session = session
        self._within = within

    async def write(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation as the session asks for it, while it lives."""
        write: Any = self._database.write
        asked = (self._session.id, self._session.user_id, self._runtime.now(), operation)
        done: T | Ended | NoAdministrator = await write(self._within, *asked, *args, **kwargs)
        if isinstance(done, Ended):
            raise OAuthError("access_denied", "This session has ended: sign in again.", field="session")
        if isinstance(done, NoAdministrator):
            raise OAuthError("access_denied", NO_ADMINISTRATOR, status=403)
        return done

    def append(self, sql: str, *values: object) -> Awaitable[None]:
        """Insert one row, which no session asks for."""
        return self._database.append(sql, *values)

    def change(
        self,
        change: Change,
        values: tuple[object, ...],
        entry: Entry,
        *,
        after: Awaitable[object] | None = None,
    ) -> Awaitable[bool]:
        """Make one of the changes that are made by the thousand, which no session asks for."""
        return self._database.change(change, values, entry, after=after)

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that changes nothing."""
        return await self._database.read(operation, *args, **kwargs)

    def version(self) -> int:
        """Return the database's version."""
        return self._database.version()

    async def open(self) -> None:
        """Do nothing: it is open."""

    async def close(self) -> None:
        """Do nothing: it belongs to the runtime."""
