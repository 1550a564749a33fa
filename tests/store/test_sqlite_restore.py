"""A restore has the SQLite file alone: no server has it open meanwhile, and of two restores one takes place (F-18)."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.fixtures.commands import environment, run_cli
from tests.fixtures.postgres import impatience
from tests.fixtures.servers import ISSUER, Server, open_server

from watchword.flows.databases import backup, start
from watchword.settings import Settings
from watchword.store.database import StorageUnavailable

OPENED = """
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1])
held.execute("SELECT * FROM facts").fetchall()
print("ready", flush=True)
time.sleep(600)
"""
# Everything is in the file, more than SQLite keeps in memory, and nothing is committed.
FILLED = """
import asyncio, sys, time
from pathlib import Path
from watchword.flows.databases import backup
from watchword.settings import Settings
from watchword.store.copying import restoring

async def wait(bulk, *_, **__):
    await bulk.run("CREATE TABLE filler (x BLOB)")
    await bulk.many("INSERT INTO filler VALUES ($1)", [(b"x" * 100_000,)] * 100)
    print("ready", flush=True)
    time.sleep(600)

restoring.end_the_uncertain = wait
asyncio.run(backup.restore_backup(Settings(issuer="http://localhost", database=sys.argv[1]), Path(sys.argv[2]), 1))
"""
# Two restores into the same new file at the same moment, again and again.
RACING = """
import asyncio, json, multiprocessing, shutil, sys
from pathlib import Path
from watchword.flows.databases import backup
from watchword.settings import Settings

def one(file, start, outcomes):
    start.wait()
    try:
        asyncio.run(backup.restore_backup(Settings(issuer="http://localhost", database=file), Path(sys.argv[2]), 1))
        outcomes.put("restored")
    except Exception as error:
        outcomes.put(type(error).__name__)

fork = multiprocessing.get_context("fork")
rounds = []
for n in range(15):
    file, start, outcomes = f"{sys.argv[1]}-{n}.db", fork.Barrier(2), fork.Queue()
    shutil.copy(sys.argv[3], f"{file}.key")
    both = [fork.Process(target=one, args=(file, start, outcomes)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    rounds.append([file, sorted(outcomes.get() for _ in both)])
print(json.dumps(rounds))
"""


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server on a file; the other database has no file."""
    async with open_server(tmp_path) as opened:
        yield opened


def settings_of(file: Path | str) -> Settings:
    return Settings(issuer=ISSUER, database=str(file))


@contextlib.contextmanager
def running(program: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a program until it is ready, and kill it in the end."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


async def backed_up(server: Server, folder: Path) -> Path:
    await server.token()
    await backup.write_backup(settings_of(server.settings.database), folder / "b.gz", server.runtime.now())
    return folder / "b.gz"


async def test_a_file_that_a_server_has_open_is_left_alone(server: Server, tmp_path: Path) -> None:
    file, database = await backed_up(server, tmp_path), server.settings.database
    later = await server.token()
    refused = run_cli(tmp_path, "restore", str(file), "--replace", "--database", database)
    assert refused.returncode == 1
    assert "stop the server" in refused.stderr
    headers = {"authorization": f"Bearer {later.secret}"}
    assert (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200
    await server.app.close()
    assert run_cli(tmp_path, "restore", str(file), "--replace", "--database", database).returncode == 0
    verified = run_cli(tmp_path, "audit", "--verify", "--database", database)
    assert verified.returncode == 0, verified.stdout


async def test_who_had_the_file_open_and_was_killed_is_in_nobodys_way(server: Server, tmp_path: Path) -> None:
    file, settings = await backed_up(server, tmp_path), settings_of(server.settings.database)
    await server.app.close()
    refused = pytest.raises(StorageUnavailable, match="open elsewhere")
    with running(OPENED, settings.database), impatience(), refused:
        await backup.restore_backup(settings, file, 1, replace=True)
    await backup.restore_backup(settings, file, 1, replace=True)


async def test_no_server_takes_what_a_killed_restore_leaves_for_a_new_database(
    server: Server, tmp_path: Path
) -> None:
    file, elsewhere = await backed_up(server, tmp_path), settings_of(tmp_path / "new.db")
    shutil.copy(f"{server.settings.database}.key", f"{elsewhere.database}.key")
    with running(FILLED, elsewhere.database, file), pytest.raises(StorageUnavailable):
        await start.open_runtime(elsewhere)  # nor while it is being filled
    with pytest.raises(StorageUnavailable, match="is empty: restore it"):
        await start.open_runtime(elsewhere)
    await backup.restore_backup(elsewhere, file, 1)
    await start.close_runtime(await start.open_runtime(elsewhere))


@pytest.mark.parametrize(
    "damage",
    [b"", b"SQLite format 3\0" + b"\xff" * 84, b"somebody's notes"],
    ids=["its end is lost", "its head is lost", "it is no database"],
)
async def test_a_damaged_file_is_replaced_as_whoever_meets_it_is_told(
    server: Server, tmp_path: Path, damage: bytes
) -> None:
    file, settings = await backed_up(server, tmp_path), settings_of(server.settings.database)
    await server.app.close()
    damaged = Path(settings.database)
    damaged.write_bytes((damage + damaged.read_bytes()[len(damage) :])[: 4096 * 5])
    told = f"is damaged (.*): move it away, and {damaged}-wal with it if that is there, then restore it"
    with pytest.raises(StorageUnavailable, match=told):
        await start.open_runtime(settings)
    with pytest.raises(StorageUnavailable, match=told):
        await backup.restore_backup(settings, file, 1, replace=True)
    damaged.rename(tmp_path / "damaged.db")
    await backup.restore_backup(settings, file, 1)
    await start.close_runtime(await start.open_runtime(settings))


async def test_of_two_restores_into_one_new_file_one_is_there(server: Server, tmp_path: Path) -> None:
    file = await backed_up(server, tmp_path)
    given = (tmp_path / "new", file, f"{server.settings.database}.key")
    command = [sys.executable, "-c", RACING, *map(str, given)]
    raced = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    for new, outcomes in json.loads(raced.stdout):
        # Where the first one takes longer than the second one waits, the file is in use instead of there.
        assert outcomes in (["OAuthError", "restored"], ["StorageUnavailable", "restored"])
        runtime = await start.open_runtime(settings_of(new))
        await start.close_runtime(runtime)
