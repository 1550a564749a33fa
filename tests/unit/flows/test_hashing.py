"""The threads that hash and look names up, in a process that was forked after it had used them."""

import asyncio

from tests.fixtures.forking import in_a_child

from watchword import fetch
from watchword.flows import hashing


async def test_a_forked_child_hashes_and_looks_names_up_by_threads_of_its_own() -> None:
    assert await hashing.run(int, 1) == 1
    assert await fetch.resolve("localhost", 80)

    async def again() -> list[object]:
        return [await hashing.run(int, 2), bool(await fetch.resolve("localhost", 80))]

    assert in_a_child(lambda: asyncio.run(again())) == [2, True]
