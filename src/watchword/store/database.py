"""The interface to a database, SQLite or PostgreSQL, that operations are written against.

An operation is an `async def` whose first parameter is a `Transaction`. On PostgreSQL it suspends; on SQLite it never does: a
writer thread drives it to its end. SQL uses `$1` placeholders and the subset that both share. A read is one statement, or
tolerates that its statements see successive states.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import msgspec

from watchword.oauth.errors import OAuthError

P = ParamSpec("P")
T = TypeVar("T")


class Row(Protocol):
    """One row: values by column name, or in the order of the columns."""

    def __getitem__(self, column: str) -> Any:
        """Return the value of a column."""

    def __iter__(self) -> Iterator[Any]:
        """Return the values in order."""

    def keys(self) -> Iterable[str]:
        """Return the names of the columns in order."""


class Transaction(Protocol):
    """The statements of one operation."""

    async def one(self, sql: str, *values: object) -> Row | None:
        """Return the first row, or None."""

    async def all(self, sql: str, *values: object) -> list[Row]:
        """Return every row."""

    async def all_as_kept(self, sql: str, *values: object) -> list[Row]:
        """Return every row, damaged ones included; bytes that are not UTF-8 in a text column are read as lone surrogates."""

    async def each_as_kept(self, take: Callable[[Row], object], sql: str, *values: object) -> None:
        """Give every row of one state of the database to a function, as `all_as_kept` reads it, and keep none; for reads alone."""

    async def run(self, sql: str, *values: object) -> int:
        """Execute a statement and return how many rows it touched."""

    async def record(self, name: str, /, *, actor: str, target: str, at: int, **data: object) -> None:
        """Append an audit event to this writer's hash chain, to be committed with the operation; `at` in Unix seconds."""


Operation = Callable[Concatenate[Transaction, P], Awaitable[T]]


class Change(msgspec.Struct, frozen=True):
    """One conditional statement that is batched with others of its kind, each on a row of its own; fail-points know it by `name`.

    Its first value is unique to the row, and the statement returns that value where it took effect. All that it depends on is in its
    conditions; rows of other tables that these read are locked with FOR SHARE or FOR KEY SHARE, which a database with one writer leaves
    out. What it changes is never cached, so it does not move the database's version.
    """

    name: str
    sql: str

    def __post_init__(self) -> None:
        """Raise ValueError for a statement whose rows the driver of SQLite would not count."""
        if not self.sql.startswith(("INSERT ", "UPDATE ")):
            raise ValueError("a change begins with INSERT or UPDATE")


class AuditEntry(msgspec.Struct, frozen=True):
    """What the audit trail says of a change that took effect; see `Transaction.record`."""

    name: str
    actor: str
    target: str
    at: int
    data: dict[str, object] = msgspec.field(default_factory=dict)


class Database(Protocol):
    """An open database."""

    async def write(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation in one transaction and return its outcome once it is durable.

        Raise StorageUnavailable when the database cannot promise that now; nothing was done then unless the error is
        `unknown`, in which case it either was done wholly or not at all.
        """

    def append(self, sql: str, *values: object) -> Awaitable[None]:
        """Insert one row that nobody else waits for; rows appended at the same time share a statement and a commit.

        The row is queued when this returns, and durable when the awaitable that it returns has completed.
        """

    def change(
        self,
        change: Change,
        values: tuple[object, ...],
        entry: AuditEntry,
        *,
        after: Awaitable[object] | None = None,
    ) -> Awaitable[bool]:
        """Make a change and record it, both or neither; changes that come at the same time share a commit.

        `after` is what `append` returned, in the same turn of the event loop, for a row that has to be stored before the change.
        The awaitable yields whether the change took effect, once that is durable.
        """

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that changes nothing."""

    def version(self) -> int:
        """Return a number that differs whenever another transaction may have changed what was read before."""

    async def open(self) -> None:
        """Connect; raise StorageUnavailable with what to do about it."""

    async def close(self) -> None:
        """Finish what was accepted, then disconnect."""


class Unchained(Database, Protocol):
    """An open database that has not been told yet which key continues its audit trail."""

    def record_under(self, audit_key: bytes) -> None:
        """Chain what is recorded from now on under this key; nothing may be recorded before it is known."""


class Reader(Protocol):
    """What answers reads: the database itself, or a replica that may be behind."""

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that changes nothing."""

    async def close(self) -> None:
        """Disconnect."""


class StorageUnavailable(Exception):
    """The database cannot be used, or cannot make a write durable, now; `unknown` says that the commit may have happened all the same."""

    def __init__(self, reason: str, *, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown = unknown


class Unstorable(OAuthError):
    """A value that not both databases can store: a NUL or a lone surrogate in a text, an integer beyond 64 bits."""

    def __init__(self) -> None:
        super().__init__("invalid_request", "A value holds something that cannot be stored.")


def check_values(values: Iterable[object]) -> None:
    """Raise Unstorable for a value that one database would store and the other refuse, or that would fail a whole batch."""
    for value in values:
        if isinstance(value, str):
            if "\0" in value or not (value.isascii() or _is_unicode(value)):
                raise Unstorable
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise Unstorable


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def drive(coroutine: Awaitable[T]) -> T:
    """Run a coroutine that never suspends to its end and return its result."""
    step = coroutine.__await__()
    try:
        next(step)
    except StopIteration as end:
        result: T = end.value
        return result
    raise RuntimeError("an operation on the embedded database must not wait for anything else")
