"""The connections of a process: each is with one borrower at a time, none is lost, whoever goes away and whenever."""

import asyncio
import contextlib
import gc
import warnings
import weakref
from collections.abc import Awaitable, Callable

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import Store

from watchword.store.database import StorageUnavailable
from watchword.store.postgres.errors import is_lost
from watchword.store.postgres.pool import Connection, Pool, cut

pytestmark = pytest.mark.postgres

TURNS = range(6)
NAME = "pool under test"


@pytest.fixture
def connect(postgres_store: Store) -> Callable[[], Awaitable[Connection]]:
    async def connect() -> Connection:
        connection: Connection = await asyncpg.connect(
            postgres_store.address, connection_class=Connection, server_settings={"application_name": NAME}
        )
        return connection

    return connect


async def turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


@pytest.mark.parametrize("turns", TURNS)
async def test_a_connection_that_comes_back_while_somebody_begins_to_wait_is_lent_to_them(
    connect: Callable[[], Awaitable[Connection]], turns: int
) -> None:
    pool = Pool(connect, 1, 1.0)
    lent = await pool.take()
    asking = asyncio.create_task(pool.take())
    await turn(turns)
    pool.give_back(lent, whole=True)
    assert await asking is lent
    pool.give_back(lent, whole=True)
    await pool.close(1.0)


@pytest.mark.parametrize(
    "given_back_first", [True, False], ids=["given back, cancelled", "cancelled, given back"]
)
@pytest.mark.parametrize("turns", TURNS)
async def test_whoever_goes_away_while_waiting_takes_no_connection_along(
    connect: Callable[[], Awaitable[Connection]], turns: int, given_back_first: bool
) -> None:
    pool = Pool(connect, 1, 1.0)
    lent = await pool.take()
    asking = asyncio.create_task(pool.take())
    await turn(turns)
    if given_back_first:
        pool.give_back(lent, whole=True)
    asking.cancel()
    [outcome] = await asyncio.gather(asking, return_exceptions=True)
    if not given_back_first:
        pool.give_back(lent, whole=True)
    if isinstance(outcome, Connection):  # it came first, and is theirs
        pool.give_back(outcome, whole=True)
    assert await pool.take() is lent
    pool.give_back(lent, whole=True)
    await pool.close(1.0)


@pytest.mark.parametrize("turns", range(3))
async def test_whoever_is_cancelled_as_the_database_fails_hears_of_the_cancellation(turns: int) -> None:
    """Otherwise a job that a stopping server cancels goes on, and the server waits for it for ever."""
    failing = asyncio.Event()

    async def connect() -> Connection:
        await failing.wait()
        raise ConnectionRefusedError

    async def job() -> None:
        with contextlib.suppress(StorageUnavailable):
            await Pool(connect, 1, 60.0).take()
        await asyncio.Event().wait()

    running = asyncio.create_task(job())
    await turn(3)
    failing.set()
    await turn(turns)
    running.cancel()
    assert await asyncio.wait({running}, timeout=5) == ({running}, set())


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 20])
async def test_whoever_goes_away_while_connecting_leaves_the_place_to_the_next(
    connect: Callable[[], Awaitable[Connection]], turns: int
) -> None:
    pool = Pool(connect, 1, 1.0)
    asking = asyncio.create_task(pool.take())
    await turn(turns)
    asking.cancel()
    [outcome] = await asyncio.gather(asking, return_exceptions=True)
    if isinstance(outcome, Connection):
        pool.give_back(outcome, whole=True)
    found = await pool.take()
    assert await found.fetchval("SELECT 1") == 1
    pool.give_back(found, whole=True)
    await pool.close(1.0)


@pytest.mark.parametrize("way", ["cancelled", "closed"])
async def test_a_connection_that_was_left_in_the_middle_of_a_question_is_not_lent_again(
    connect: Callable[[], Awaitable[Connection]], way: str
) -> None:
    pool = Pool(connect, 1, 1.0)

    async def ask(question: str) -> object:
        async with pool.lend() as connection:
            return await connection.fetchval(question)

    assert await ask("SELECT 1") == 1
    if way == "cancelled":
        asking = asyncio.create_task(ask("SELECT pg_sleep(60)"))
        await turn(5)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    else:
        left = ask("SELECT pg_sleep(60)")
        left.send(None)
        left.close()
    assert await ask("SELECT 2") == 2
    await pool.close(1.0)


async def test_a_pool_that_is_closed_lends_nothing_and_keeps_nothing(
    connect: Callable[[], Awaitable[Connection]],
) -> None:
    pool = Pool(connect, 1, 1.0)
    lent = await pool.take()
    waiting = asyncio.create_task(pool.take())
    await turn(3)
    await pool.close(1.0)
    pool.give_back(lent, whole=True)
    for outcome in await asyncio.gather(waiting, pool.take(), return_exceptions=True):
        assert isinstance(outcome, StorageUnavailable)
    observer = await connect()
    left = "SELECT COUNT(*) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()"
    for _ in range(500):
        if not await observer.fetchval(left, NAME):
            break
        await asyncio.sleep(0.01)
    assert not await observer.fetchval(left, NAME)
    await observer.close()


async def test_whoever_uses_a_connection_that_is_cut_is_told_as_if_the_server_had_gone(
    connect: Callable[[], Awaitable[Connection]],
) -> None:
    used = await asyncio.gather(*(connect() for _ in range(40)))
    # A statement is prepared, then executed: they are cut two in every turn, so some of them in between. Two are spared: a busy server
    # has answered nobody when the turns of all are over.
    using = [asyncio.create_task(connection.fetchval("SELECT $1::text", "sound")) for connection in used]
    left = list(zip(used, using, strict=True))
    while len(left) > 2:
        await turn(1)
        for connection, _ in left[:2]:
            cut(connection)
        left = [one for one in left[2:] if not one[1].done()]
    results = await asyncio.gather(*using, return_exceptions=True)
    assert "sound" in results, "who is not cut is answered"
    assert [result for result in results if isinstance(result, BaseException) and not is_lost(result)] == []
    for connection in used:
        cut(connection)
    await turn(2)
    assert all(connection.is_closed() for connection in used)


async def test_one_that_is_cut_counts_as_closed_although_nobody_holds_it_any_more(
    connect: Callable[[], Awaitable[Connection]],
) -> None:
    connection = await connect()
    known, name = weakref.ref(connection), repr(connection)
    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        cut(connection)
        del connection
        async with asyncio.timeout(10):
            while gc.collect() >= 0 and known() is not None:
                await asyncio.sleep(0)
    # Others' leftovers may be found by the collector here as well.
    assert [text for one in reported if name in (text := str(one.message))] == []
