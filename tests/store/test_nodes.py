"""Several nodes on one database: what one changes the others learn, and one operation never harms another (ST)."""

import asyncio
import threading
import time
from pathlib import Path

import pytest
from tests.fixtures.postgres import AUDIT_KEY, Store, race
from tests.store.made import NOW, breaks, count, digest, execute, note, select

from watchword.http_server.exchange import run_hot
from watchword.oauth.errors import OAuthError
from watchword.store import clients, keys, tokens
from watchword.store.database import AuditEntry, Change, Database, Transaction
from watchword.store.sqlite.database import SqliteDatabase

Nodes = tuple[Database, Database]
PATIENCE = 1.0  # seconds by which a node may be late at most
# Takes effect once for each name.
TOUCH = Change("touch", "UPDATE facts SET value = $2 WHERE name = $1 AND value = 'fresh' RETURNING name")


async def moved(database: Database, before: int) -> float:
    """Wait until a node's version differs and return after how many seconds it did."""
    begun = time.monotonic()
    while database.version() == before:
        assert time.monotonic() - begun < PATIENCE, "the node did not notice in time"
        await asyncio.sleep(0.001)
    return time.monotonic() - begun


@pytest.mark.parametrize("sql", ["WITH one AS (SELECT 1) UPDATE facts SET value = $1", "DELETE FROM facts"])
def test_a_change_is_a_statement_whose_rows_both_databases_count(sql: str) -> None:
    with pytest.raises(ValueError, match="begins with INSERT or UPDATE"):
        Change("lost", sql)


async def test_what_one_node_has_written_the_other_reads_at_once(nodes: Nodes) -> None:
    for n in range(20):
        await nodes[n % 2].write(keys.set_fact, "turn", str(n))
        assert await nodes[1 - n % 2].read(keys.get_fact, "turn") == str(n)


async def test_the_version_moves_on_the_node_itself_before_the_write_returns(database: Database) -> None:
    for n in range(10):
        before = database.version()
        await database.write(keys.set_fact, "turn", str(n))
        assert database.version() != before


async def test_the_version_moves_on_the_other_node(nodes: Nodes) -> None:
    for n in range(5):
        before = nodes[1].version()
        await nodes[0].write(keys.set_fact, "turn", str(n))
        await moved(nodes[1], before)


async def test_the_version_never_goes_back(nodes: Nodes) -> None:
    seen = []
    for n in range(20):
        await nodes[n % 2].write(keys.set_fact, "turn", str(n))
        seen.append(nodes[0].version())
    assert seen == sorted(seen)


class Refused(Exception):
    """What an operation raises of its own accord."""


async def fail_late(tx: Transaction, name: str) -> None:
    await keys.set_fact(tx, name, "half done")
    await note(tx, name)
    raise Refused


async def set_and_note(tx: Transaction, name: str) -> None:
    await keys.set_fact(tx, name, "done")
    await note(tx, name)


async def test_an_operation_that_fails_leaves_no_trace_and_harms_no_other(nodes: Nodes) -> None:
    outcomes = await race(
        *(nodes[n % 2].write(fail_late if n % 3 == 0 else set_and_note, f"fact {n}") for n in range(60))
    )
    for n, outcome in enumerate(outcomes):
        assert isinstance(outcome, Refused) if n % 3 == 0 else outcome is None
        found = await nodes[0].read(keys.get_fact, f"fact {n}")
        assert found == (None if n % 3 == 0 else "done")
    assert await count(nodes[0], "events") == 40
    assert await breaks(nodes[1], AUDIT_KEY) == []


async def test_a_statement_that_fails_undoes_its_whole_operation(database: Database) -> None:
    async def insert_twice(tx: Transaction) -> None:
        for _ in range(2):
            await tx.run("INSERT INTO facts (name, value) VALUES ('twice', '')")

    outcomes = await race(
        database.write(set_and_note, "before"),
        database.write(insert_twice),
        database.write(set_and_note, "after"),
    )
    assert [outcome is None for outcome in outcomes] == [True, False, True]
    assert await database.read(keys.get_fact, "twice") is None
    assert await breaks(database, AUDIT_KEY) == []


async def test_a_caller_that_goes_away_leaves_its_operation_done_or_not_done(database: Database) -> None:
    calls = [asyncio.ensure_future(database.write(set_and_note, f"fact {n}")) for n in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await database.write(set_and_note, "last")
    # One statement, as one moment: what was given up may still be committed by PostgreSQL between two.
    seen = "SELECT name, (SELECT COUNT(*) FROM events) AS events FROM facts WHERE value = 'done'"
    done = await database.read(select, seen)
    assert {f"fact {n}" for n in range(1, 20, 2)} < {row["name"] for row in done}
    assert {row["events"] for row in done} == {len(done)}
    assert await breaks(database, AUDIT_KEY) == []


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a\0b", id="a NUL in a text"),
        pytest.param("a\ud800b", id="half a surrogate pair"),
        pytest.param(2**63, id="an integer beyond 64 bits"),
        pytest.param(-(2**63) - 1, id="an integer beyond 64 bits below"),
    ],
)
async def test_what_cannot_be_stored_is_refused_and_not_an_error_of_the_server(
    database: Database, value: object
) -> None:
    entry = AuditEntry("n", "a", "t", NOW)
    for call in (
        lambda: database.read(clients.find_client, value),  # type: ignore[arg-type]  # as it came from outside
        lambda: database.write(execute, "UPDATE facts SET value = CAST($1 AS TEXT)", value),
        lambda: database.append("INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2)", value, value),
        lambda: database.change(TOUCH, ("alive", value), entry),
    ):
        with pytest.raises(OAuthError) as refused:
            await call()
        assert refused.value.code == "invalid_request"
    await database.write(keys.set_fact, "alive", "ä€😀")
    assert await database.read(keys.get_fact, "alive") == "ä€😀"


async def test_of_many_who_make_one_change_one_does_and_is_recorded(nodes: Nodes) -> None:
    for n in range(20):
        await nodes[0].write(keys.set_fact, f"fact {n}", "fresh")
    before = await count(nodes[0], "events")
    outcomes = await race(
        *(
            nodes[m % 2].change(
                TOUCH, (f"fact {n}", f"touched by {m}"), AuditEntry("touched", "a", f"fact {n}", NOW)
            )
            for n in range(20)
            for m in range(6)
        )
    )
    for n in range(20):
        made = outcomes[6 * n : 6 * n + 6]
        assert sorted(made) == [False] * 5 + [True]
        assert await nodes[0].read(keys.get_fact, f"fact {n}") == f"touched by {made.index(True)}"
    assert await count(nodes[0], "events") == before + 20
    assert await breaks(nodes[1], AUDIT_KEY) == []


async def test_a_change_that_cannot_be_made_harms_no_other(database: Database) -> None:
    broken = Change("broken", "UPDATE facts SET value = NULL WHERE name = $1 RETURNING name")
    for name in ("one", "two"):
        await database.write(keys.set_fact, name, "fresh")
    outcomes = await race(
        database.change(TOUCH, ("one", "touched"), AuditEntry("touched", "a", "one", NOW)),
        database.change(broken, ("one",), AuditEntry("touched", "a", "one", NOW)),
        database.change(broken, ("nothing",), AuditEntry("touched", "a", "nothing", NOW)),
        database.change(TOUCH, ("two", "touched"), AuditEntry("touched", "a", "two", NOW)),
    )
    assert (outcomes[0], isinstance(outcomes[1], Exception), outcomes[2:]) == (True, True, [False, True])
    assert await count(database, "events") == 2
    assert await breaks(database, AUDIT_KEY) == []


async def test_whoever_waited_for_a_change_reads_it(database: Database) -> None:
    for n in range(20):
        name = f"fact {n}"
        await database.write(keys.set_fact, name, "fresh")
        assert await database.read(keys.get_fact, name) == "fresh"
        assert await database.change(TOUCH, (name, "touched"), AuditEntry("touched", "a", name, NOW))
        assert await database.read(keys.get_fact, name) == "touched"


async def test_what_another_thread_has_written_is_read_within_the_same_turn(tmp_path: Path) -> None:
    database = SqliteDatabase(str(tmp_path / "shared.db"), AUDIT_KEY, durable=False)
    await database.open()
    for n in range(20):
        await database.read(keys.get_fact, "turn")  # this turn has looked
        before = database.version()
        thread = threading.Thread(target=asyncio.run, args=(database.write(keys.set_fact, "turn", str(n)),))
        thread.start()
        thread.join()
        assert await database.read(keys.get_fact, "turn") == str(n)
        assert database.version() != before
    await database.close()


async def test_a_handler_that_runs_outside_of_any_task_is_served(database: Database) -> None:
    """The protocol drives the hot endpoints itself, without a task."""
    loop, outcomes = asyncio.get_running_loop(), []

    async def handle(n: int) -> None:
        outcomes.append(await database.write(tokens.use_identifier, digest(f"{n}"), NOW))
        await database.append("INSERT INTO revoked_tokens (jti, expires_at) VALUES ($1, $2)", f"{n}", NOW)
        outcomes.append(await database.read(tokens.is_jti_revoked, f"{n}"))
        await database.write(set_and_note, f"{n}")

    running: set[asyncio.Task[None]] = set()
    for n in range(20):
        loop.call_soon(run_hot, handle(n), loop, running)
    while len(outcomes) < 40 or running:
        await asyncio.sleep(0.001)
    assert outcomes == [True] * 40
    assert await count(database, "events") == 20


async def test_closing_finishes_what_was_accepted(store: Store) -> None:
    database = await store.node()
    calls = [asyncio.ensure_future(database.write(set_and_note, f"fact {n}")) for n in range(30)]
    rows = [
        asyncio.ensure_future(database.write(tokens.use_identifier, digest(f"{n}"), NOW)) for n in range(30)
    ]
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*calls) == [None] * 30
    assert await asyncio.gather(*rows) == [True] * 30
    again = await store.node()
    assert await count(again, "events") == 30
    assert await count(again, "used_identifiers") == 30
    await store.close()
