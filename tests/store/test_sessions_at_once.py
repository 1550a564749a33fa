"""Sessions of one person that begin on several nodes at the same time, or while a provider ends what they come from."""

import asyncio
from typing import Any

import pytest
from tests.fixtures.postgres import Store
from tests.store.backends import backends, until
from tests.store.made import DAY, NOW, digest, user

from watchword.store import sessions, users
from watchword.store.database import Database, Transaction
from watchword.store.sessions import Session
from watchword.store.upstream_sessions import UpstreamSession

HUB = "https://hub.example"
AT_HUB = UpstreamSession(HUB, "hub-ada", "s1", NOW)


async def begin(tx: Transaction, id: str, limit: int = 9) -> bool:
    """Begin a session of u_1 that came from the one at the provider."""
    made = Session(
        id=id, user_id="u_1", created_at=NOW, authenticated_at=NOW, last_seen_at=NOW, idle_expires_at=NOW + 60, expires_at=NOW + DAY,
        acr="", amr=("pwd",), user_agent="", address="",
    )  # fmt: skip
    return await sessions.create_session(
        tx, made, digest(id), limit=limit, actor="u_1", came_from=AT_HUB if limit == 9 else None
    )


async def end(tx: Transaction, id: str) -> object:
    """End the session at the provider, named alone."""
    used = (digest(id), NOW + 60, NOW)
    return await sessions.end_sessions_from(tx, HUB, used=used, subject="", sid="s1", now=NOW + 1)


async def first(tx: Transaction, id: str) -> bool:
    """Begin a session of which one alone may live."""
    return await begin(tx, id, limit=1)


async def living(database: Database) -> int:
    return len(await database.read(sessions.list_sessions, user_id="u_1", now=NOW))


async def made(database: Database) -> None:
    names = {"canonical_username": "u_1", "skeleton": "u_1", "canonical_email": None}
    await database.write(users.create_user, user(), **names, password_hash=None, actor="a")


@pytest.mark.parametrize(
    ("one", "other", "live"),
    [
        pytest.param(first, first, 1, id="two sign-ins, where one session may live"),
        pytest.param(begin, begin, 2, id="two sign-ins from one session at the provider"),
        pytest.param(begin, end, 0, id="an end there of what is just begun here"),
        pytest.param(end, begin, 0, id="an end there, just before it is begun here"),
    ],
)
async def test_of_two_at_once_the_later_sees_the_earlier(
    postgres_store: Store, one: Any, other: Any, live: int
) -> None:
    node, another = await postgres_store.node(), await postgres_store.node()
    await made(node)
    done, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(tx: Transaction) -> None:
        await one(tx, "s_1")
        done.set()
        await go_on.wait()

    earlier = asyncio.ensure_future(node.write(slowly))
    await done.wait()
    later = asyncio.ensure_future(another.write(other, "s_2"))

    async def settled() -> bool:
        return later.done() or bool(await backends(postgres_store, "wait_event_type = 'Lock'"))

    await until(settled)
    go_on.set()
    await asyncio.gather(earlier, later)
    assert await living(node) == live


async def test_who_signs_in_many_times_at_once_has_no_more_sessions_than_one_person_may(
    database: Database,
) -> None:
    await made(database)
    names = [f"s_{number}" for number in range(12)]
    assert all(await asyncio.gather(*(database.write(begin, name, limit=3) for name in names)))
    assert await living(database) == 3
