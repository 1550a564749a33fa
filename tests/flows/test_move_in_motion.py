"""Moving a database while its rows change, while another operator moves it as well (F-19), and restoring it when it has moved."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fixtures.accounts import make
from tests.fixtures.postgres import fresh_postgres, impatience
from tests.fixtures.servers import ISSUER, Server, open_server

from watchword.flows.databases import backup, move
from watchword.flows.databases.move import Moved, Progress
from watchword.flows.secrets.master_key import existing_master_keys
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings
from watchword.store import factors, schema
from watchword.store.copying import capture
from watchword.store.copying.opening import open_bulk
from watchword.store.database import StorageUnavailable, Transaction
from watchword.store.sqlite.database import SqliteDatabase

STEP = 50_000_000


class Killed(Exception):
    """The other operator's move has begun, and is called again later."""


async def use_code(server: Server, user_id: str, step: int) -> None:
    """Use a code of an authenticator application up, which changes one row and adds none."""
    assert await server.runtime.database.write(factors.use_totp_step, user_id, step, server.runtime.now())


async def is_used(path: Path, user_id: str, step: int) -> bool:
    database = SqliteDatabase(str(path), b"any", durable=False)
    await database.open()
    try:
        return not await database.write(factors.use_totp_step, user_id, step, 1)
    finally:
        await database.close()


async def test_a_move_gives_up_when_another_has_begun_and_that_one_carries_everything(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        user = await make(server)
        enrolled = {"step": 0, "actor": "test", "now": server.runtime.now()}
        await server.runtime.database.write(factors.add_totp, user.id, b"a sealed key", **enrolled)
        source = server.settings.database
        masters = existing_master_keys(Settings(issuer=ISSUER, database=source))
        compared: list[str] = []
        every = len(capture.captured(schema.tables(schema.newest())))

        def begin(progress: Progress) -> None:
            raise Killed

        def to(name: str, report=lambda _: None) -> Moved:
            return asyncio.run(move.move(source, f"sqlite:///{tmp_path}/{name}.db", masters, report=report))

        async def meanwhile() -> None:
            await use_code(server, user.id, STEP)
            with pytest.raises(Killed):
                await asyncio.to_thread(to, "second", begin)
            await use_code(server, user.id, STEP + 1)

        loop = asyncio.get_running_loop()

        def report(progress: Progress) -> None:
            compared.extend([progress.table] * (progress.phase == "comparing"))
            if progress.phase == "comparing" and len(compared) == every:
                asyncio.run_coroutine_threadsafe(meanwhile(), loop).result(60)

        with pytest.raises(OAuthError, match="conflict") as refused:
            await asyncio.to_thread(to, "first", report)
        assert "Another move" in refused.value.description
        await asyncio.to_thread(to, "second")
        assert await is_used(tmp_path / "second.db", user.id, STEP + 1)
        assert not await is_used(tmp_path / "second.db", user.id, STEP + 2), "the honest rule"


async def test_what_changes_before_what_it_refers_to_is_copied_stops_no_move(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        user = await make(server)
        enrolled = {"step": 0, "actor": "test", "now": server.runtime.now()}
        await server.runtime.database.write(factors.add_totp, user.id, b"a sealed key", **enrolled)
        source, loop, steps = server.settings.database, asyncio.get_running_loop(), [STEP]
        masters = existing_master_keys(Settings(issuer=ISSUER, database=source))

        def report(progress: Progress) -> None:
            if progress.phase == "copying":
                steps.append(steps[-1] + 1)
                asyncio.run_coroutine_threadsafe(use_code(server, user.id, steps[-1]), loop).result(60)

        def work() -> Moved:
            return asyncio.run(move.move(source, f"sqlite:///{tmp_path}/moved.db", masters, report=report))

        await asyncio.to_thread(work)
        assert len(steps) > 10
        assert await is_used(tmp_path / "moved.db", user.id, steps[-1])


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where a database of either kind is to be."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/target.db"
        return
    async with fresh_postgres(request.getfixturevalue("postgres_cluster"), has_tables=False) as made:
        yield made.address


async def test_people_who_swap_names_stop_no_move(tmp_path: Path, target: str) -> None:
    swapped: list[bool] = []

    async def swap(tx: Transaction) -> None:
        renamed = "UPDATE users SET username = $1, canonical_username = $1, skeleton = $1 WHERE id = $2"
        for user_id, name in ((users[0], "between"), (users[1], "ada"), (users[0], "eve")):
            await tx.run(renamed, name, user_id)

    async with open_server(tmp_path) as server:
        users = [(await make(server, name, f"{name}@example.com")).id for name in ("ada", "eve")]
        source, loop = server.settings.database, asyncio.get_running_loop()
        masters = existing_master_keys(Settings(issuer=ISSUER, database=source))

        def report(progress: Progress) -> None:
            if progress.phase == "comparing" and not swapped:
                asyncio.run_coroutine_threadsafe(server.runtime.database.write(swap), loop).result(60)
                swapped.append(True)

        await asyncio.to_thread(lambda: asyncio.run(move.move(source, target, masters, report=report)))
    moved = await open_bulk(target)
    found = await moved.all("SELECT id, username, canonical_username, skeleton, canonical_email FROM users")
    await moved.close()
    assert {row["id"]: row["username"] for row in found} == {users[0]: "eve", users[1]: "ada"}
    assert all(row["canonical_username"] == row["skeleton"] == row["username"] for row in found)
    assert {row["canonical_email"] for row in found} == {"ada@example.com", "eve@example.com"}


async def test_a_move_that_goes_on_elsewhere_is_not_gone_on_with(tmp_path: Path, target: str) -> None:
    """What a stopped process had read must not come over what another one has moved meanwhile, and a server changed since."""
    async with open_server(tmp_path) as server:
        source, refusals = server.settings.database, []
        masters = existing_master_keys(Settings(issuer=ISSUER, database=source))

        def to_target(report: Callable[[Progress], None]) -> Moved:
            return asyncio.run(move.move(source, target, masters, report=report))

        def again(progress: Progress) -> None:
            if (progress.phase, progress.table) == ("copying", "clients"):
                refusal = pytest.raises(StorageUnavailable)
                with impatience(), ThreadPoolExecutor() as another, refusal as refused:
                    another.submit(to_target, lambda _: None).result(60)
                refusals.append(refused.value.reason)

        await asyncio.to_thread(to_target, again)
        assert len(refusals) == 1
        assert "open elsewhere" in refusals[0] or "let another restore or move finish" in refusals[0]


async def test_a_restore_into_a_database_that_is_being_moved_ends_the_move(tmp_path: Path) -> None:
    """The triggers that note changes go with the tables: a move that went on would lose what changed after it had compared."""
    kept, target = tmp_path / "backup.gz", f"sqlite:///{tmp_path}/target.db"
    loop = asyncio.get_running_loop()

    def stop(progress: Progress) -> None:
        raise Killed

    async with open_server(tmp_path) as server:
        settings, user, now = server.settings, await make(server), server.runtime.now()
        enrolled = {"step": 0, "actor": "test", "now": now}
        await server.runtime.database.write(factors.add_totp, user.id, b"a sealed key", **enrolled)
        masters = existing_master_keys(settings)
        await backup.write_backup(settings, kept, now)
        with pytest.raises(Killed):
            await move.move(settings.database, target, masters, report=stop)
    await backup.restore_backup(settings, kept, now, replace=True, exact=True)
    async with open_server(tmp_path) as server:

        def use(progress: Progress) -> None:
            if progress.phase == "switching":
                asyncio.run_coroutine_threadsafe(use_code(server, user.id, STEP), loop).result(10)

        def go_on(*, replace: bool) -> Moved:
            return asyncio.run(move.move(settings.database, target, masters, report=use, replace=replace))

        with pytest.raises(OAuthError, match="conflict"):
            await asyncio.to_thread(go_on, replace=False)
        await asyncio.to_thread(go_on, replace=True)
    assert await is_used(tmp_path / "target.db", user.id, STEP)


async def test_a_database_that_was_moved_away_takes_no_backup_and_only_what_is_moved_back(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path) as server:
        settings, token = server.settings, await server.token()
        await backup.write_backup(settings, tmp_path / "backup.gz", 0)
    masters, elsewhere = existing_master_keys(settings), f"sqlite:///{tmp_path}/elsewhere.db"
    await move.move(f"sqlite:///{settings.database}", elsewhere, masters)
    with pytest.raises(StorageUnavailable, match="use the one that it was moved to"):
        await backup.restore_backup(settings, tmp_path / "backup.gz", 0, replace=True)
    await move.move(elsewhere, f"sqlite:///{settings.database}", masters, replace=True)
    async with open_server(tmp_path) as server:
        answer = await server.http.get(
            "/api/v1/tokens/self", headers={"authorization": f"Bearer {token.secret}"}
        )
        assert answer.status_code == 200
