"""What docs/scale.md claims of many nodes, checked by simulation and by the product's own sizes and intervals."""

from collections.abc import Callable
from pathlib import Path

import pytest
from bench import capacity, simulate_scale
from bench.simulate_scale import billion, feed_holds, follow, page_bytes, rotate

from watchword.guard import feed as guard_feed
from watchword.oauth import ended, status_list
from watchword.settings import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "scale.md").read_text()


def squeezed(text: str) -> str:
    """A table without the spaces that only align it."""
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


@pytest.mark.parametrize("seed", range(5))
def test_a_rotation_refuses_no_token_on_any_guard(seed: int) -> None:
    found = rotate(100, 2_000, seed=seed)
    assert found.checked == 10_000
    assert found.refused == 0
    assert found.waited <= found.checked / 1000


def test_a_key_that_signs_before_every_copy_can_know_it_makes_guards_wait() -> None:
    """Which is why it is published one `max-age` before; even then no guard refuses what it may ask about."""
    hasty = rotate(100, 2_000, early=150.0)
    assert hasty.waited > 100 * max(1, rotate(100, 2_000).waited)
    assert hasty.refused < hasty.checked / 50


@pytest.mark.parametrize("guards", [500, 50_000, 100_000])
def test_a_revocation_is_late_by_less_than_a_second_also_at_a_node_that_hears_of_nothing(guards: int) -> None:
    nodes = max(1, guards // 1000)
    for cut_off in (False, True):
        assert follow(nodes, guards, 1_000, cut_off=cut_off).latest < 1.0


def test_the_feed_costs_a_node_less_than_a_third_of_a_core() -> None:
    assert follow(100, 100_000, 1_000).cpu < 0.33
    assert 2 * Settings(issuer="http://localhost").revocation_streams * 100 >= 100_000


def test_a_full_page_fits_what_a_guard_reads_at_once() -> None:
    assert page_bytes(ended.PAGE) < guard_feed.MAX_EVENT


def test_a_billion_tokens_fit_into_status_lists_that_a_guard_can_fetch() -> None:
    found = [billion(share) for share in simulate_scale.SHARES]
    assert all(one.lists * simulate_scale.LIST_SIZE >= 10**9 for one in found)
    assert all(one.one < status_list.MAX_BYTES for one in found)
    assert [one.all for one in found] == sorted(one.all for one in found)
    assert found[-1].all < 10**9 / 8, "compressed it is less than one bit for each token"


def test_the_model_finds_where_one_database_ends() -> None:
    for cost in capacity.COSTS:
        assert capacity.node_rate(cost) > 0
        if cost.database:
            assert 1 < capacity.nodes_until_the_database_ends(cost) < 1000


@pytest.mark.parametrize(
    "made",
    [simulate_scale.rotation_table, simulate_scale.feed_table, capacity.node_table],
    ids=["rotation", "feed", "capacity"],
)
def test_the_page_says_what_the_model_says(made: Callable[[], str]) -> None:
    assert squeezed(made()) in squeezed(PAGE)


def test_the_page_says_what_a_billion_tokens_take() -> None:
    shown = simulate_scale.list_table([billion(share) for share in simulate_scale.SHARES])
    for line in shown.splitlines()[2:]:
        share, lists = line.split("|")[1].strip(), line.split("|")[2].strip()
        assert any(share in row and lists in row for row in PAGE.splitlines()), line
    assert f"{feed_holds(Settings(issuer='http://localhost')):.1f} endings" in PAGE
