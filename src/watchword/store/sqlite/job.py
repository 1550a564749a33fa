"""Writes queued for the writer thread of the embedded database, and the delivery of their results."""

import asyncio
import contextlib
import queue
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from watchword.store import faults
from watchword.store.database import AuditEntry, Change


@dataclass(slots=True)
class Job:
    """One accepted write and the future that its caller awaits."""

    operation: Callable[..., Awaitable[Any]] | Change | str  # the text of a statement for a row to append
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    entry: AuditEntry | None = None
    result: Any = None
    error: BaseException | None = None


Queue = queue.SimpleQueue[list[Job] | None]  # None is its end


def waiting_in(queued: Queue) -> list[Job]:
    """Take all jobs out of a queue; its end stays in it."""
    jobs: list[Job] = []
    with contextlib.suppress(queue.Empty):
        while (some := queued.get_nowait()) is not None:
            jobs += some
        queued.put(None)
    return jobs


def reach(step: str, jobs: list[Job]) -> None:
    """Pass a fail-point on behalf of every job."""
    for job in jobs:
        faults.reach(step, job.operation.name if isinstance(job.operation, Change) else job.operation)


def answer(batch: list[Job]) -> None:
    """Have the results of jobs delivered, each by the loop of its caller."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in batch:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, jobs in by_loop.items():
        with contextlib.suppress(RuntimeError):  # nobody waits any more in a loop that is closed by now
            loop.call_soon_threadsafe(deliver, jobs)


def deliver(jobs: list[Job]) -> None:
    """Deliver the results of jobs to their callers, on the callers' thread."""
    for job in jobs:
        if job.future.done():
            continue  # the caller went away; what it asked for is committed all the same
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)


async def finished(wait: Callable[[], object]) -> None:
    """Wait for what a thread has yet to do, off the event loop; on it while the process ends, when Python starts no other thread."""
    try:
        await asyncio.get_running_loop().run_in_executor(None, wait)
    except RuntimeError:
        wait()
