"""The audit trail: every tampering without the key shows, and honest operation never does."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.fixtures.postgres import AUDIT_KEY, Store, race
from tests.fixtures.servers import Server
from tests.store.made import DAY, NOW, breaks, client, count, execute, note, select

from watchword import jobs
from watchword.store import clients
from watchword.store.audit import events
from watchword.store.audit.chain import LINK_EVERY, RENEW_AFTER, event_hash
from watchword.store.database import Database
from watchword.store.sqlite.database import SqliteDatabase

Nodes = tuple[Database, Database]


async def write_trail(nodes: Nodes, each: int = LINK_EVERY + 4) -> list[str]:
    """Write two linked chains and return their names, the one written first."""
    names: list[str] = []
    for number, node in enumerate(nodes):
        for n in range(each):
            await node.write(note, f"target {number} {n}", NOW + 2 * n + number)
        chains = {row["chain"] for row in await node.read(select, "SELECT DISTINCT chain FROM events")}
        names += sorted(chains - set(names))
    assert len(names) == 2
    return names


async def test_events_are_read_as_they_were_recorded_and_the_trail_is_sound(nodes: Nodes) -> None:
    await write_trail(nodes)
    report = await nodes[0].read(events.verify_trail, AUDIT_KEY)
    assert (report.events, report.chains, report.breaks) == (2 * (LINK_EVERY + 4), 2, [])
    newest = (await nodes[1].read(events.list_events, limit=1))[0]
    last = LINK_EVERY + 3
    assert (newest.name, newest.actor, newest.target) == ("test.noted", "test", f"target 1 {last}")
    assert (newest.at, newest.data) == (NOW + 2 * last + 1, {})


async def test_many_writers_at_once_leave_a_sound_trail(nodes: Nodes) -> None:
    await race(*(nodes[n % 2].write(note, f"target {n}") for n in range(200)))
    report = await nodes[0].read(events.verify_trail, AUDIT_KEY)
    assert (report.events, report.breaks) == (200, [])


async def edit(database: Database, chain: str) -> None:
    await database.write(execute, "UPDATE events SET actor = 'x' WHERE chain = $1 AND seq = 3", chain)


async def delete(database: Database, chain: str) -> None:
    await database.write(execute, "DELETE FROM events WHERE chain = $1 AND seq = 3", chain)


async def reorder(database: Database, chain: str) -> None:
    for before, after in ((3, 1000), (4, 3), (1000, 4)):
        await database.write(
            execute, "UPDATE events SET seq = $1 WHERE chain = $2 AND seq = $3", after, chain, before
        )


async def cut_off(database: Database, chain: str) -> None:
    await database.write(execute, "DELETE FROM events WHERE chain = $1 AND seq > 3", chain)


async def cut_beginning(database: Database, chain: str) -> None:
    await database.write(execute, "DELETE FROM events WHERE chain = $1 AND seq <= 3", chain)


async def remove_chain(database: Database, chain: str) -> None:
    await database.write(execute, "DELETE FROM events WHERE chain = $1", chain)


async def forge(database: Database, chain: str) -> None:
    """Append an event as somebody would who knows everything but the key."""
    last = (await database.read(select, "SELECT * FROM events WHERE chain = $1 ORDER BY seq DESC", chain))[0]
    fields = (chain, last["seq"] + 1, NOW, "token.created", "admin", "tok", "{}", "")
    await database.write(
        execute,
        "INSERT INTO events (chain, seq, at, name, actor, target, data, link, previous, hash) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        *fields,
        bytes(last["hash"]),
        event_hash(b"another key", bytes(last["hash"]), fields),
    )


async def pretend_purge(database: Database, chain: str) -> None:
    """Remove the beginning of a chain and say, without the key, that it was purged."""
    row = (await database.read(select, "SELECT * FROM events WHERE chain = $1 AND seq = 3", chain))[0]
    head = bytes(row["hash"])
    seal = event_hash(b"another key", head, ("purged", chain, 3, NOW)).hex()
    await database.write(
        execute,
        "INSERT INTO facts (name, value) VALUES ($1, $2)",
        f"purged {chain}",
        f"3:{head.hex()}:{NOW}:{seal}",
    )
    await cut_beginning(database, chain)


async def spoil_seal(database: Database, chain: str) -> None:
    await database.write(execute, "INSERT INTO facts VALUES ($1, 'nonsense')", f"purged {chain}")


async def spoil_link(database: Database, chain: str) -> None:
    await database.write(execute, "UPDATE events SET link = 'nonsense' WHERE link <> ''")


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        pytest.param(edit, "{0}:3: was changed after it was written", id="an edited event"),
        pytest.param(delete, "{0}:4: 1 event(s) before this one are missing", id="a deleted event"),
        pytest.param(reorder, "{0}:3: does not follow from the event before it", id="events reordered"),
        pytest.param(
            cut_off, "{0}:20: is missing, though {1}:1 saw it", id="a chain cut off, which another saw"
        ),
        pytest.param(
            cut_beginning, "{0}:4: 3 event(s) before this one are missing", id="a chain without beginning"
        ),
        pytest.param(remove_chain, "{0}:20: is missing, though {1}:1 saw it", id="a chain removed wholly"),
        pytest.param(forge, "{0}:21: was changed after it was written", id="an event forged without the key"),
        pytest.param(
            pretend_purge, "{0}: the record of its purged beginning was changed", id="a purge without the key"
        ),
        pytest.param(spoil_seal, "{0}: the record of its purged beginning was changed", id="a spoilt seal"),
        pytest.param(spoil_link, "{1}:1: its link was changed", id="a spoilt link"),
    ],
)
async def test_tampering_is_named(
    nodes: Nodes, tamper: Callable[[Database, str], Awaitable[None]], found: str
) -> None:
    chains = await write_trail(nodes)
    assert await breaks(nodes[1], AUDIT_KEY) == []
    await tamper(nodes[1], chains[0])
    assert found.format(*chains) in await breaks(nodes[1], AUDIT_KEY)


async def test_another_key_finds_every_event_forged(nodes: Nodes) -> None:
    await write_trail(nodes, 2)
    assert len(await breaks(nodes[0], b"another key")) == 4


async def purge(database: Database, before: int, limit: int = 500) -> int:
    return await database.write(events.purge_events, before, AUDIT_KEY, limit)


async def test_purging_step_by_step_keeps_the_trail_sound(nodes: Nodes) -> None:
    await write_trail(nodes)
    for before in (NOW + 1, NOW + 21, NOW + 33, NOW + 1000):
        while await purge(nodes[0], before, limit=7):
            assert await breaks(nodes[1], AUDIT_KEY) == []
        remaining = await nodes[0].read(events.list_events, limit=100)
        assert [event for event in remaining if event.at < before] == []
        assert await breaks(nodes[1], AUDIT_KEY) == []
    assert await count(nodes[0], "events") == 0
    for node in nodes:
        await node.write(note, "afterwards", NOW + 500)
    assert await breaks(nodes[1], AUDIT_KEY) == []


async def test_nodes_that_purge_and_verify_at_once_see_a_sound_trail(nodes: Nodes) -> None:
    await write_trail(nodes, 40)
    outcomes = await race(
        *(purge(nodes[n % 2], NOW + 8 * (n % 5), limit=3 + n % 4) for n in range(30)),
        *(breaks(nodes[n % 2], AUDIT_KEY) for n in range(10)),
    )
    assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert outcomes[30:] == [[]] * 10
    assert await breaks(nodes[0], AUDIT_KEY) == []


@pytest.mark.parametrize(
    ("store", "dated"),
    [("sqlite", "0"), ("sqlite", "'long ago'"), ("sqlite", "9e999"), pytest.param("postgres", "0", marks=pytest.mark.postgres)],
    indirect=["store"],
)  # fmt: skip
async def test_what_somebody_dates_back_is_not_forgotten_for_them(database: Database, dated: str) -> None:
    for n in range(4):
        await database.write(note, f"target {n}", NOW + n)
    assert await purge(database, NOW + 2) == 2, "what is old is forgotten"
    assert await breaks(database, AUDIT_KEY) == []
    await database.write(execute, f"UPDATE events SET at = {dated}")
    while await purge(database, NOW + 2):
        pass
    assert await count(database, "events") == 2
    assert len([one for one in await breaks(database, AUDIT_KEY) if "was changed" in one]) == 2


async def test_an_old_event_behind_a_younger_one_stays_until_both_are_old(database: Database) -> None:
    for at in (NOW, NOW + DAY // 2, NOW + 1):  # the clock was wrong for a moment
        await database.write(note, f"at {at}", at)
    assert [await purge(database, NOW + 10), await purge(database, NOW + 10)] == [1, 0]
    assert await purge(database, NOW + DAY) == 2
    assert await breaks(database, AUDIT_KEY) == []


async def test_a_young_event_at_the_head_of_one_chain_holds_no_other_chain_up(nodes: Nodes) -> None:
    await nodes[0].write(note, "young", NOW + DAY // 2)
    await nodes[0].write(note, "old behind it", NOW)
    await nodes[1].write(note, "old elsewhere", NOW + 1)
    assert [await purge(nodes[0], NOW + 10) for _ in range(2)] == [1, 0]
    assert [
        event.target for event in await nodes[0].read(events.list_events, limit=9, target="old elsewhere")
    ] == []


async def test_nothing_is_left_of_chains_that_ended_long_ago(store: Store) -> None:
    database = await store.node()
    facts = await count(database, "facts")
    for year in range(4):
        for _ in range(3):  # restarts
            await database.write(note, "something", NOW + year * 365 * DAY)
            await store.close()
            database = await store.node()
        while await purge(database, NOW + (year * 365 - 10) * DAY):
            pass
        assert await breaks(database, AUDIT_KEY) == []
    assert await count(database, "events") == 3
    assert await count(database, "facts") <= facts + 3 + 1  # and until when was purged
    await store.close()


async def test_a_chain_that_was_idle_for_long_is_not_continued(database: Database) -> None:
    for at in (NOW, NOW + RENEW_AFTER, NOW + 2 * RENEW_AFTER + 1):
        await database.write(note, "something", at)
    report = await database.read(events.verify_trail, AUDIT_KEY)
    assert (report.events, report.chains, report.breaks) == (3, 2, [])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({}, ["c", "b", "a"], id="newest first"),
        pytest.param({"target": "b"}, ["b"], id="by target"),
        pytest.param({"actors": ["test", "nobody"]}, ["c", "b", "a"], id="by actor"),
        pytest.param({"name": "test.other"}, [], id="by name"),
    ],
)
async def test_events_are_filtered(database: Database, asked: dict[str, Any], expected: list[str]) -> None:
    for n, target in enumerate("abc"):
        await database.write(note, target, NOW + n)
    found = await database.read(events.list_events, limit=10, **asked)
    assert [event.target for event in found] == expected


async def test_pages_show_every_event_once(nodes: Nodes) -> None:
    await race(*(nodes[n % 2].write(note, f"{n}", NOW + n % 3) for n in range(20)))
    seen: list[str] = []
    before: tuple[int, str, int] | None = None
    while page := await nodes[0].read(events.list_events, limit=6, before=before):
        seen += [event.target for event in page]
        chain, seq = page[-1].id.split(":")
        before = (page[-1].at, chain, int(seq))
    assert sorted(seen, key=int) == [str(n) for n in range(20)]


async def test_following_shows_every_event_once_and_none_of_before(nodes: Nodes) -> None:
    await nodes[0].write(note, "before")
    seen: dict[str, int] = {}
    await nodes[0].read(events.heads, seen)
    shown: list[str] = []
    for round in range(3):
        await race(*(nodes[n % 2].write(note, f"{round} {n}") for n in range(6)))
        while found := await nodes[0].read(events.list_events_after, seen, 4):
            shown += [event.target for event in found]
    assert sorted(shown) == sorted(f"{round} {n}" for round in range(3) for n in range(6))


# What SQLite keeps in a column whatever its kind, as SQL: text that is no UTF-8, bytes, other numbers, a foreign document.
NOT_READABLE = {
    "text that is no UTF-8": (
        "{column} = CAST(X'c328ff' AS TEXT)",
        ("name", "actor", "target", "data", "link"),
    ),
    "bytes": ("{column} = X'00ff'", ("chain", "seq", "at", "name", "actor", "target", "data", "link")),
    "its own bytes": (
        "{column} = CAST({column} AS BLOB)",
        ("chain", "name", "actor", "target", "data", "link"),
    ),
    "a text": ("{column} = 'x'", ("seq", "at", "previous", "hash")),
    "a fraction": ("{column} = {column} + 0.5", ("seq", "at")),
    "an endless moment": ("{column} = 9223372036854775807", ("at",)),
    "no JSON object": ("{column} = '[1'", ("data",)),
    "a name with a separator": ("{column} = 'a:b:c'", ("chain",)),
}
CASES = [(how, column) for how, (_, columns) in NOT_READABLE.items() for column in columns]


@pytest.mark.parametrize(("how", "column"), CASES)
async def test_a_row_that_cannot_be_read_stops_no_writer(server: Server, how: str, column: str) -> None:
    database = server.runtime.database
    await database.write(note, "elsewhere", NOW + 1000)
    for change in ("chain = 'another', seq = 1", NOT_READABLE[how][0].format(column=column)):
        await database.write(execute, f"UPDATE events SET {change} WHERE target = 'elsewhere'")
    for n in range(2 * LINK_EVERY):
        await database.write(note, f"target {n}", NOW + 1001 + n)
    told = await database.read(events.list_events, limit=100)
    assert {f"target {n}" for n in range(2 * LINK_EVERY)} <= {event.target for event in told}


@pytest.mark.parametrize(("how", "column"), CASES)
async def test_a_row_that_cannot_be_read_is_named_and_hides_no_other(
    server: Server, how: str, column: str
) -> None:
    database = server.runtime.database
    for n in range(4):
        await database.write(note, f"target {n}", NOW + n)
    key = server.runtime.root.derive("audit")
    assert await breaks(database, key) == []
    sql = f"UPDATE events SET {NOT_READABLE[how][0].format(column=column)} WHERE target = 'target 1'"
    await database.write(execute, sql)
    await database.write(execute, "UPDATE events SET actor = 'mallory' WHERE target = 'target 3'")
    found = await breaks(database, key)
    assert 2 <= len(found) <= 4, "and what follows a row without a place misses one before it"
    assert all(place.isascii() and ("was changed" in place or "are missing" in place) for place in found)
    admin = await server.token(scope="watchword:audit:read")
    headers = {"authorization": f"Bearer {admin.secret}"}
    pages: list[Any] = []
    cursor = ""
    while cursor is not None:
        asked = {"limit": 1, "cursor": cursor}
        answer = await server.http.get("/api/v1/events", params=asked, headers=headers)
        assert answer.status_code == 200, answer.text
        pages += answer.json()["events"]
        cursor = answer.json()["next"]
    assert {"target 0", "target 2", "target 3"} <= {event["target"] for event in pages}
    assert len(pages) < 20, "the pages come to an end"


@pytest.mark.parametrize(("how", "column"), [*CASES, ("an infinite moment", "at")])
async def test_a_row_that_cannot_be_read_keeps_no_other_from_being_purged(
    server: Server, how: str, column: str
) -> None:
    database, key = server.runtime.database, server.runtime.root.derive("audit")
    assert isinstance(database, SqliteDatabase)
    elsewhere = SqliteDatabase(database.path, key)
    await elsewhere.open()
    await elsewhere.write(note, "elsewhere", NOW + 5)
    await elsewhere.close()
    for n in range(4):
        await database.write(note, f"target {n}", NOW + n)
    change = {**NOT_READABLE, "an infinite moment": ("{column} = 9e999", ())}[how][0].format(column=column)
    await database.write(execute, f"UPDATE events SET {change} WHERE target = 'target 1'")
    assert await breaks(database, key) != []
    before = NOW + 10 * DAY
    while await database.write(events.purge_events, before, key, 3):
        pass
    left = await database.read(select, "SELECT CAST(hash AS BLOB) AS hash FROM events")
    assert len(left) <= 1, "the row itself, where nothing says to which chain it belongs or where"
    assert len(await database.read(events.list_unpurged, before)) <= len(left)
    await database.write(note, "afterwards", before)
    words = ("was changed", "cannot be read", "are missing" if left else "cannot be read")
    assert all(any(word in one for word in words) for one in await breaks(database, key))


async def test_events_that_cannot_be_purged_are_named_in_the_log_and_nothing_else_waits_for_them(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    database = server.runtime.database
    damaged = "UPDATE events SET chain = CAST(X'c328' AS TEXT) WHERE seq = 1"
    await database.write(execute, damaged)
    server.clock.advance(server.settings.audit_retention + 400 * DAY)
    await jobs.housekeeping(server.runtime)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [one["chain"] for one in told if one["event"] == "audit.not_purged"] == [r"b'\xc3('"]
    assert "key.rotated" in [one["event"] for one in told]


async def test_a_trail_that_was_emptied_is_betrayed_by_what_was_made(database: Database) -> None:
    await database.write(clients.create_client, client(), actor="test", now=NOW)
    honest = await database.read(events.verify_trail, AUDIT_KEY, NOW - 10 * DAY)
    assert honest.breaks == []
    await database.write(execute, "DELETE FROM events")
    found = (await database.read(events.verify_trail, AUDIT_KEY, NOW - 10 * DAY)).breaks
    assert [place.partition(": ")[2] for place in found] == [
        "this client was made, and the event that said so is missing"
    ]


async def test_what_was_made_before_the_retention_needs_no_event(database: Database) -> None:
    await database.write(clients.create_client, client(), actor="test", now=NOW)
    while await purge(database, NOW + 10 * DAY):
        pass
    assert await count(database, "events") == 0
    for kept_since in (NOW + 10 * DAY, NOW - 10 * DAY):  # the second: a retention that was made longer since
        assert (await database.read(events.verify_trail, AUDIT_KEY, kept_since)).breaks == []


@pytest.mark.parametrize("said", [f"{NOW + DAY}:{'0' * 64}", f"{'9' * 5000}:", "nonsense", ""])
async def test_who_has_no_key_cannot_say_that_the_trail_was_purged(database: Database, said: str) -> None:
    await database.write(clients.create_client, client(), actor="test", now=NOW)
    await database.write(execute, "DELETE FROM events")
    await database.write(execute, "INSERT INTO facts (name, value) VALUES ('events purged until', $1)", said)
    assert len((await database.read(events.verify_trail, AUDIT_KEY, NOW - 10 * DAY)).breaks) == 1
