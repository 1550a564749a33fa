"""Moving between databases while the source serves: nothing lost, nothing twice, whenever it is killed (F-18, F-19)."""

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
import pytest_asyncio
from tests.fixtures.postgres import Cluster, Store, fresh_postgres, impatience
from tests.fixtures.servers import Server, open_server
from tests.store.made import count, select

from watchword.flows.databases import backup, move, schema_state
from watchword.flows.databases.move import Progress
from watchword.flows.secrets.master_key import existing_master_keys
from watchword.flows.secrets.secret import Secret
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store import schema
from watchword.store.audit import events
from watchword.store.copying import bulk, capture, transfer
from watchword.store.database import StorageUnavailable
from watchword.testing.empty import empty_file

pytestmark = pytest.mark.postgres


@pytest_asyncio.fixture
async def target(store: Store, postgres_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty database of the other kind than the server's."""
    if store.kind == "postgres":
        yield Store("sqlite", f"sqlite:///{tmp_path}/target.db")
        return
    async with fresh_postgres(postgres_cluster, has_tables=False) as made:
        yield made


def file(address: str) -> str:
    return address.removeprefix("sqlite:///")


async def fill(server: Server, tokens: int = 5) -> list[str]:
    """Make tokens, some of them children of others whose identifiers sort later."""
    made = [await server.token(owner="ä€😀") for _ in range(tokens)]
    ordered = sorted(made, key=lambda issued: issued.token.id)
    await server.runtime.database.write(_adopt, ordered[0].token.id, ordered[-1].token.id)
    await server.grant(await server.client(access_token_format="opaque"))
    await server.runtime.usage.flush(server.runtime.database)  # or it is written whenever the second is over
    return [issued.secret for issued in made]


async def _adopt(tx: Any, child: str, parent: str) -> None:
    await tx.run("UPDATE api_tokens SET parent_id = $1, depth = 1 WHERE id = $2", parent, child)


async def active(server: Server, token: str) -> bool:
    answer = await server.http.get("/api/v1/tokens/self", headers={"authorization": f"Bearer {token}"})
    return answer.status_code == 200


async def read(tx: Any, table: str) -> list[tuple[object, ...]]:
    names = next(known for known in schema.tables(schema.newest()) if known.name == table).columns
    rows = await tx.all(f"SELECT * FROM {table}")
    return sorted((tuple(row[name] for name in names) for row in rows), key=repr)


@contextlib.asynccontextmanager
async def opened(server: Server, target: Store, tmp_path: Path) -> AsyncIterator[Server]:
    key = str(server.settings.key_file)
    async with open_server(tmp_path, database=file(target.address), key_file=key) as again:
        yield again


async def test_everything_is_there_afterwards_and_the_source_is_fenced(
    server: Server, target: Store, tmp_path: Path
) -> None:
    tokens = await fill(server)
    steps: list[Progress] = []
    tables = [table.name for table in schema.tables(schema.newest()) if table.name not in ("facts", "events")]
    before = {name: await server.runtime.database.read(read, name) for name in tables}
    moved = await move.move(
        server.settings.database, target.address, existing_master_keys(server.settings), report=steps.append
    )
    assert moved.tables["api_tokens"].rows == 5
    assert [step.phase for step in steps][-4:] == ["switching", "carried", "fenced", "done"]
    with pytest.raises(StorageUnavailable, match="moved away"):
        await server.token()
    assert (await server.http.get("/readyz")).status_code == 503
    assert await active(server, tokens[0]), "what serves the source still answers until it is stopped"
    with pytest.raises(StorageUnavailable, match="moved away by `watchword move`: use the one"):
        await schema_state.status(Settings(database=server.settings.database))
    again_asked = await move.move(
        server.settings.database, target.address, existing_master_keys(server.settings)
    )
    assert again_asked.rows == 0, "who was killed when all was done may ask again"
    with pytest.raises(OAuthError, match="not to this target"):
        await move.move(
            server.settings.database,
            f"sqlite:///{tmp_path}/elsewhere.db",
            existing_master_keys(server.settings),
        )
    with pytest.raises(OAuthError, match="cannot be undone"):
        await move.abandon(server.settings.database)
    async with opened(server, target, tmp_path) as again:
        assert {name: await again.runtime.database.read(read, name) for name in tables} == before
        assert all([await active(again, token) for token in tokens])
        report = await again.runtime.database.read(events.verify_trail, server.runtime.root.derive("audit"))
        assert report.breaks == []
        await again.token()


async def test_what_changes_while_it_is_copied_arrives_as_it_is_in_the_end(
    server: Server, target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows made, changed and removed at every step, and two that exchange a value which must be unique."""
    monkeypatch.setattr(bulk, "BATCH", 3)
    database = server.runtime.database
    await fill(server, 12)
    changed: list[asyncio.Task[Any]] = []

    async def change(n: int) -> None:
        made = await server.token(name=f"later {n}")
        await database.write(_exchange, n, made.token.id)

    original = transfer.step

    async def step(*args: Any) -> Any:
        await change(len(changed))
        changed.append(asyncio.create_task(asyncio.sleep(0)))
        return await original(*args)

    monkeypatch.setattr(transfer, "step", step)
    await database.write(_people)
    await move.move(server.settings.database, target.address, existing_master_keys(server.settings))
    tables = [table.name for table in schema.tables(schema.newest()) if table.name not in ("facts", "events")]
    async with opened(server, target, tmp_path) as again:
        for name in tables:
            assert await again.runtime.database.read(read, name) == await database.read(read, name), name
        assert await count(again.runtime.database, "api_tokens") > 10


async def _people(tx: Any) -> None:
    for n in range(8):
        await tx.run(
            "INSERT INTO users (id, username, canonical_username, skeleton, created_at) VALUES ($1, $2, $2, $2, 0)",
            f"u{n}",
            f"name {n}",
        )


async def _exchange(tx: Any, n: int, token_id: str) -> None:
    first, second = f"u{n % 8}", f"u{(n + 1) % 8}"
    rows = {
        row["id"]: row["username"]
        for row in await tx.all("SELECT id, username FROM users WHERE id IN ($1, $2)", first, second)
    }
    rename = "UPDATE users SET username = $1, canonical_username = $1, skeleton = $1 WHERE id = $2"
    await tx.run(rename, f"free {n}", first)
    await tx.run(rename, rows[first], second)
    await tx.run(
        "DELETE FROM api_tokens WHERE id = (SELECT MIN(id) FROM api_tokens WHERE parent_id IS NULL AND id <> $1)",
        token_id,
    )


@pytest.mark.parametrize(
    "first",
    ["UPDATE users SET display_name = 'x'", "SELECT 1 FROM api_tokens FOR SHARE"],
    ids=["writes two tables", "reads a table before it writes to it"],
)
async def test_who_is_amidst_of_writing_when_the_move_switches_does_not_end_it(
    postgres_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Each waits for a lock of the other; PostgreSQL ends the one of the two that looks first, which is made to be the move."""
    async with open_server(tmp_path, on=postgres_store.address) as server:
        tokens = await fill(server)
        writer = await asyncpg.connect(postgres_store.address)
        watcher = await asyncpg.connect(postgres_store.address)
        await writer.execute("SET deadlock_timeout = '60s'")
        written: list[asyncio.Task[object]] = []
        original = capture.lock

        async def write() -> str:
            waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> $1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            while first.startswith("UPDATE") and not await watcher.fetch(waiting, writer.get_server_pid()):
                await asyncio.sleep(0.01)
            try:
                return str(await writer.execute("UPDATE api_tokens SET name = 'renamed'; COMMIT"))
            except asyncpg.PostgresError as error:
                await writer.execute("ROLLBACK")
                return str(error)

        async def lock(*args: Any, **named: Any) -> None:
            if not written:
                await writer.execute(f"BEGIN; {first}")
            if not written and first.startswith("UPDATE"):
                written.append(asyncio.create_task(write()))
            await original(*args, **named)
            if not written:
                written.append(asyncio.create_task(write()))
                await asyncio.sleep(0.1)

        monkeypatch.setattr(capture, "lock", lock)
        target = f"sqlite:///{tmp_path}/target.db"
        await move.move(postgres_store.address, target, existing_master_keys(server.settings))
        (said,) = await asyncio.gather(*written)
        await writer.close()
        await watcher.close()
        key = str(server.settings.key_file)
    async with open_server(tmp_path, database=file(target), key_file=key) as again:
        assert all([await active(again, token) for token in tokens])
        renamed = await again.runtime.database.read(select, "SELECT 1 FROM api_tokens WHERE name = 'renamed'")
        assert (said, len(renamed)) in [("COMMIT", 5), (capture.FENCE, 0)], (
            "wholly before the move, or refused"
        )


SCRIPT = """
import asyncio, os, signal, sys
from watchword.flows.databases import move
from watchword.flows.secrets.master_key import existing_master_keys
from watchword.settings import Settings
from watchword.store.copying import bulk

bulk.BATCH = 2
source, target, key, phase, left = *sys.argv[1:5], int(sys.argv[5])

def report(step):
    global left
    if step.phase == phase:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

masters = existing_master_keys(Settings(database=source, key_file=key))
print(asyncio.run(move.move(source, target, masters, report=report)).rows)
"""


def run(server: Server, target: Store, phase: str, steps: int) -> int:
    key = server.settings.key_file or f"{server.settings.database}.key"
    arguments = [server.settings.database, target.address, key, phase, str(steps)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, check=False, timeout=60
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode


async def test_killed_anywhere_it_goes_on_and_loses_nothing(
    server: Server, target: Store, tmp_path: Path
) -> None:
    """`kill -9` in the middle of a table, while comparing, before and after each commit of the switch."""
    tokens = await fill(server, 9)
    kills = [("copying", 2), ("copying", 5), ("copying", 9), ("comparing", 3), ("switching", 1)]
    for phase, steps in kills:
        assert await asyncio.to_thread(run, server, target, phase, steps) == -signal.SIGKILL
        tokens.append((await server.token()).secret)
        with pytest.raises(StorageUnavailable, match="let it finish first"):
            await schema_state.status(Settings(database=file(target.address)))
    assert await asyncio.to_thread(run, server, target, "carried", 1) == -signal.SIGKILL
    tokens.append((await server.token()).secret)
    with pytest.raises(StorageUnavailable, match="let it finish first"):
        await schema_state.status(Settings(database=file(target.address)))
    assert await asyncio.to_thread(run, server, target, "fenced", 1) == -signal.SIGKILL
    with pytest.raises(StorageUnavailable, match="moved away"):
        await server.token()
    assert await asyncio.to_thread(run, server, target, "never", 1) == 0
    async with opened(server, target, tmp_path) as again:
        assert all([await active(again, token) for token in tokens])
        assert await count(again.runtime.database, "api_tokens") == len(tokens)


async def test_a_row_that_differs_is_found_before_the_switch(
    server: Server, target: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = await fill(server)
    original = transfer.compare

    async def damage(source: Any, other: Any, tables: Any, table: Any) -> Any:
        if table.name == "api_tokens":
            await other.run("UPDATE api_tokens SET scope = 'watchword:admin'")
        return await original(source, other, tables, table)

    monkeypatch.setattr(transfer, "compare", damage)
    with pytest.raises(StorageUnavailable, match="rows of api_tokens differ"):
        await move.move(server.settings.database, target.address, existing_master_keys(server.settings))
    assert await active(server, tokens[0])
    await server.token()


async def test_a_target_in_use_is_left_alone_and_an_abandoned_move_leaves_no_trace(
    server: Server, target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(server)
    if target.kind == "sqlite":  # a server whose key is there begins no database
        Path(file(target.address)).write_bytes(empty_file())
    async with opened(server, target, tmp_path) as other:
        kept = (await other.token()).secret
        refused = pytest.raises((OAuthError, StorageUnavailable), match=r"conflict|open elsewhere|is in use")
        with impatience(), refused:
            await move.move(server.settings.database, target.address, existing_master_keys(server.settings))
        assert await active(other, kept)

    async def fail(*_: object) -> None:
        raise StorageUnavailable("the network is gone")

    monkeypatch.setattr(transfer, "compare", fail)
    with pytest.raises(StorageUnavailable, match="network"):
        await move.move(
            server.settings.database, target.address, existing_master_keys(server.settings), replace=True
        )
    assert await move.abandon(server.settings.database)
    assert not await move.abandon(server.settings.database)
    await server.token()
    names = "SELECT name FROM sqlite_master WHERE name LIKE 'moving%'"
    if server.settings.is_postgres:
        names = "SELECT proname AS name FROM pg_proc WHERE proname LIKE 'moving%'"
    assert await server.runtime.database.read(select, names) == []


async def test_nothing_is_moved_or_restored_into_a_database_that_no_server_would_open(
    tmp_path: Path, postgres_cluster: Cluster
) -> None:
    provider = "LOCALE_PROVIDER libc" if postgres_cluster.version >= 15 else ""
    postgres_cluster.sql(f"CREATE DATABASE narrow ENCODING 'LATIN1' {provider} LOCALE 'C' TEMPLATE template0")
    narrow = postgres_cluster.address("narrow")
    async with open_server(tmp_path) as server:
        settings = server.settings
        masters = existing_master_keys(settings)
        with pytest.raises(StorageUnavailable, match="encoding is LATIN1: create it anew"):
            await move.move(settings.database, narrow, masters)
        await server.token()
        kept = tmp_path / "backup.gz"
        await backup.write_backup(settings, kept, 0)
    key = settings.key_file or f"{settings.database}.key"
    with pytest.raises(StorageUnavailable, match="encoding is LATIN1: create it anew"):
        await backup.restore_backup(Settings(database=narrow, key_file=key), kept, 0)
    postgres_cluster.sql("DROP DATABASE narrow")


async def test_nothing_is_moved_under_a_key_that_does_not_belong_to_the_source(
    server: Server, target: Store
) -> None:
    await fill(server)
    with pytest.raises(SettingsError, match="does not belong to this database"):
        await move.move(server.settings.database, target.address, (Secret(bytes(32)),))
    await server.token()
    assert (
        await move.move(server.settings.database, target.address, existing_master_keys(server.settings))
    ).rows > 0


async def test_it_goes_there_and_back(server: Server, target: Store, tmp_path: Path) -> None:
    tokens = await fill(server)
    masters, home = existing_master_keys(server.settings), server.settings.database
    await move.move(home, target.address, masters)
    async with opened(server, target, tmp_path) as again:
        tokens.append((await again.token()).secret)
    await server.app.close()  # it serves no more, and would have the file open
    await move.move(file(target.address), home, masters, replace=True)
    async with open_server(tmp_path, database=home, key_file=str(server.settings.key_file)) as back:
        assert all([await active(back, token) for token in tokens])
        await back.token()


@pytest.mark.parametrize("replace", [False, True], ids=["carefully", "with --replace"])
async def test_a_database_is_never_moved_onto_itself_by_another_name(
    server: Server, tmp_path: Path, replace: bool
) -> None:
    tokens = await fill(server)
    home = server.settings.database
    if server.settings.is_postgres:
        aliases = [home.replace("127.0.0.1", "localhost"), f"{home}?application_name=another"]
    else:
        (tmp_path / "linked.db").symlink_to(home)
        aliases = [f"sqlite:///{Path(home).parent}/./{Path(home).name}", f"sqlite:///{tmp_path}/linked.db"]
    await server.app.close()
    for alias in aliases:
        with pytest.raises(OAuthError, match=r"same database|not empty"):
            await move.move(home, alias, existing_master_keys(server.settings), replace=replace)
    names = "SELECT name FROM sqlite_master WHERE name LIKE 'moving%'"
    if server.settings.is_postgres:
        names = "SELECT proname AS name FROM pg_proc WHERE proname LIKE 'moving%'"
    async with open_server(tmp_path, database=home, key_file=str(server.settings.key_file)) as again:
        assert all([await active(again, token) for token in tokens])
        await again.token()
        assert await again.runtime.database.read(select, names) == []
