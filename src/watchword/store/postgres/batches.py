"""Group commit on PostgreSQL: concurrent rows and changes share one transaction, one commit and few round trips.

Owns the queues, one for each statement. While one batch is being written the next one gathers, so batches grow under load and a
lone row waits for nobody.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from watchword.store import faults
from watchword.store.database import AuditEntry, Change, StorageUnavailable
from watchword.store.postgres.transaction import PostgresTransaction

MAX_BATCH = 256
MAX_WAITING = 20_000
LONGEST_GATHERING = 0.002  # seconds for which a batch may wait for concurrent rows


class _Waiting(msgspec.Struct, frozen=True):
    """A row to append or a change to make, with whoever waits for it."""

    values: tuple[Any, ...]
    future: asyncio.Future[Any]
    entry: AuditEntry | None


Write = Callable[[PostgresTransaction, list[_Waiting]], Awaitable[list[Any]]]
Transact = Callable[[Write, list[_Waiting]], Awaitable[list[Any]]]
Start = Callable[[Coroutine[Any, Any, None]], object]


class Batches:
    """The statements that are written together; `transact` runs one batch, `start` keeps a task until it ends."""

    def __init__(self, transact: Transact, start: Start, patience: float) -> None:
        self._transact = transact
        self._start = start
        self._patience = patience
        self._queues: dict[Change | str, deque[_Waiting]] = {}
        self._writes: dict[Change | str, Write] = {}
        self._waiting = 0

    def submit(
        self, statement: Change | str, values: tuple[object, ...], entry: AuditEntry | None
    ) -> asyncio.Future[Any]:
        """Queue a row or a change; the future yields its result. Raise StorageUnavailable when too many wait."""
        if self._waiting >= MAX_WAITING:
            raise StorageUnavailable("too many rows wait to be written")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        queue = self._queues.get(statement)
        if queue is None:
            queue = self._queues[statement] = deque()
            self._start(self._drain(statement, queue))
        queue.append(_Waiting(values, future, entry))
        self._waiting += 1
        return future

    async def _drain(self, statement: Change | str, queue: deque[_Waiting]) -> None:
        while queue:
            await _gathered(queue)
            batch = self._take(queue, MAX_BATCH)
            writing = asyncio.create_task(self._together(statement, batch))
            while not (await asyncio.wait({writing}, timeout=self._patience))[0]:
                for waiting in self._take(queue, MAX_WAITING):  # after so long, fail rather than wait
                    if not waiting.future.done():
                        reason = f"nothing was written within {self._patience:g} s"
                        waiting.future.set_exception(StorageUnavailable(reason))
        del self._queues[statement]

    def _take(self, queue: deque[_Waiting], most: int) -> list[_Waiting]:
        taken = [queue.popleft() for _ in range(min(len(queue), most))]
        self._waiting -= len(taken)
        return taken

    async def _together(self, statement: Change | str, batch: list[_Waiting]) -> None:
        try:
            results = await self._transact(self._write(statement), batch)
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, StorageUnavailable):
                for one in batch:  # find the row at fault, and store the others
                    await self._together(statement, [one])
                return
            for waiting in batch:
                if not waiting.future.done():
                    waiting.future.set_exception(error)
            return
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.future.done():
                waiting.future.set_result(result)

    def _write(self, statement: Change | str) -> Write:
        known = self._writes.get(statement)
        if known is None:
            known = _insertion(statement) if isinstance(statement, str) else _making(statement)
            self._writes[statement] = known
        return known


async def _gathered(queue: deque[_Waiting]) -> None:
    """Wait until a turn of the event loop adds nothing more to a queue."""
    known, until = 0, time.monotonic() + LONGEST_GATHERING
    while known < len(queue) < MAX_BATCH and time.monotonic() < until:
        known = len(queue)
        await asyncio.sleep(0)


def _insertion(sql: str) -> Write:
    async def insert_rows(tx: PostgresTransaction, batch: list[_Waiting]) -> list[Any]:
        await tx.many(sql, [waiting.values for waiting in batch])
        return [None] * len(batch)

    return insert_rows


def _making(change: Change) -> Write:
    async def make(tx: PostgresTransaction, batch: list[_Waiting]) -> list[Any]:
        # In one order on every node, so that no two transactions deadlock; of those with the same first value the one that came
        # first is tried first, and takes effect if any does.
        asked = sorted((waiting.values for waiting in batch), key=lambda values: str(values[0]))
        took = Counter(next(iter(row)) for row in await tx.each(change.sql, asked))
        faults.reach("change.made", change.name)
        results = []
        for waiting in batch:
            results.append(took[waiting.values[0]] > 0)
            took[waiting.values[0]] -= results[-1]
        entries = [one.entry for one, made in zip(batch, results, strict=True) if made and one.entry]
        await tx.record_all(entries)
        return results

    make.__name__ = change.name  # by which fail-points know it
    return make
