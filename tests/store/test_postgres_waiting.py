"""PostgreSQL's locks and connections: who waits for whom, for how long, and what is true when both are done."""

import asyncio
import json
import os
import signal
import time

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import AUDIT_KEY, Store, race
from tests.store.backends import backends, gone, node, until, until_blocked
from tests.store.made import NOW, add_token, breaks, count, digest, execute, note, select, token

from watchword.store import api_tokens, keys, tokens
from watchword.store.copying.opening import open_bulk
from watchword.store.database import Database, StorageUnavailable, Transaction
from watchword.store.postgres.database import PostgresDatabase
from watchword.store.postgres.replica import Replica

__all__ = ["node"]


pytestmark = pytest.mark.postgres


async def hold(tx: Transaction, reached: asyncio.Event, go: asyncio.Event, name: str) -> None:
    """Change a fact, record it, and keep the transaction open until told to go on."""
    await keys.set_fact(tx, name, "done")
    await note(tx, name)
    reached.set()
    await go.wait()


async def create_and_hold(
    tx: Transaction, id: str, parent: str, reached: asyncio.Event, go: asyncio.Event
) -> str:
    made = token(id, parent_id=parent, depth=1)
    outcome = await api_tokens.create_token(
        tx, made, secret_id=f"sec_{id}", digest=digest(id), hint="", actor="test"
    )
    reached.set()
    await go.wait()
    return outcome


async def test_a_transaction_that_was_given_up_while_the_server_keeps_it_holds_up_nobody_else(
    node: Database, postgres_store: Store
) -> None:
    """Whoever went on with its chain of audit events would wait for its end."""
    await node.write(note, "before")
    reached, go = asyncio.Event(), asyncio.Event()

    async def note_twice(tx: Transaction) -> None:
        await hold(tx, reached, go, "stuck")
        await note(tx, "stuck again")

    stuck = asyncio.create_task(node.write(note_twice))
    await asyncio.wait_for(reached.wait(), 5)
    [backend] = await backends(postgres_store, "state = 'idle in transaction'")
    os.kill(backend["pid"], signal.SIGSTOP)
    try:
        go.set()
        [outcome] = await race(stuck)
        assert isinstance(outcome, StorageUnavailable)
        assert not outcome.unknown
        await node.write(note, "after")
    finally:
        os.kill(backend["pid"], signal.SIGCONT)
    assert await breaks(node, AUDIT_KEY) == []


async def test_a_server_that_falls_silent_while_a_node_opens_is_given_up(postgres_store: Store) -> None:
    await postgres_store.node()
    await postgres_store.close()
    restoring = await open_bulk(postgres_store.address, alone=True)
    opening = asyncio.ensure_future(
        PostgresDatabase(postgres_store.address, AUDIT_KEY, timeout=1, longest=3).open()
    )
    await until_blocked(postgres_store)
    [backend] = await backends(postgres_store, "wait_event_type = 'Lock'")
    os.kill(backend["pid"], signal.SIGSTOP)
    try:
        done, _ = await asyncio.wait({opening}, timeout=20)
        assert done, "the node waits for ever"
        with pytest.raises(StorageUnavailable, match="cannot use the PostgreSQL server"):
            opening.result()
    finally:
        os.kill(backend["pid"], signal.SIGCONT)
        await restoring.close()
    await until(lambda: gone(postgres_store, "backend_type = 'client backend'"))


async def test_a_standby_that_hangs_is_left_alone_for_much_longer_than_it_was_waited_for(
    postgres_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    replica = Replica(postgres_store.address, await postgres_store.node(), 1)
    await replica.open()
    assert await replica.read(select, "SELECT 1"), "the standby answers"
    [backend] = await backends(postgres_store, "application_name = 'watchword-lists'")
    os.kill(backend["pid"], signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert await replica.read(select, "SELECT 1"), "the primary answers"
        lost = time.monotonic() - begun
    finally:
        os.kill(backend["pid"], signal.SIGCONT)
        await replica.close()
    said = json.loads(capsys.readouterr().err)
    assert said["event"] == "replica.unavailable"
    assert said["seconds"] > 5 * lost


async def test_a_child_that_is_being_made_when_its_ancestor_is_revoked_ends_as_well(
    postgres_store: Store,
) -> None:
    nodes = [await postgres_store.node() for _ in range(2)]
    await add_token(nodes[0], "grandparent")
    await add_token(nodes[0], "parent", parent_id="grandparent", depth=1)
    reached, go = asyncio.Event(), asyncio.Event()
    making = asyncio.ensure_future(nodes[0].write(create_and_hold, "child", "parent", reached, go))
    await reached.wait()
    revoking = asyncio.ensure_future(
        nodes[1].write(api_tokens.revoke_token, "grandparent", reason="r", actor="test", now=NOW)
    )
    await until_blocked(postgres_store)
    go.set()
    assert await making == "created"
    assert sorted(await revoking) == ["child", "grandparent", "parent"]
    found = await nodes[0].read(api_tokens.get_token, "child")
    assert found is not None
    assert found.revoked_at == NOW


async def test_a_token_that_is_being_made_when_its_owner_is_disabled_ends_as_well(
    postgres_store: Store,
) -> None:
    database = await postgres_store.node()
    await database.write(
        execute,
        "INSERT INTO users (id, username, canonical_username, skeleton, created_at) VALUES ('u', 'u', 'u', 'u', 0)",
    )

    async def disable(tx: Transaction) -> list[str]:
        await tx.run("UPDATE users SET disabled_at = $1 WHERE id = 'u'", NOW)
        return await api_tokens.revoke_tokens_of(tx, "u", reason="disabled", actor="test", now=NOW)

    async def make(tx: Transaction) -> str:
        made = token(owner_kind="user", owner_id="u")
        outcome = await api_tokens.create_token(
            tx, made, secret_id="s", digest=digest("s"), hint="", actor="test"
        )
        reached.set()
        await go.wait()
        return outcome

    reached, go = asyncio.Event(), asyncio.Event()
    making = asyncio.ensure_future(database.write(make))
    await reached.wait()
    disabling = asyncio.ensure_future(database.write(disable))
    await until_blocked(postgres_store)
    go.set()
    assert (await making, await disabling) == ("created", ["tok_1"])


async def test_two_that_wait_for_each_other_are_parted_and_both_succeed(postgres_store: Store) -> None:
    database = await postgres_store.node()
    for name in ("a", "b"):
        await database.write(keys.set_fact, name, "")
    met = [asyncio.Event(), asyncio.Event()]

    async def cross(tx: Transaction, mine: int) -> None:
        await keys.set_fact(tx, "ab"[mine], f"by {mine}")
        met[mine].set()
        await met[1 - mine].wait()
        await keys.set_fact(tx, "ab"[1 - mine], f"by {mine}")
        await note(tx, f"by {mine}")

    assert await race(database.write(cross, 0), database.write(cross, 1)) == [None, None]
    assert await database.read(keys.get_fact, "a") == await database.read(keys.get_fact, "b")
    assert await count(database, "events") == 2
    assert await breaks(database, AUDIT_KEY) == []


async def test_when_every_connection_is_busy_the_next_is_refused_within_two_seconds(
    postgres_store: Store,
) -> None:
    database = await postgres_store.node(pool_size=2, patience=1.0)
    go = asyncio.Event()
    holding = []
    for name in ("a", "b"):
        reached = asyncio.Event()
        holding.append(asyncio.ensure_future(database.write(hold, reached, go, name)))
        await reached.wait()
    begun = time.monotonic()
    for outcome in await race(*(database.read(keys.get_fact, "a") for _ in range(50))):
        assert isinstance(outcome, StorageUnavailable)
        assert not outcome.unknown
    assert time.monotonic() - begun < 2
    go.set()
    assert await asyncio.gather(*holding) == [None, None]
    assert await database.read(keys.get_fact, "a") == "done"


async def test_many_more_requests_than_connections_are_all_served(postgres_store: Store) -> None:
    database = await postgres_store.node(pool_size=2, patience=1.0)
    outcomes = await race(*(database.write(tokens.use_identifier, digest(f"{n}"), NOW) for n in range(200)))
    assert outcomes == [True] * 200


async def test_who_waits_too_long_for_a_lock_is_refused(node: Database, postgres_store: Store) -> None:
    other = await asyncpg.connect(postgres_store.address)
    held = other.transaction()
    await held.start()
    await other.execute("UPDATE facts SET value = value")
    with pytest.raises(StorageUnavailable, match="timeout"):
        await node.write(keys.set_fact, "changes", "0")
    await held.rollback()
    await other.close()
    await node.write(keys.set_fact, "changes", "0")


async def test_a_node_that_stalls_inside_a_transaction_does_not_block_the_others(
    node: Database, postgres_store: Store
) -> None:
    reached, never = asyncio.Event(), asyncio.Event()
    stalled = asyncio.ensure_future(node.write(hold, reached, never, "fact"))
    await reached.wait()
    await until(lambda: gone(postgres_store, "state = 'idle in transaction'"))
    other = await postgres_store.node()
    await other.write(keys.set_fact, "fact", "by the other")
    never.set()
    await asyncio.wait({stalled})
    assert await breaks(other, AUDIT_KEY) == []
