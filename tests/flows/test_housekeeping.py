"""Housekeeping forgets what has served, and not a second before it may."""

import sqlite3
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec import structs
from tests.fixtures.accounts import make
from tests.fixtures.servers import Server, open_server
from tests.store.made import DAY, digest, select

from watchword import jobs
from watchword.flows import sessions
from watchword.store import browsers, faults, limits, tokens
from watchword.store.database import StorageUnavailable, Transaction
from watchword.testing.clock import Clock


async def make_rows(server: Server) -> dict[str, tuple[str, object, int]]:
    """Make a row of each kind; return its key and the last second in which it is kept, by table."""
    now, write = int(server.clock()), server.runtime.database.write
    await write(tokens.use_identifier, digest("proof"), now + 10)
    await write(limits.take, "address", capacity=5, per_second=1, now=float(now))
    ada = await make(server)
    await write(browsers.note_browser, ada.id, digest("browser"), now)
    token = (await server.token(owner=ada.id, expires_in=3600)).token
    old = await server.runtime.keyring.signing_key("ES256")
    await server.runtime.keyring.rotate("ES256", actor="test")

    async def retires(tx: Transaction) -> int:
        row = await tx.one("SELECT retires_at FROM signing_keys WHERE kid = $1", old.kid)
        assert row is not None
        return int(row["retires_at"])

    session, _ = await sessions.begin(
        server.runtime, ada.id, acr="x", amr=("pwd",), user_agent="", address=""
    )

    return {
        "sessions": ("id", session.id, session.expires_at + 60 + DAY),
        "used_identifiers": ("digest", digest("proof"), now + 10 + 60),
        "buckets": ("name", "address", now + DAY),
        "api_tokens": ("id", token.id, now + 3600 + 90 * DAY),
        "signing_keys": ("kid", old.kid, await server.runtime.database.read(retires) + 90 * DAY),
        "browsers": ("user_id", ada.id, now + 400 * DAY),
    }


@pytest.mark.parametrize(
    "table", ["sessions", "used_identifiers", "buckets", "api_tokens", "signing_keys", "browsers"]
)
async def test_a_row_is_kept_to_its_last_second_and_then_forgotten(tmp_path: Path, table: str) -> None:
    async with open_server(tmp_path, mode="development", audit_retention=3650 * DAY) as server:
        column, value, last = (await make_rows(server))[table]

        async def is_kept(tx: Transaction) -> bool:
            return await tx.one(f"SELECT 1 AS found FROM {table} WHERE {column} = $1", value) is not None

        for moment, kept in ((last, True), (last + 1, False)):
            server.clock.advance(moment - int(server.clock()))
            await jobs.housekeeping(server.runtime)
            assert await server.runtime.database.read(is_kept) is kept


@pytest.mark.parametrize(
    ("took", "rest"),
    [
        pytest.param(
            0.002, 0.002, id="a step that was quick is followed soon: tables shrink faster than they grow"
        ),
        pytest.param(0.3, 0.05, id="a step of a busy database is followed after a while, and not ever later"),
    ],
)
async def test_a_purge_leaves_others_their_turn(
    took: float, rest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, left, rests = Clock(), [500, 500, 3], list[float]()

    async def step() -> int:
        clock.advance(took)
        return left.pop(0)

    async def sleep(seconds: float) -> None:
        rests.append(round(seconds, 6))
        clock.advance(seconds)

    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(jobs, "asyncio", SimpleNamespace(sleep=sleep))
    await jobs.in_steps(step, 500)
    assert (left, rests) == ([], [rest, rest])


async def test_keys_rotate_before_a_purge_that_may_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_server(tmp_path) as server:
        before, expired = await server.runtime.keyring.states(), int(server.clock()) + 10

        async def fill(tx: Transaction) -> None:
            for n in range(limits.STEP + 1):
                await tokens.use_identifier(tx, digest(str(n)), expired)

        await server.runtime.database.write(fill)
        server.clock.advance(server.settings.signing_key_lifetime + DAY)
        seen = []

        async def sleep(_: float) -> None:
            seen.append(await server.runtime.keyring.states())

        monkeypatch.setattr(jobs, "asyncio", SimpleNamespace(sleep=sleep))
        await jobs.housekeeping(server.runtime)
        assert seen
        assert {key.kid for key, _ in seen[0]} > {key.kid for key, _ in before}


async def test_a_step_that_fails_is_reported_and_stops_no_other(tmp_path: Path) -> None:
    async def announced(tx: Transaction) -> bool:
        return await tx.one("SELECT 1 AS found FROM events WHERE name = 'token.expiring'") is not None

    async def broken(tx: Transaction) -> None:
        await tx.run("DROP TABLE buckets")

    async with open_server(tmp_path) as server:
        await server.token(expires_in=10 * DAY)
        await jobs.housekeeping(server.runtime)
        assert not await server.runtime.database.read(announced)
        server.clock.advance(4 * DAY)
        await server.runtime.database.write(broken)
        with pytest.raises(Exception, match="buckets"):
            await jobs.housekeeping(server.runtime)
        assert await server.runtime.database.read(announced)


async def test_an_outage_during_housekeeping_is_told_from_a_defect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def break_purge(tx: Transaction) -> None:
        await tokens.use_identifier(tx, digest("proof"), 10)
        await tx.run("CREATE TABLE kept (digest BLOB REFERENCES used_identifiers)")
        await tx.run("INSERT INTO kept SELECT digest FROM used_identifiers")

    async with open_server(tmp_path) as server:
        session, _ = await sessions.begin(
            server.runtime, (await make(server)).id, acr="x", amr=("pwd",), user_agent="", address=""
        )
        server.clock.advance(session.expires_at - int(server.clock()) + 1)
        try:
            faults.arm("audit.begun=error,commit.begun/purge=error")
            with pytest.raises(StorageUnavailable):
                await jobs.housekeeping(server.runtime)
            assert "job.failed" not in capsys.readouterr().err, "two steps, for two reasons"
            faults.arm(None)
            await server.runtime.database.write(break_purge)
            faults.arm("audit.begun=error")
            with pytest.raises(sqlite3.IntegrityError, match="FOREIGN KEY"):
                await jobs.housekeeping(server.runtime)
        finally:
            faults.arm(None)


async def test_an_outage_is_waited_for_by_one_step_and_not_by_each(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        taken: list[int] = []

        async def purge(number: int) -> None:
            taken.append(number)
            await server.runtime.database.write(limits.purge_buckets, 0)

        steps = [partial(purge, number) for number in range(3)]
        await jobs.take_each(server.runtime, steps)
        assert taken == [0, 1, 2]
        await server.runtime.database.close()
        with pytest.raises(StorageUnavailable):
            await jobs.take_each(server.runtime, steps)
        assert taken == [0, 1, 2, 0]


async def test_a_table_that_cannot_be_purged_keeps_no_other_from_it(tmp_path: Path) -> None:
    async def broken(tx: Transaction) -> None:
        await tx.run("DROP TABLE revoked_tokens")

    async with open_server(tmp_path, mode="development", audit_retention=3650 * DAY) as server:
        kept = await make_rows(server)
        await server.runtime.database.write(broken)
        server.clock.advance(401 * DAY)
        with pytest.raises(Exception, match="revoked_tokens"):
            await jobs.housekeeping(server.runtime)
        for table, (column, value, _) in kept.items():
            found = f"SELECT 1 AS found FROM {table} WHERE {column} = $1"
            assert await server.runtime.database.read(select, found, value) == [], table


async def test_more_than_one_step_deletes_is_forgotten_at_once(tmp_path: Path) -> None:
    async def use(tx: Transaction) -> None:
        for number in range(limits.STEP + 1):
            await tokens.use_identifier(tx, digest(f"proof {number}"), 10)

    async def left(tx: Transaction) -> int:
        row = await tx.one("SELECT COUNT(*) AS rows FROM used_identifiers")
        return int(row["rows"]) if row else 0

    async with open_server(tmp_path) as server:
        await server.runtime.database.write(use)
        assert await server.runtime.database.read(left) > limits.STEP
        await jobs.housekeeping(server.runtime)
        assert await server.runtime.database.read(left) == 0


@pytest.mark.parametrize("shared", [True, False])
async def test_a_process_that_leaves_the_shared_jobs_to_others_does_its_own(
    tmp_path: Path, shared: bool
) -> None:
    async with open_server(tmp_path, jobs=False) as server:
        server.runtime.settings = structs.replace(server.settings, jobs=shared)
        started = jobs.start(server.runtime)
        names = {task.get_name() for task in started}
        for task in started:
            task.cancel()
    own = {"flush_usage", "trust_certificates"}
    assert names == (own | {"deliver_mail", "deliver_logouts", "housekeeping"} if shared else own)
