"""Signing keys: several nodes agree on the first ones and on each rotation (KR-02, KR-03)."""

import pytest
from tests.fixtures.postgres import race
from tests.store.made import DAY, NOW, key

from watchword.store import keys
from watchword.store.database import Database

Nodes = tuple[Database, Database]


async def published(database: Database, now: int = NOW) -> list[str]:
    return [stored.kid for stored in await database.read(keys.list_keys, now)]


async def first(database: Database, *kids: str) -> bool:
    made = [key(kids[0]), *(key(kid, None) for kid in kids[1:])]
    return await database.write(keys.create_keys, "ES256", made, actor="test", now=NOW)


async def rotate(database: Database, promoted: str, successor: str) -> bool:
    return await database.write(
        keys.rotate_key,
        promoted,
        key(successor, None),
        activates_at=NOW + 10,
        retires_at=NOW + 2 * DAY,
        actor="test",
        now=NOW,
    )


async def test_a_key_is_read_as_it_was_stored(database: Database) -> None:
    await first(database, "k1", "k2")
    assert await database.read(keys.list_keys, NOW) == [key("k1"), key("k2", None)]


async def test_of_two_nodes_that_start_at_once_one_makes_the_first_keys(nodes: Nodes) -> None:
    outcomes = await race(*(first(nodes[n % 2], f"k{n}a", f"k{n}b") for n in range(8)))
    assert sorted(outcomes) == [False] * 7 + [True]
    winner = outcomes.index(True)
    for node in nodes:
        assert await published(node) == [f"k{winner}a", f"k{winner}b"]


async def test_of_two_nodes_that_replace_what_was_revoked_one_does(nodes: Nodes) -> None:
    await first(nodes[0], "before")
    assert await first(nodes[1], "too early") is False
    assert await nodes[0].write(keys.revoke_key, "before", actor="test", now=NOW)
    outcomes = await race(*(first(nodes[n % 2], f"k{n}a", f"k{n}b") for n in range(8)))
    assert sorted(outcomes) == [False] * 7 + [True]
    winner = outcomes.index(True)
    for node in nodes:
        assert await published(node) == [f"k{winner}a", f"k{winner}b"]


async def test_of_two_nodes_that_rotate_at_once_one_succeeds(nodes: Nodes) -> None:
    await first(nodes[0], "current", "next")
    outcomes = await race(*(rotate(nodes[n % 2], "next", f"successor{n}") for n in range(6)))
    assert sorted(outcomes) == [False] * 5 + [True]
    winner = outcomes.index(True)
    assert sorted(await published(nodes[1])) == sorted(["current", "next", f"successor{winner}"])


async def test_the_key_before_retires_when_its_successor_takes_over(database: Database) -> None:
    await first(database, "current", "next")
    assert await rotate(database, "next", "after")
    assert set(await published(database, NOW + 2 * DAY - 1)) == {"current", "next", "after"}
    assert set(await published(database, NOW + 2 * DAY)) == {"next", "after"}


@pytest.mark.parametrize(
    ("kid", "ends"),
    [
        pytest.param("current", True, id="a key in use can be withdrawn"),
        pytest.param("next", True, id="a key that only waits can be withdrawn"),
        pytest.param("unknown", False, id="an unknown key cannot"),
    ],
)
async def test_a_withdrawn_key_is_no_longer_published(database: Database, kid: str, ends: bool) -> None:
    await first(database, "current", "next")
    assert await database.write(keys.revoke_key, kid, actor="test", now=NOW) is ends
    assert (kid in await published(database)) is False
    assert await database.write(keys.revoke_key, kid, actor="test", now=NOW) is False
    if ends:
        assert await rotate(database, kid, "successor") is False


async def test_a_fact_is_what_was_set_last(database: Database) -> None:
    assert await database.read(keys.get_fact, "issuer") is None
    for value in ("https://a", "https://b"):
        await database.write(keys.set_fact, "issuer", value)
        assert await database.read(keys.get_fact, "issuer") == value
