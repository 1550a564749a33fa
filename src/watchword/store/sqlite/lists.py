"""Lists from the embedded database, read on a thread of their own, so that one that scans many rows delays no token request.

Other reads happen on the event loop, where they cost less than handing them to a thread. Lists and searches for administrators may
scan a whole table.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from watchword.store.database import StorageUnavailable, Transaction
from watchword.store.sqlite.database import SqliteDatabase
from watchword.store.sqlite.job import finished

P = ParamSpec("P")
T = TypeVar("T")


class Lists:
    """Reads what the database holds by now, one list after the other."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="watchword-lists")
        self._is_closed = False

    async def read(
        self,
        operation: Callable[Concatenate[Transaction, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation that changes nothing; raise StorageUnavailable as the database does."""
        if self._is_closed:
            raise StorageUnavailable("the database is closed")
        work = partial(self._database.read_now, operation, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Take no more lists; one that is being read is read to its end."""
        self._is_closed = True
        await finished(self._thread.shutdown)
