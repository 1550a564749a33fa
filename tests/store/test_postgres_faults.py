"""PostgreSQL in trouble: honest refusals within bounded time, retries that are safe, and recovery by itself (F-03, F-08, F-11, F-21)."""

import asyncio
import inspect
import os
import re
import signal
import time
from collections.abc import Awaitable, Callable, Collection

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
import pytest_asyncio
from tests.fixtures.postgres import AUDIT_KEY, Cluster, Store, race
from tests.fixtures.servers import free_port
from tests.store.made import NOW, access_token, add_token, breaks, count, digest, execute, note, select, token

from watchword.store import api_tokens, changes, keys, tokens
from watchword.store.database import Database, StorageUnavailable, Transaction
from watchword.store.postgres import PostgresDatabase

pytestmark = pytest.mark.postgres


@pytest_asyncio.fixture
async def node(postgres_store: Store) -> Database:
    """A node that is patient for one second only."""
    return await postgres_store.node(timeout=1)


def cluster_of(store: Store) -> Cluster:
    assert store.cluster is not None
    return store.cluster


def name_of(store: Store) -> str:
    return store.address.rpartition("/")[2]


async def until(condition: Callable[[], object], patience: float = 20.0) -> None:
    """Wait until something is so; the condition may have to be awaited."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def backends(store: Store, condition: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(store.address)
    try:
        return list(
            await connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                f"AND pid <> pg_backend_pid() AND {condition}"
            )
        )
    finally:
        await connection.close()


async def until_blocked(store: Store) -> None:
    """Wait until a transaction waits for the lock of another."""
    await until(lambda: backends(store, "wait_event_type = 'Lock'"))


async def gone(store: Store, condition: str) -> bool:
    """Whether no connection is like this."""
    return not await backends(store, condition)


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


async def test_connections_that_the_server_ended_are_replaced_without_any_error(
    node: Database, postgres_store: Store
) -> None:
    await race(*(node.write(note, f"{n}") for n in range(20)))
    for round in range(3):
        cluster_of(postgres_store).sql(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name_of(postgres_store)}'"
        )
        outcomes = await race(
            *(node.write(note, f"{round} {n}") for n in range(10)), node.read(keys.get_fact, "x")
        )
        assert outcomes == [None] * 11
    assert await count(node, "events") == 50
    assert await breaks(node, AUDIT_KEY) == []


async def test_a_transaction_that_the_server_ended_is_tried_again_and_done_once(
    node: Database, postgres_store: Store
) -> None:
    tries: list[int] = []

    async def interrupted(tx: Transaction) -> None:
        row = await tx.one("SELECT pg_backend_pid() AS pid")
        assert row is not None
        await note(tx, "interrupted")
        tries.append(row["pid"])
        if len(tries) == 1:
            cluster_of(postgres_store).sql(f"SELECT pg_terminate_backend({row['pid']}, 5000)")
        await keys.set_fact(tx, "interrupted", str(len(tries)))

    await node.write(interrupted)
    assert len(tries) == 2
    assert await count(node, "events") == 1
    assert await breaks(node, AUDIT_KEY) == []


async def test_a_lost_answer_to_a_single_statement_is_unknown_and_not_tried_again(
    node: Database, postgres_store: Store
) -> None:
    """A second try would take the identifier's own first use for another's."""
    other = await asyncpg.connect(postgres_store.address)
    held = other.transaction()
    await held.start()
    await other.execute("INSERT INTO used_identifiers VALUES ($1, 1)", digest("p"))
    using = asyncio.ensure_future(node.write(tokens.use_identifier, digest("p"), NOW))
    await until_blocked(postgres_store)
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    )
    with pytest.raises(StorageUnavailable) as refused:
        await using
    assert refused.value.unknown
    await held.rollback()
    await other.close()


async def test_a_commit_that_no_standby_confirms_is_unknown(node: Database, postgres_store: Store) -> None:
    cluster = cluster_of(postgres_store)
    cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    cluster.sql("SELECT pg_reload_conf()")
    try:
        for call in (
            node.write(keys.set_fact, "fact", "value"),
            node.write(note, "event"),
            node.write(tokens.use_identifier, digest("p"), NOW),
            tokens.insert_access_token(node, digest("t"), access_token()),
        ):
            with pytest.raises(StorageUnavailable) as refused:
                await call
            assert refused.value.unknown
    finally:
        cluster.sql("ALTER SYSTEM RESET synchronous_standby_names")
        cluster.sql("SELECT pg_reload_conf()")
    await until(lambda: cluster.sql("SHOW synchronous_standby_names").strip() == "")
    await node.write(note, "after")
    assert await breaks(node, AUDIT_KEY) == []


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda node: node.write(note, "event"), id="a transaction"),
        pytest.param(lambda node: node.write(tokens.use_identifier, digest("p"), NOW), id="one statement"),
        pytest.param(
            lambda node: tokens.insert_access_token(node, digest("t"), access_token()), id="rows appended"
        ),
    ],
)
async def test_a_commit_whose_wait_for_a_standby_was_cancelled_is_unknown_though_the_server_reports_success(
    postgres_store: Store, call: Callable[[Database], Awaitable[object]]
) -> None:
    node, cluster = await postgres_store.node(timeout=60), cluster_of(postgres_store)
    cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    cluster.sql("SELECT pg_reload_conf()")
    try:
        waiting = asyncio.ensure_future(call(node))
        await until(lambda: backends(postgres_store, "wait_event = 'SyncRep'"))
        cluster.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        with pytest.raises(StorageUnavailable, match="canceling wait for synchronous replication") as refused:
            await waiting
        assert refused.value.unknown
    finally:
        cluster.sql("ALTER SYSTEM RESET synchronous_standby_names")
        cluster.sql("SELECT pg_reload_conf()")


async def test_a_server_without_durable_commits_is_made_to_commit_durably(postgres_store: Store) -> None:
    name = name_of(postgres_store)
    for configured, used in (("off", "on"), ("local", "local"), ("remote_apply", "remote_apply")):
        cluster_of(postgres_store).sql(f"ALTER DATABASE {name} SET synchronous_commit = {configured}")
        database = await postgres_store.node()
        assert (await database.read(select, "SHOW synchronous_commit"))[0]["synchronous_commit"] == used


async def test_a_server_that_takes_no_writes_serves_reads_and_heals(
    node: Database, postgres_store: Store
) -> None:
    await node.write(note, "before")
    cluster, name = cluster_of(postgres_store), name_of(postgres_store)
    cluster.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    cluster.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    for call in (
        node.write(note, "refused"),
        node.write(tokens.use_identifier, digest("p"), NOW),
        tokens.insert_access_token(node, digest("t"), access_token()),
    ):
        with pytest.raises(StorageUnavailable):
            await call
    assert await count(node, "events") == 1
    cluster.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await node.write(note, "healed")
    assert await count(node, "events") == 2
    assert await breaks(node, AUDIT_KEY) == []


async def test_a_crash_of_the_server_loses_nothing_acknowledged_and_is_survived(
    node: Database, postgres_store: Store
) -> None:
    cluster = cluster_of(postgres_store)
    acknowledged: list[int] = []
    running = True

    async def load(worker: int) -> None:
        number = worker
        while running:
            outcome = (
                await race(node.write(tokens.revoke_jti, f"{number}", NOW, client_id="c", actor="a", now=NOW))
            )[0]
            assert isinstance(outcome, bool | StorageUnavailable), outcome
            if outcome is True:
                acknowledged.append(number)
            number += 8
            await asyncio.sleep(0)

    workers = [asyncio.ensure_future(load(worker)) for worker in range(8)]
    await until(lambda: len(acknowledged) > 100)
    await asyncio.to_thread(cluster.stop, "immediate")
    with pytest.raises(StorageUnavailable):
        await node.read(keys.get_fact, "x")
    before = len(acknowledged)
    await asyncio.to_thread(cluster.start)
    await until(lambda: len(acknowledged) > before + 100)
    running = False
    await asyncio.gather(*workers)
    there = {row["jti"] for row in await node.read(select, "SELECT jti FROM revoked_tokens")}
    assert {str(number) for number in acknowledged} <= there
    assert await breaks(node, AUDIT_KEY) == []


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


async def test_no_connection_is_left_after_closing_and_none_is_lost_by_failures(
    postgres_store: Store,
) -> None:
    database = await postgres_store.node(pool_size=3, patience=1.0)

    async def fail(tx: Transaction) -> None:
        await tx.run("INSERT INTO nowhere VALUES (1)")

    for _ in range(3):
        outcomes = await race(
            *(database.write(fail) for _ in range(10)), *(database.read(fail) for _ in range(10))
        )
        assert all(isinstance(outcome, asyncpg.UndefinedTableError) for outcome in outcomes)
    calls = [asyncio.ensure_future(database.read(select, "SELECT pg_sleep(5)")) for _ in range(3)]
    await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    await race(*calls)
    assert await race(*(database.write(note, f"{n}") for n in range(20))) == [None] * 20
    await postgres_store.close()
    await until(lambda: gone(postgres_store, "backend_type = 'client backend'"))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda address: re.sub(r":\d+/", f":{free_port()}/", address), id="nobody listens"),
        pytest.param(lambda address: re.sub(r":\d+/", ":70000/", address), id="the port cannot be"),
        pytest.param(lambda address: address.replace("/test_", "/missing_"), id="the database is missing"),
        pytest.param(
            lambda address: address.replace("watchword:", "watchword:x"), id="the password is wrong"
        ),
        pytest.param(lambda address: "postgresql://[", id="the address is malformed"),
        pytest.param(lambda address: address + "?sslmode=nonsense", id="an option is malformed"),
    ],
)
async def test_a_server_that_cannot_be_used_is_named_without_the_password(
    postgres_store: Store, spoil: Callable[[str], str]
) -> None:
    database = PostgresDatabase(spoil(postgres_store.address), AUDIT_KEY, timeout=2)
    with pytest.raises(StorageUnavailable, match="cannot use the PostgreSQL server: ") as refused:
        await database.open()
    assert cluster_of(postgres_store).password not in refused.value.reason
    with pytest.raises(StorageUnavailable):
        await database.read(keys.get_fact, "x")
    await database.close()


async def test_the_unix_socket_serves_as_well(postgres_store: Store) -> None:
    address = cluster_of(postgres_store).address(name_of(postgres_store), socket=True)
    store = Store("postgres", address)
    await (await store.node()).write(keys.set_fact, "a", "b")
    await store.close()
