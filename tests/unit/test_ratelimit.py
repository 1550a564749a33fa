"""Token buckets of one process."""

import pytest

from watchword.ratelimit import LocalBuckets, whole_seconds

NOW = 1_900_000_000


def test_a_bucket_gives_its_capacity_and_regains_steadily() -> None:
    buckets = LocalBuckets(capacity=2, per_second=0.1)
    assert [buckets.take("a", NOW) for _ in range(3)] == [0, 0, 10]
    assert buckets.take("b", NOW) == 0, "one name takes nothing from another"
    assert [buckets.take("a", NOW + later) for later in (5, 5.2, 10, 10)] == [5, 5, 0, 10]


@pytest.mark.parametrize("back", [60, 3600, 3650 * 86_400])
def test_a_clock_that_is_set_back_gives_nothing_and_holds_nobody_back_for_longer(back: int) -> None:
    buckets = LocalBuckets(capacity=2, per_second=0.1)
    assert [buckets.take("a", NOW + back) for _ in range(3)] == [0, 0, 10]
    assert buckets.take("a", NOW) == 10
    assert [buckets.take("a", NOW + 10) for _ in range(2)] == [0, 10]


@pytest.mark.parametrize(("wait", "told"), [(0.001, 1), (1.0, 1), (1.1, 2), (59.7, 60), (60.0000001, 60)])
def test_a_wait_is_over_when_it_was_waited_for_as_told(wait: float, told: int) -> None:
    assert whole_seconds(wait) == told
