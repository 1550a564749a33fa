"""MN: a node that is asked for one kind of thing and for nothing else learns of every end all the same."""

import asyncio
import statistics
from collections.abc import Iterable
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.attacks.ended_keys import kid_of
from tests.attacks.endings import ENDINGS
from tests.attacks.pairs import LATE, Pair, lateness, open_deaf_pair, open_pair
from tests.attacks.taken import BY, Is, change, granted
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server
from tests.flows.test_status_lists import claims_of
from tests.store.test_postgres_ends import until_waiting

from watchword.flows.clients import client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.guard.ended import Ended
from watchword.oauth import ended as ended_marks
from watchword.oauth.ended import Page

OPTIONS = {"registration": "open"}
# Of each kind that a process remembers; everything else is read when it is asked for.
REMEMBERED = (
    "an opaque token",
    "an API token",
    "a client that was disabled",
    "a client's secret",
    "a trust rule",
    "an account that was disabled",
    "a signing key, at introspection",
    "a signing key that is published",
    "a signing key of status lists",
    "a place in a status list",
    "what the revocation feed has not told",
)


def no_more(is_good: Is) -> Is:
    async def is_over() -> bool:
        return not await is_good()

    return is_over


async def ended(pair: Pair, names: Iterable[str]) -> dict[str, float]:
    """End one thing after another on the first node; return after how many seconds the second knew of each."""
    late = {}
    for name in names:
        case = await ENDINGS[name](pair)
        try:
            await lateness(case.is_good)
            await case.end()
            late[name] = await lateness(no_more(case.is_good))
        except AssertionError as never:
            raise AssertionError(f"{name}: {never}") from never
    return late


async def test_mn_01_a_node_that_is_asked_for_nothing_else_knows_what_ended(
    store: Store, tmp_path: Path
) -> None:
    async with open_pair(store.address, store.address, tmp_path, **OPTIONS) as pair:
        assert await ended(pair, ENDINGS)


@pytest.mark.postgres
async def test_mn_01_a_node_that_is_cut_off_and_asked_for_nothing_else_is_late_by_less_than_a_second(
    postgres_store: Store, tmp_path: Path
) -> None:
    async with open_deaf_pair(postgres_store, tmp_path, **OPTIONS) as pair:
        late = await ended(pair, REMEMBERED)
    assert statistics.median(late.values()) <= LATE, "but for what the machine itself holds up"


@pytest.mark.parametrize("disabled", [True, False], ids=["disabled", "deleted"])
async def test_mn_01_what_a_node_issued_that_was_a_second_late_ends_with_its_client(
    store: Store, tmp_path: Path, disabled: bool
) -> None:
    async with open_pair(store.address, store.address, tmp_path) as (a, b):
        client, other = await a.client(), await a.client()
        b.clock.advance(1)  # the second in which it does not know yet, if it is cut off
        tokens = [(await issued(b, one)) for one in (client, other)]
        for token in tokens:
            assert not concerned(a, await told(a), token)
        if disabled:
            await change(a, client, disabled=True)
        else:
            await client_registry.delete(a.runtime, client.client.client_id, actor=BY)
        page = await told(a)
        assert [concerned(a, page, token) for token in tokens] == [True, False]


@pytest.mark.postgres
async def test_mn_04_a_client_that_is_disabled_while_its_request_waits_is_issued_nothing(
    postgres_store: Store, tmp_path: Path
) -> None:
    async with open_pair(postgres_store.address, postgres_store.address, tmp_path) as (a, b):
        client, other = [await a.client(access_token_status=True) for _ in range(2)]
        for one in (client, other):
            await lateness(granted(b, one))
            await change(a, one, scope="orders:read")  # another list is opened for what comes
        holding = await asyncpg.connect(postgres_store.address)
        await holding.execute("BEGIN; LOCK TABLE status_lists IN EXCLUSIVE MODE")
        asking = [asyncio.create_task(b.grant(one)) for one in (client, other)]
        await until_waiting(postgres_store, 2)
        await change(a, client, disabled=True)
        await holding.execute("COMMIT")
        await holding.close()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [401, 200]


async def issued(server: Server, client: Registered) -> str:
    """Return a token that a node issues as soon as it knows the client."""
    await lateness(granted(server, client))
    token: str = (await server.grant(client)).json()["access_token"]
    return token


async def told(server: Server) -> Page:
    """Return what the revocation feed tells."""
    return (await server.runtime.feed.page("")).page


def concerned(server: Server, page: Page, token: str) -> bool:
    """Whether a guard that was told this takes a token for ended."""
    known = Ended(silence=5.0)
    known.apply(page, server.clock())
    claims = claims_of(token)
    return known.concerns(ended_marks.marks_of(claims, kid_of(token)), claims["iat"])
