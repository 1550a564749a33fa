"""The embedded database in trouble: it refuses honestly, promises nothing it cannot keep, and heals by itself (F-04 to F-06)."""

import asyncio
import contextlib
import errno
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fixtures.disks import no_file_may_grow_beyond
from tests.fixtures.postgres import AUDIT_KEY, Store, race
from tests.store.made import access_token, breaks, count, digest, execute, note

from watchword.store import keys, tokens
from watchword.store.database import Database, StorageUnavailable, Transaction
from watchword.store.sqlite.database import SqliteDatabase
from watchword.store.sqlite.file import is_unused
from watchword.store.sqlite.lists import Lists


@pytest.fixture
def file(tmp_path: Path) -> Store:
    return Store("sqlite", str(tmp_path / "watchword.db"))


async def pragma(tx: Transaction, text: str) -> None:
    await tx.one(f"PRAGMA {text}")


async def fill(tx: Transaction, name: str) -> None:
    await keys.set_fact(tx, name, "x" * 20_000)
    await note(tx, name)


async def assert_heals(database: Database, written: int) -> None:
    """Check that writes work again and that the trail is sound over the whole time."""
    await database.write(note, "healed")
    assert await count(database, "events") == written + 1
    assert await breaks(database, AUDIT_KEY) == []


async def test_a_full_disk_refuses_writes_serves_reads_and_heals(file: Store) -> None:
    database = await file.node()
    await tokens.insert_access_token(database, digest("t"), access_token())
    pages = (await database.read(lambda tx: tx.one("PRAGMA page_count")))["page_count"]  # type: ignore[index]
    await database.write(pragma, f"max_page_count = {pages + 20}")
    outcomes = [(await race(database.write(fill, f"fact {n}")))[0] for n in range(10)]
    written = outcomes.count(None)
    assert 0 < written < 10
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert all(isinstance(outcome, StorageUnavailable) for outcome in refused)
    for n, outcome in enumerate(outcomes):
        found = await database.read(keys.get_fact, f"fact {n}")
        assert (found is not None) is (outcome is None)
    assert await database.read(tokens.find_access_token, digest("t")) is not None
    await database.write(pragma, "max_page_count = 1000000")
    await assert_heals(database, written)
    await file.close()


async def test_on_a_full_disk_a_whole_batch_is_refused_and_none_of_it_is_there(file: Store) -> None:
    database = await file.node()
    pages = (await database.read(lambda tx: tx.one("PRAGMA page_count")))["page_count"]  # type: ignore[index]
    await database.write(pragma, f"max_page_count = {pages + 3}")
    outcomes = await race(
        *(database.write(fill, f"fact {n}") for n in range(20)),
        *(tokens.insert_access_token(database, digest(f"t{n}"), access_token()) for n in range(20)),
    )
    for n in range(20):
        assert (outcomes[n] is None) is (await database.read(keys.get_fact, f"fact {n}") is not None)
    assert await count(database, "access_tokens") == outcomes[20:].count(None)
    await database.write(pragma, "max_page_count = 1000000")
    await assert_heals(database, outcomes[:20].count(None))
    await file.close()


async def test_writes_that_the_system_refuses_are_not_acknowledged(file: Store) -> None:
    database = await file.node()
    await database.write(note, "before")
    size = os.path.getsize(file.address + "-wal") + 4096
    with no_file_may_grow_beyond(size):
        outcomes = await race(*(database.write(fill, f"fact {n}") for n in range(3)))
    assert all(isinstance(outcome, StorageUnavailable) for outcome in outcomes)
    await assert_heals(database, 1)
    await file.close()
    again = await file.node()
    assert [await again.read(keys.get_fact, f"fact {n}") for n in range(3)] == [None] * 3
    await file.close()


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Be a user whom file permissions bind."""
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


async def test_a_file_that_may_only_be_read_refuses_writes_serves_reads_and_heals() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        file = Store("sqlite", f"{folder}/watchword.db")
        with without_privileges():
            await (await file.node()).write(note, "before")
            await file.close()
            os.chmod(file.address, 0o400)
            database = await file.node()
            for _ in range(2):
                with pytest.raises(StorageUnavailable, match="readonly"):
                    await database.write(note, "refused")
            assert await count(database, "events") == 1
            for path in Path(folder).iterdir():  # SQLite gives the files beside it the same permissions
                path.chmod(0o600)
            with contextlib.suppress(StorageUnavailable):
                await database.write(note, "finds that it may write again")
            await assert_heals(database, await count(database, "events"))
            await file.close()


async def test_opening_in_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match=r"cannot open the database file .*: No such file"):
        await SqliteDatabase(str(tmp_path / "nowhere" / "watchword.db"), AUDIT_KEY).open()


async def test_a_file_is_made_where_the_file_system_has_no_hard_links(
    file: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    await (await file.node()).write(note, "works")
    await file.close()
    assert os.stat(file.address).st_mode & 0o077 == 0


@pytest.mark.parametrize("room", [4096, 65_536])
async def test_nothing_is_left_of_a_file_that_could_not_be_made(file: Store, room: int) -> None:
    with no_file_may_grow_beyond(room), pytest.raises(StorageUnavailable) as refused:
        await file.make().open()
    assert refused.value.reason == f"cannot create the database file {file.address}: disk I/O error"
    assert not list(Path(file.address).parent.iterdir())


async def test_a_new_file_is_its_owners_alone(file: Store) -> None:
    await file.node()
    assert os.stat(file.address).st_mode & 0o077 == 0
    await file.close()


def zero_a_page(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(4096 * 3)
        stream.write(bytes(4096))


def flip_the_header(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.write(b"not a database at all")


def cut_off(path: Path) -> None:
    os.truncate(path, 4096 * 5)


def write_text(path: Path) -> None:
    path.write_text("somebody's notes\n" * 1000)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(zero_a_page, id="a page is lost"),
        pytest.param(flip_the_header, id="the header is lost"),
        pytest.param(cut_off, id="the end is lost"),
        pytest.param(write_text, id="it is no database"),
    ],
)
async def test_a_damaged_file_is_refused_with_a_clear_message(
    file: Store, damage: Callable[[Path], None]
) -> None:
    database = await file.node()
    for n in range(20):
        await database.write(fill, f"fact {n}")
    await file.close()
    path = Path(file.address)
    sound = path.read_bytes()
    damage(path)
    with pytest.raises(
        StorageUnavailable, match=r"(is damaged .*restore it from a backup|cannot use the database file)"
    ):
        await file.make().open()
    path.write_bytes(sound)
    assert await breaks(await file.node(), AUDIT_KEY) == []
    await file.close()


async def test_damage_found_while_serving_is_not_an_error_of_the_request(file: Store) -> None:
    database = await file.node()
    for n in range(20):
        await database.write(fill, f"fact {n}")
    await file.close()
    database = await file.node()
    with Path(file.address).open("r+b") as stream:
        stream.seek(4096)
        stream.write(os.urandom(4096 * 100))
    for outcome in await race(
        *(database.read(keys.get_fact, f"fact {n}") for n in range(20)),
        *(database.write(keys.set_fact, f"fact {n}", "") for n in range(5)),
    ):
        assert not isinstance(outcome, BaseException) or isinstance(outcome, StorageUnavailable)
    for opened in file.opened:
        await opened.close()


async def test_a_text_that_cannot_be_read_fails_who_asked_for_it_alone(file: Store) -> None:
    database = await file.node()
    await database.write(execute, "INSERT INTO facts VALUES ('damaged', CAST(X'c328' AS TEXT))")
    outcomes = await race(
        database.write(note, "before"),
        database.write(keys.get_fact, "damaged"),
        database.write(note, "after"),
    )
    assert isinstance(outcomes.pop(1), StorageUnavailable)
    assert outcomes == [None, None]
    assert await count(database, "events") == 2
    await file.close()


@pytest.mark.parametrize("name", ["a#b.db", "a?mode=ro.db", "a%20b.db", "ä b.db"])
async def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    file = Store("sqlite", str(tmp_path / name))
    await (await file.node()).write(note, "works")
    await file.close()
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in tmp_path.iterdir()} == {name}
    assert is_unused(file.address) is False


async def test_a_link_leads_to_the_file_that_is_made(tmp_path: Path) -> None:
    link, there = tmp_path / "here.db", tmp_path / "there"
    link.symlink_to(there / "watchword.db")
    file = Store("sqlite", str(link))
    with pytest.raises(StorageUnavailable, match=r"there/watchword\.db: No such file"):
        await file.make().open()
    there.mkdir()
    await (await file.node()).write(note, "works")
    await file.close()
    (there / "watchword.db").rename(there / "lost.db")
    (there / "watchword.db-wal").touch()
    with pytest.raises(StorageUnavailable, match="is lost"):
        await file.make().open()


@pytest.mark.parametrize(
    "damage",
    ["UPDATE facts SET value = '1/' WHERE name = 'changes'", "DELETE FROM facts WHERE name = 'changes'"],
)
async def test_a_damaged_count_of_changes_is_an_outage(file: Store, damage: str) -> None:
    database = await file.node()
    assert database.version() >= 0
    await file.close()
    with contextlib.closing(sqlite3.connect(file.address, isolation_level=None)) as connection:
        connection.execute(damage)
    database = await file.node()
    with pytest.raises(StorageUnavailable, match="cannot be read"):
        database.version()
    await file.close()


async def test_another_writer_that_holds_the_file_makes_writes_wait_and_then_refuse(file: Store) -> None:
    database = await file.node(timeout=1)
    other = sqlite3.connect(file.address, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable, match="locked"):
        await database.write(note, "refused")
    assert await database.read(keys.get_fact, "changes") is not None
    waiting = asyncio.ensure_future(database.write(note, "waits"))
    await asyncio.sleep(0)
    other.execute("COMMIT")
    await waiting
    other.close()
    await assert_heals(database, 1)
    await file.close()


async def test_all_who_wait_for_the_file_are_refused_at_once_and_not_one_batch_after_the_other(
    file: Store,
) -> None:
    """Otherwise the last of a thousand would wait for four times as long as a write may."""
    database = await file.node(timeout=1)
    with contextlib.closing(sqlite3.connect(file.address, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting: list[asyncio.Task[None]] = []
        for each in range(4):  # handed over one after the other
            waiting += [asyncio.create_task(database.write(note, f"{each} {n}")) for n in range(200)]
            for _ in range(4):
                await asyncio.sleep(0)
        refused, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        assert all("locked" in str(one.exception()) for one in refused)
        for _ in range(4):
            await asyncio.sleep(0)
        assert [one for one in waiting if not one.done()] == [], "nobody waits another time"
        assert all(isinstance(one.exception(), StorageUnavailable) for one in waiting)
    await assert_heals(database, 0)
    await file.close()


async def test_a_list_that_has_no_thread_is_no_closed_database(file: Store) -> None:
    """A process that finds no memory is replaced for what is said of it here."""

    async def fail(_: Transaction) -> None:
        raise RuntimeError("can't start new thread")

    database = await file.node()
    assert isinstance(database, SqliteDatabase)
    lists = Lists(database)
    assert await lists.read(keys.get_fact, "changes") is not None
    with pytest.raises(RuntimeError, match="new thread"):
        await lists.read(fail)
    await lists.close()
    with pytest.raises(StorageUnavailable, match="closed"):
        await lists.read(keys.get_fact, "changes")
    await file.close()


async def test_a_closed_database_refuses(file: Store) -> None:
    database = await file.node()
    await file.close()
    with pytest.raises(StorageUnavailable, match="closed"):
        await database.write(note, "refused")
    with pytest.raises(StorageUnavailable, match="closed"):
        await tokens.insert_access_token(database, digest("t"), access_token())


WRITER = """
import asyncio, sys
from watchword.store import tokens
from watchword.store.sqlite.database import SqliteDatabase
from watchword.store.sqlite.file import is_unused

async def main(path, first):
    database = SqliteDatabase(path, bytes(range(32)))
    await database.open()
    async def use(n):
        won = await database.write(tokens.use_identifier, n.to_bytes(32, "big"), 1_900_000_000)
        print(f"{'won' if won else 'lost'} {n}\\n", end="", flush=True)
    async def revoke(n):
        await database.write(tokens.revoke_jti, f"{first} {n}", 1_900_000_000, client_id="c", actor="a", now=1)
        print(f"revoked {first} {n}\\n", end="", flush=True)
    for n in range(0, 100_000, 20):
        await asyncio.gather(*(use(m) for m in range(n, n + 20)), *(revoke(m) for m in range(n, n + 20)))

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


async def test_processes_that_are_killed_lose_nothing_acknowledged_and_win_nothing_twice(file: Store) -> None:
    said: list[str] = []
    for round in range(2):
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, file.address, f"{round}{n}"], stdout=subprocess.PIPE
            )
            for n in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            said += [process.stdout.readline().decode() for _ in range(100)]
        for process in processes:
            process.kill()
            assert process.stdout is not None
            said += process.stdout.read().decode().splitlines(keepends=True)
            process.wait()
            process.stdout.close()
    # Whoever was killed while it spoke acknowledged nothing.
    words = [line.split(maxsplit=1) for line in said if line.endswith("\n")]
    won = [number for word, number in words if word == "won"]
    assert len(won) == len(set(won))
    database = await file.node()
    for word, name in words:
        if word == "revoked":
            assert await database.read(tokens.is_jti_revoked, name.strip())
    assert len([word for word, _ in words if word == "revoked"]) > 50
    assert await breaks(database, AUDIT_KEY) == []
    await file.close()
