"""What an operation may ask of a database, whichever it is.

An operation is an `async def` whose first parameter is a `Transaction`. On SQLite it never really suspends: a writer
thread drives it to its end; on PostgreSQL it does. SQL uses `$1` placeholders and the subset that both share. A read is
one statement, or tolerates that its statements see successive states.
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
        """Return every row, also such as hold no text in a text: what is no UTF-8 then reads as half surrogate pairs."""

    async def run(self, sql: str, *values: object) -> int:
        """Execute a statement and return how many rows it touched."""

    async def record(self, name: str, /, *, actor: str, target: str, at: int, **data: object) -> None:
        """Append an audit event to this writer's hash chain, to be committed with the operation; `at` in Unix seconds."""


Operation = Callable[Concatenate[Transaction, P], Awaitable[T]]


class Change(msgspec.Struct, frozen=True):
    """One statement that takes effect or not, under the name by which fail-points know it. Many make it at once, each on a row of its own.

    Its first value is one that nobody else has, and it returns that value where it took effect. All that it depends on is in its
    conditions; what they read of other tables it holds with FOR SHARE or FOR KEY SHARE, which a database with one writer leaves out. What it
    changes is only ever read afresh: it does not move the database's version.
    """

    name: str
    sql: str


class Entry(msgspec.Struct, frozen=True):
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

        It is on its way when this returns, and durable when what this returns has been awaited.
        """

    def change(
        self,
        change: Change,
        values: tuple[object, ...],
        entry: Entry,
        *,
        after: Awaitable[object] | None = None,
    ) -> Awaitable[bool]:
        """Make a change and record it, both or neither; changes that come at the same time share a commit.

        `after` is what `append` returned, in this turn of the loop, for a row that must not be missing when the change is there.
        What this returns yields whether it took effect, once that is durable.
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
    """A database before it is known under which key its audit trail goes on."""

    def record_under(self, audit_key: bytes) -> None:
        """Chain what is recorded from now on under this key; nothing is to be recorded before it is known."""


class Reader(Protocol):
    """What answers reads: the database itself, or a copy that may be behind."""

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
    """The database cannot keep the promise now. `unknown` says that a commit may have happened all the same."""

    def __init__(self, reason: str, *, unknown: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unknown = unknown


class Unstorable(OAuthError):
    """A value that neither database keeps: a NUL or half a surrogate pair in a text, an integer beyond 64 bits."""

    def __init__(self) -> None:
        super().__init__("invalid_request", "A value holds something that cannot be stored.")


def check_values(values: Iterable[object]) -> None:
    """Raise Unstorable for a value that one database would keep and another refuse, or that would break a whole batch."""
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
