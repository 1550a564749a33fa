"""The file of a backup: whole or not there at all, wherever it is written."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.commands import environment, inherited
from tests.fixtures.disks import no_file_may_grow_beyond
from tests.fixtures.postgres import Cluster, fresh_postgres
from tests.fixtures.servers import ISSUER, Server, open_server

from watchword.flows.databases import backup, start
from watchword.flows.secrets.master_key import existing_master_keys
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings
from watchword.store.database import StorageUnavailable

NOW = 1_900_000_000


def settings_of(server: Server) -> Settings:
    return Settings(issuer=ISSUER, database=server.settings.database, key_file=server.settings.key_file)


async def test_a_file_that_exists_is_never_overwritten(server: Server, tmp_path: Path) -> None:
    (tmp_path / "b.gz").write_text("precious")
    with pytest.raises(OAuthError, match="conflict"):
        await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    assert (tmp_path / "b.gz").read_text() == "precious"
    assert not list(tmp_path.glob("*.partial"))


async def test_a_server_starts_and_is_backed_up_where_there_are_no_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sticks and many network drives have none."""

    def refused(_source: object, _target: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    database = str(tmp_path / "on_a_stick.db")
    runtime = await start.open_runtime(Settings(issuer=ISSUER, database=database))
    await start.close_runtime(runtime)
    settings = Settings(issuer=ISSUER, database=database)
    await backup.write_backup(settings, tmp_path / "b.gz", NOW)
    backup.read_backup(tmp_path / "b.gz", existing_master_keys(settings))
    assert not [*tmp_path.glob("*.partial"), *tmp_path.glob("*.unfinished")]


@pytest.mark.postgres
async def test_a_backup_of_a_database_that_takes_no_writes_is_complete_and_said_to_be(
    postgres_cluster: Cluster, tmp_path: Path
) -> None:
    async with fresh_postgres(postgres_cluster) as made:
        async with open_server(tmp_path, on=made.address) as server:
            await server.token()
            settings = settings_of(server)
        sound = await backup.write_backup(settings, tmp_path / "before.gz", NOW)
        name = made.address.rpartition("/")[2]
        postgres_cluster.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        with pytest.raises(StorageUnavailable, match=r"b\.gz is complete .* read-only transaction"):
            await backup.write_backup(settings, tmp_path / "b.gz", NOW)
        read, _root = backup.read_backup(tmp_path / "b.gz", existing_master_keys(settings))
        assert read.tables["api_tokens"] == sound.tables["api_tokens"] > 0
        postgres_cluster.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")


async def test_what_a_full_disk_keeps_from_being_written_is_said_and_nothing_is_left(
    server: Server, tmp_path: Path
) -> None:
    await server.token()
    full = pytest.raises(StorageUnavailable, match=r"cannot write .*/b\.gz: File too large")
    with no_file_may_grow_beyond(2000), full:
        await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    assert not list(tmp_path.glob("b.gz*"))
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)


@pytest.mark.parametrize(
    ("name", "why"),
    [("missing/b.gz", "No such file"), ("file/b.gz", "Not a directory"), ("b" * 300, "File name too long")],
)
async def test_where_no_backup_can_be_made_the_reason_is_said(
    server: Server, tmp_path: Path, name: str, why: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageUnavailable, match=f"cannot write .*{name}: {why}"):
        await backup.write_backup(settings_of(server), tmp_path / name, NOW)


@pytest.mark.postgres
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_backup_that_is_told_to_stop_leaves_nothing(
    postgres_cluster: Cluster, tmp_path: Path, number: signal.Signals
) -> None:
    async with fresh_postgres(postgres_cluster) as made:
        async with open_server(tmp_path, on=made.address) as server:
            variables = {
                "WATCHWORD_DATABASE": made.address,
                "WATCHWORD_KEY_FILE": str(server.settings.key_file),
            }
        held = await asyncpg.connect(made.address)
        async with held.transaction():
            await held.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")  # where it has to wait
            with inherited(number, signal.SIG_DFL):
                process = subprocess.Popen(
                    [sys.executable, "-m", "watchword", "backup", "b.gz"],
                    cwd=tmp_path,
                    env=environment() | variables,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            async with asyncio.timeout(60):
                while not list(tmp_path.glob("b.gz*")):
                    assert process.poll() is None, process.communicate()
                    await asyncio.sleep(0.01)
            process.send_signal(number)
            said, _ = await asyncio.to_thread(process.communicate, timeout=60)
        await held.close()
    assert process.returncode == 128 + number, said
    assert not list(tmp_path.glob("b.gz*"))
    assert b"Traceback" not in said
