"""Token buckets that nodes share: never more than the capacity, whoever asks (RL)."""

import pytest
from tests.fixtures.postgres import race
from tests.store.made import DAY, NOW

from watchword.store import attempts, limits
from watchword.store.attempts import Bucket
from watchword.store.database import Database

Nodes = tuple[Database, Database]


async def take(database: Database, *, now: float = NOW, capacity: float = 5, per_second: float = 1) -> float:
    return await database.write(limits.take, "bucket", capacity=capacity, per_second=per_second, now=now)


async def test_a_bucket_gives_its_capacity_and_then_says_how_long_to_wait(database: Database) -> None:
    assert [await take(database) for _ in range(5)] == [0.0] * 5
    assert await take(database) == pytest.approx(1.0)
    assert await take(database, now=NOW + 0.25) == pytest.approx(0.75)


async def test_of_many_takers_no_more_than_the_capacity_are_served(nodes: Nodes) -> None:
    for round in range(3):
        outcomes = await race(*(take(nodes[n % 2], now=NOW + round * 100) for n in range(30)))
        assert sorted(outcomes)[:6] == [0.0] * 5 + [pytest.approx(1.0)]


@pytest.mark.parametrize(
    ("later", "served"),
    [
        pytest.param(0, 0, id="at once nothing has come back"),
        pytest.param(2.5, 2, id="it refills steadily"),
        pytest.param(1000, 5, id="it never holds more than its capacity"),
        pytest.param(-1000, 0, id="a clock that is behind gives nothing back"),
        pytest.param(-limits.AHEAD, 0, id="nor one that is a day behind"),
        pytest.param(-30 * DAY, 5, id="it waits for no time that a clock was wrongly set to"),
    ],
)
async def test_a_bucket_refills(database: Database, later: float, served: int) -> None:
    for _ in range(5):
        assert await take(database) == 0
    assert [await take(database, now=NOW + later) == 0 for _ in range(6)].count(True) == served


async def test_a_bucket_that_a_wrong_clock_left_behind_goes_on_by_the_right_one(database: Database) -> None:
    for _ in range(5):
        await take(database, now=NOW + 3650 * DAY)
    assert await database.read(limits.is_drained, "bucket", 1, NOW + 3650 * DAY)
    assert not await database.read(limits.is_drained, "bucket", 1, NOW)
    assert [await take(database) == 0 for _ in range(6)].count(True) == 5
    assert await database.read(limits.is_drained, "bucket", 1, NOW)
    assert await take(database, now=NOW + 1) == 0
    assert await take(database, now=NOW + 1) == pytest.approx(1.0)


async def test_a_clock_that_is_behind_does_not_refill_for_the_others(nodes: Nodes) -> None:
    for _ in range(5):
        await take(nodes[0])
    await take(nodes[1], now=NOW - 100)
    assert await take(nodes[0]) > 0
    assert await take(nodes[0], now=NOW + 1) == 0
    assert await take(nodes[0], now=NOW + 1) > 0


async def test_a_refusal_takes_nothing(database: Database) -> None:
    for _ in range(5):
        await take(database)
    for _ in range(3):
        assert await take(database, now=NOW + 0.5) == pytest.approx(0.5)
    assert await take(database, now=NOW + 1) == 0


async def test_a_smaller_capacity_holds_at_once(database: Database) -> None:
    await take(database, capacity=100)
    assert [await take(database, capacity=2) == 0 for _ in range(3)] == [True, True, False]


async def test_what_was_taken_for_nothing_is_given_back_and_no_more_than_a_bucket_holds(
    database: Database,
) -> None:
    bucket = Bucket("bucket", 5, 1)
    for _ in range(5):
        await take(database)
    await database.write(attempts.give_back, bucket)
    assert [await take(database) == 0 for _ in range(2)] == [True, False]
    for _ in range(7):
        await database.write(attempts.give_back, bucket)
    assert [await take(database) == 0 for _ in range(7)].count(True) == 5


async def test_an_attempt_is_charged_to_every_bucket_until_the_first_that_is_empty(
    database: Database,
) -> None:
    wide, narrow, last = Bucket("wide", 5, 1), Bucket("narrow", 1, 1), Bucket("last", 5, 1)
    assert await database.write(attempts.admit, (wide, narrow, last), NOW) == 0
    assert await database.write(attempts.admit, (wide, narrow, last), NOW) == pytest.approx(1.0)
    left = [
        await database.write(limits.take, "wide", capacity=5, per_second=1, now=NOW) == 0 for _ in range(4)
    ]
    assert left == [True, True, True, False]
    left = [
        await database.write(limits.take, "last", capacity=5, per_second=1, now=NOW) == 0 for _ in range(5)
    ]
    assert left == [True, True, True, True, False], "nothing was taken from what comes after it"
