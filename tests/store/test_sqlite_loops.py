"""The embedded database among several event loops, and while it closes: whoever waits for it is answered."""

import asyncio
import contextlib
import os
import queue
import threading
from pathlib import Path

import pytest
from tests.fixtures.postgres import Store, race
from tests.store.made import access_token, count, digest, note

from watchword.store import tokens
from watchword.store.database import Database, StorageUnavailable, Transaction
from watchword.store.sqlite.job import Job, Queue, waiting_in

PATIENCE = 10.0


@pytest.fixture
def file(tmp_path: Path) -> Store:
    return Store("sqlite", str(tmp_path / "watchword.db"))


async def hold(tx: Transaction, reached: threading.Event, go: threading.Event) -> None:
    """Keep the writer busy until told to go on."""
    reached.set()
    assert go.wait(PATIENCE)


class EndingLoop(asyncio.SelectorEventLoop):
    """A loop that is closed at the very moment at which somebody has made sure that it is not."""

    asked = False

    def is_closed(self) -> bool:
        was = super().is_closed()
        if not was and not self.asked and not self.is_running():
            self.asked = True
            self.close()
        return was


async def test_a_write_that_comes_while_the_database_closes_is_refused_and_left_waiting_for_nothing(
    file: Store,
) -> None:
    database = await file.node()
    reached, go = threading.Event(), threading.Event()
    holding = asyncio.create_task(database.write(hold, reached, go))
    assert await asyncio.to_thread(reached.wait, PATIENCE)
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    late = asyncio.create_task(database.write(note, "late"))
    go.set()
    [outcome] = await asyncio.wait_for(race(late), PATIENCE)
    assert isinstance(outcome, StorageUnavailable)
    assert not outcome.unknown
    await asyncio.gather(holding, closing)


async def test_what_another_loop_had_not_handed_over_when_the_database_closed_is_refused(file: Store) -> None:
    database = await file.node()
    accepted, closed, outcomes = threading.Event(), threading.Event(), []

    async def append() -> None:
        waiting = tokens.insert_access_token(database, digest("t"), access_token())
        accepted.set()
        assert closed.wait(PATIENCE)
        outcomes.extend(await asyncio.wait_for(race(waiting), PATIENCE))

    other = threading.Thread(target=asyncio.run, args=(append(),))
    other.start()
    assert await asyncio.to_thread(accepted.wait, PATIENCE)
    await database.close()
    closed.set()
    await asyncio.to_thread(other.join)
    assert [type(outcome) for outcome in outcomes] == [StorageUnavailable]


async def test_a_loop_that_ends_before_its_answer_takes_nobody_else_with_it(file: Store) -> None:
    database = await file.node()
    reached, go = threading.Event(), threading.Event()
    holding = asyncio.create_task(database.write(hold, reached, go))
    assert await asyncio.to_thread(reached.wait, PATIENCE)
    await asyncio.to_thread(_append_and_leave, database)
    go.set()
    await holding
    await asyncio.wait_for(database.write(note, "after"), PATIENCE)
    assert await count(database, "access_tokens") == 1
    await file.close()


def _append_and_leave(database: Database) -> None:
    async def append() -> None:
        tokens.insert_access_token(database, digest("t"), access_token())
        for _ in range(5):
            await asyncio.sleep(0)

    EndingLoop().run_until_complete(append())


async def test_a_reading_of_the_turn_in_which_the_database_is_closed_disturbs_nobody(file: Store) -> None:
    disturbances: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: disturbances.append(context))
    database = await file.node()
    closing = asyncio.create_task(database.close())
    while not closing.done():
        await count(database, "events")
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert disturbances == []


def _descriptors(path: str) -> int:
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found += os.readlink(f"/proc/self/fd/{descriptor}") == path
    return found


async def test_a_thread_that_has_ended_leaves_no_connection_behind(file: Store) -> None:
    """A guard in the server's process may be asked by a framework that makes a thread for every request."""
    database, versions = await file.node(), set()

    def ask() -> None:
        asking = threading.Thread(target=lambda: versions.add(database.version()))
        asking.start()
        asking.join()

    versions.add(database.version())
    for _ in range(2):  # what a connection leaves is closed or used again once another one has been opened
        await asyncio.to_thread(ask)
    open_by_now = _descriptors(file.address)
    for _ in range(5):
        await asyncio.to_thread(ask)
    versions.add(database.version())  # this thread lives, and so does its connection
    assert len(versions) == 1, "each was answered"
    assert 0 < _descriptors(file.address) <= open_by_now


async def test_who_takes_all_that_waits_leaves_the_end_of_the_queue_in_it() -> None:
    """The writer of a database that is being closed would wait for it for ever."""
    queued: Queue = queue.SimpleQueue()
    jobs = [Job("SELECT 1", (), {}, asyncio.get_running_loop(), asyncio.Future()) for _ in range(3)]
    for some in (jobs[:2], jobs[2:]):
        queued.put(some)
    assert waiting_in(queued) == jobs
    assert queued.empty()
    queued.put(jobs)
    queued.put(None)
    assert waiting_in(queued) == jobs
    assert (queued.get_nowait(), queued.empty()) == (None, True)
