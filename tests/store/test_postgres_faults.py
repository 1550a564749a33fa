"""PostgreSQL in trouble: honest refusals within bounded time, retries that are safe, and recovery by itself (F-03, F-08, F-11, F-21)."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import AUDIT_KEY, NUMBERS, Cluster, Store, race
from tests.fixtures.servers import free_port
from tests.store.backends import backends, cluster_of, gone, name_of, node, until, until_blocked
from tests.store.made import NOW, access_token, breaks, count, digest, note, select

from watchword.store import keys, tokens
from watchword.store.copying.opening import open_bulk
from watchword.store.database import Database, StorageUnavailable, Transaction
from watchword.store.postgres.database import PostgresDatabase
from watchword.store.postgres.errors import unavailable

__all__ = ["node"]

pytestmark = pytest.mark.postgres

WRITTEN = "SELECT pg_logical_emit_message(true, 'a test', 'written')"
WAITING = "wait_event = 'SyncRep'"
CANCELLED = f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {WAITING}"


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


@contextlib.asynccontextmanager
async def without_its_standby(store: Store) -> AsyncIterator[None]:
    """Have commits wait for a standby that there is not; a server that is told so needs a moment to do it."""
    cluster = cluster_of(store)
    probing: list[asyncio.Future[object]] = []
    cluster.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    cluster.sql("SELECT pg_reload_conf()")
    connection = await asyncpg.connect(store.address)

    async def is_waited_for() -> bool:
        if not probing or probing[-1].done():
            probing.append(asyncio.ensure_future(connection.execute(WRITTEN)))
        return bool(await backends(store, WAITING))

    try:
        await until(is_waited_for)
        cluster.sql(CANCELLED)
        await probing[-1]
        yield
    finally:
        cluster.sql("ALTER SYSTEM RESET synchronous_standby_names")
        cluster.sql("SELECT pg_reload_conf()")
        await connection.close()
    await until(lambda: cluster.sql("SHOW synchronous_standby_names").strip() == "")


async def test_a_commit_that_no_standby_confirms_is_unknown(node: Database, postgres_store: Store) -> None:
    async with without_its_standby(postgres_store):
        for call in (
            node.write(keys.set_fact, "fact", "value"),
            node.write(note, "event"),
            node.write(tokens.use_identifier, digest("p"), NOW),
            tokens.insert_access_token(node, digest("t"), access_token()),
        ):
            with pytest.raises(StorageUnavailable) as refused:
                await call
            assert refused.value.unknown
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
    node = await postgres_store.node(timeout=60)
    assert (await _with_its_wait_cancelled(postgres_store, lambda: call(node))).unknown


async def test_what_commits_beside_a_server_does_not_take_such_a_commit_for_one_that_lasts(
    postgres_store: Store,
) -> None:
    """An exchange of the master key would leave the file with a key that a promoted standby does not know."""
    await postgres_store.node()
    cluster, name = cluster_of(postgres_store), name_of(postgres_store)
    cluster.sql(
        f"ALTER DATABASE {name} SET client_min_messages = error"
    )  # such a commit is told by a warning
    bulk = await open_bulk(postgres_store.address, AUDIT_KEY)
    await bulk.begin()
    await note(bulk, "beside")
    assert (await _with_its_wait_cancelled(postgres_store, bulk.commit)).unknown
    await bulk.close()
    cluster.sql(f"ALTER DATABASE {name} RESET client_min_messages")


async def test_a_commit_that_the_server_calls_ambiguous_is_unknown(
    node: Database, postgres_store: Store
) -> None:
    """SQLSTATE 40003, by which distributed databases report a commit that may have happened."""
    cluster, name = cluster_of(postgres_store), name_of(postgres_store)
    cluster.sql(
        "CREATE FUNCTION ambiguous() RETURNS trigger AS $$ BEGIN "
        "RAISE EXCEPTION 'result is ambiguous' USING ERRCODE = '40003'; END $$ LANGUAGE plpgsql; "
        "CREATE CONSTRAINT TRIGGER ambiguous AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION ambiguous()",
        name,
    )
    with pytest.raises(StorageUnavailable, match="ambiguous") as refused:
        await node.write(note, "event")
    assert refused.value.unknown
    cluster.sql("DROP TRIGGER ambiguous ON events", name)
    await node.write(note, "after")
    assert (await count(node, "events"), await breaks(node, AUDIT_KEY)) == (1, [])


async def _with_its_wait_cancelled(store: Store, call: Callable[[], Awaitable[object]]) -> StorageUnavailable:
    """Return what is said of a commit whose wait for a standby somebody cancels."""
    async with without_its_standby(store):
        waiting = asyncio.ensure_future(call())
        await until(lambda: backends(store, WAITING))
        cluster_of(store).sql(CANCELLED)
        with pytest.raises(StorageUnavailable, match="canceling wait for synchronous replication") as refused:
            await waiting
    return refused.value


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


async def test_a_right_that_was_taken_away_is_the_servers_fault_until_it_is_back(
    postgres_cluster: Cluster,
) -> None:
    name = f"rights_{next(NUMBERS)}"
    postgres_cluster.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    postgres_cluster.sql(f"CREATE DATABASE {name} OWNER {name}")
    database = PostgresDatabase(f"postgresql://{name}:x@127.0.0.1:{postgres_cluster.port}/{name}", AUDIT_KEY)
    await database.open()
    for number, (taken, given) in enumerate(
        (
            (f"REVOKE INSERT ON events FROM {name}", f"GRANT INSERT ON events TO {name}"),
            # The tables of a schema that one may not use are not there: "does not exist".
            ("ALTER SCHEMA public RENAME TO aside", "ALTER SCHEMA aside RENAME TO public"),
        )
    ):
        await database.write(note, f"before {number}")
        await database.write(keys.touch, f"before {number}")
        postgres_cluster.sql(taken, name)
        with pytest.raises(StorageUnavailable):
            await database.write(note, "refused")
        with pytest.raises(StorageUnavailable):
            await database.write(keys.touch, "refused: what asks whether changes can be committed is told")
        postgres_cluster.sql(given, name)
    await database.write(note, "healed")
    assert await count(database, "events") == 3
    await database.close()
    postgres_cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")
    postgres_cluster.sql(f"DROP ROLE {name}")


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


async def test_no_connection_is_left_after_closing_and_none_is_lost_by_failures(
    postgres_store: Store,
) -> None:
    database = await postgres_store.node(pool_size=3, patience=1.0)

    async def fail(tx: Transaction) -> None:
        await tx.run("INSERT INTO events (nothing) VALUES (1)")

    for _ in range(3):
        outcomes = await race(
            *(database.write(fail) for _ in range(10)), *(database.read(fail) for _ in range(10))
        )
        assert all(isinstance(outcome, asyncpg.UndefinedColumnError) for outcome in outcomes)
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


def test_what_the_driver_says_of_itself_is_told_as_what_happened() -> None:
    broken = asyncpg.InternalClientError('cannot switch to state 15; protocol is in the "failed" state')
    assert unavailable(broken).reason.startswith("the connection to the database server was lost (cannot")
    assert unavailable(asyncpg.PostgresError("disk full")).reason == "disk full"
