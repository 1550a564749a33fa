"""How a PostgreSQL node learns what the others changed, by announcements and without them."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Collection

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import Store
from tests.store.backends import backends, cluster_of, name_of, node, until
from tests.store.made import NOW, access_token, digest
from tests.store.test_families import LIMITS, MARK, begin, rotate, settle, standing
from tests.store.test_postgres_ends import prepare

from watchword.store import grants, keys, redemption, tokens
from watchword.store.conditions import in_session, on_ordinary
from watchword.store.database import Database
from watchword.store.postgres import changes

__all__ = ["node"]


pytestmark = pytest.mark.postgres

Revoke = Callable[[Database, str], Awaitable[None]]


async def test_a_node_that_hears_nothing_is_late_by_less_than_a_second(postgres_store: Store) -> None:
    deaf = await postgres_store.node()
    cluster = cluster_of(postgres_store)
    other = await postgres_store.node()
    cluster.sql(f"REVOKE CONNECT ON DATABASE {name_of(postgres_store)} FROM PUBLIC")
    before, begun = deaf.version(), time.monotonic()
    outside = await asyncpg.connect(postgres_store.address)
    await outside.execute("UPDATE facts SET value = 'changed without an announcement'")
    await until(lambda: deaf.version() != before)
    assert time.monotonic() - begun < 1
    assert other.version() >= 0
    await outside.close()


async def test_a_node_learns_of_a_change_from_its_announcement(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "MAX_AGE", 3600.0)
    writer, reader = [await postgres_store.node() for _ in range(2)]
    await until(lambda: both_listen(postgres_store))
    for n in range(3):
        before = reader.version()
        await writer.write(keys.set_fact, "turn", str(n))
        await moves(reader, before)
    before = writer.version()
    await writer.write(tokens.use_identifier, digest("p"), NOW)
    await tokens.insert_access_token(writer, digest("t"), access_token())
    assert writer.version() == before  # nobody remembers anything of these


async def moves(node: Database, before: int) -> None:
    await until(lambda: node.version() != before)


async def listening(store: Store) -> set[int]:
    rows = await backends(store, "(query ILIKE 'LISTEN%' OR query LIKE '%pg_notify%')")
    return {row["pid"] for row in rows}


async def both_listen(store: Store, but_not: Collection[int] = ()) -> bool:
    return len(await listening(store) - set(but_not)) == 2


async def test_a_node_hears_again_after_its_listening_connection_was_cut(postgres_store: Store) -> None:
    nodes = [await postgres_store.node() for _ in range(2)]
    connection = await asyncpg.connect(postgres_store.address)
    await until(lambda: both_listen(postgres_store))
    cut = await listening(postgres_store)
    for pid in cut:
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
    await until(lambda: both_listen(postgres_store, but_not=cut))
    heard: list[str] = []
    await connection.add_listener("watchword_changes", lambda *event: heard.append(event[3]))
    await nodes[0].write(keys.set_fact, "a", "b")
    await until(lambda: heard)
    await connection.close()


async def test_what_a_command_wrote_is_announced_before_it_ends(postgres_store: Store) -> None:
    listener = await asyncpg.connect(postgres_store.address)
    heard: list[str] = []
    await listener.add_listener("watchword_changes", lambda *event: heard.append(event[3]))
    database = await postgres_store.node()
    await database.write(keys.set_fact, "a", "b")
    await postgres_store.close()
    await until(lambda: heard)
    await listener.close()


async def revoke(database: Database, jti: str) -> None:
    later = NOW + 600
    await database.write(tokens.revoke_jti, jti, later, client_id="c", actor="c", now=NOW, status=None)


async def revoke_in_session(database: Database, jti: str) -> None:
    asked = {"client_id": "c", "actor": "u", "now": NOW, "status": None}
    await database.write(in_session, "s", "u", NOW, tokens.revoke_jti, jti, NOW + 600, **asked)


async def revoke_of_no_administrator(database: Database, jti: str) -> None:
    asked = {"client_id": "cl_1", "actor": "a", "now": NOW}
    await database.write(on_ordinary, "u", tokens.revoke_jti, jti, NOW + 600, **asked)


@pytest.mark.parametrize("revoke", [revoke, revoke_in_session, revoke_of_no_administrator])
@pytest.mark.parametrize("patience", [30.0, 0.0], ids=["as long as there is time", "and no longer"])
async def test_mn_01_what_ends_is_acknowledged_when_the_others_were_told(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch, patience: float, revoke: Revoke
) -> None:
    monkeypatch.setattr(changes, "PATIENCE", patience)
    node = await postgres_store.node()
    await prepare(node)
    await until(lambda: one_listens(postgres_store))
    await revoke(node, "before")
    assert await is_revoked(node, "before")
    (announcer,) = await listening(postgres_store)
    os.kill(announcer, signal.SIGSTOP)  # it takes the announcement and does not pass it on
    try:
        ending = asyncio.create_task(revoke(node, "after"))
        await until(lambda: is_revoked(node, "after"))
        if patience:
            assert not ending.done(), "committed and not yet told"
        else:
            await ending
    finally:
        os.kill(announcer, signal.SIGCONT)
    await ending


async def reuse_refresh_token(database: Database) -> None:
    assert await settle(database, "1 r0", NOW + 120) == "burn"


async def replay_code(database: Database) -> None:
    assert await database.write(redemption.refuse_code, digest("code 1"), NOW + 120) == "replayed"


@pytest.mark.parametrize("attack", [reuse_refresh_token, replay_code])
async def test_mn_01_who_uses_a_secret_again_is_answered_when_the_others_were_told_what_it_ended(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch, attack: Callable[[Database], Awaitable[None]]
) -> None:
    monkeypatch.setattr(changes, "PATIENCE", 30.0)
    node = await postgres_store.node()
    await begin(node)
    for generation in range(2):
        assert await rotate(node, generation)
    await until(lambda: one_listens(postgres_store))
    (announcer,) = await listening(postgres_store)
    os.kill(announcer, signal.SIGSTOP)
    try:
        answered = asyncio.create_task(attack(node))
        await until(lambda: has_ended(node))
        assert not answered.done(), "committed and not yet told"
    finally:
        os.kill(announcer, signal.SIGCONT)
    await answered


async def has_ended(node: Database) -> bool:
    return not await node.read(grants.is_grant_alive, "grant 1")


async def test_a_reuse_at_one_node_ends_the_rotation_that_another_has_begun(postgres_store: Store) -> None:
    """Whatever the other has heard by then: the database decides who wins."""
    one, other = [await postgres_store.node() for _ in range(2)]
    await begin(one)
    for generation in range(2):
        assert await rotate(one, generation)
    newest, late = digest("1 r2"), NOW + 120
    found = await standing(other, "1 r2", late)
    assert found.grant.ended_at is None
    await reuse_refresh_token(one)
    after = {"mark": MARK, "successor": digest("1 r3"), "expires_at": NOW + LIMITS.lifetime, "now": late}
    assert not await redemption.rotate_refresh_token(other, newest, found, **after)
    assert await settle(other, "1 r2", late) == "burned"


async def test_mn_01_after_an_interruption_what_ends_is_acknowledged_when_nothing_from_before_is_remembered(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cut one node off may have cut off others as well, who do not hear again yet: that it was announced is not enough."""
    for name, value in {"PATIENCE": 3600.0, "SHAKEN": 0.5, "RETRY": 0.0, "PING": 0.05}.items():
        monkeypatch.setattr(changes, name, value)
    node = await postgres_store.node()
    await prepare(node)
    await until(lambda: one_listens(postgres_store))
    cut, begun = await listening(postgres_store), time.monotonic()
    cluster_of(postgres_store).sql(f"SELECT pg_terminate_backend({next(iter(cut))}, 5000)")
    await until(lambda: other_listens(postgres_store, cut))
    await revoke(node, "after")
    assert time.monotonic() - begun >= 0.5, "announced, but nobody knows to whom"
    monkeypatch.setattr(changes, "SHAKEN", 3600.0)
    monkeypatch.setattr(changes, "PATIENCE", changes.MAX_AGE)
    cluster_of(postgres_store).sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE '%pg_notify(%' AND pid <> pg_backend_pid()"
    )
    await revoke(node, "later")
    assert await is_revoked(node, "later"), "and nobody waits for longer than anything is remembered"


async def other_listens(store: Store, but_not: Collection[int]) -> bool:
    return len(await listening(store) - set(but_not)) == 1


async def one_listens(store: Store) -> bool:
    return len(await listening(store)) == 1


async def is_revoked(node: Database, jti: str) -> bool:
    return await node.read(tokens.is_jti_revoked, jti)
