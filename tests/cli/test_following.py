"""`watchword audit --follow`: a program that sends events elsewhere misses none, and gets those that it asked for."""

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from tests.fixtures.commands import environment, run_cli
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server
from tests.store.backends import cluster_of, name_of
from tests.store.made import NOW, note

from watchword.store.database import Transaction

PIPE = 65_536  # what a pipe holds; a writer waits for its reader then
PATIENCE = 60.0


@contextmanager
def following(server: Server, *options: str) -> Iterator[IO[bytes]]:
    """Run the command in a process of its own and give what it prints."""
    command = [sys.executable, "-m", "watchword", "audit", "--follow", "--json", *options]
    command += ["--database", server.settings.database]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()


def targets(printed: IO[bytes], last: str) -> list[str]:
    """Return of what the printed events tell, up to one of them."""
    text, until = b"", time.monotonic() + PATIENCE
    while f'"target":"{last}"'.encode() not in text:
        ready, _, _ = select.select([printed], [], [], max(0.0, until - time.monotonic()))
        assert ready, f"nothing was told of {last}"
        text += printed.read(PIPE)
    return [json.loads(line)["target"] for line in text.splitlines() if line.endswith(b"}")]


async def note_by_another(tx: Transaction, target: str) -> None:
    """Record an event of the same name by another actor."""
    await tx.record("test.noted", actor="another", target=target, at=NOW)


async def note_many(tx: Transaction, prefix: str) -> None:
    """Record more events than a pipe holds."""
    for number in range(PIPE // 100):
        await note(tx, f"{prefix} {number}")


async def test_what_happens_while_the_first_events_are_printed_is_not_missed(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        await server.runtime.database.write(note_many, "early")
        wanted = ("--name", "test.noted", "--actor", "test")
        with following(server, "--limit", "10000", *wanted) as printed:
            assert select.select([printed], [], [], PATIENCE)[0]  # it prints, and waits for its reader
            await server.runtime.database.write(note_by_another, "not asked for")
            await server.runtime.database.write(note, "meanwhile")
            told = targets(printed, "meanwhile")
    early = [f"early {number}" for number in range(PIPE // 100)]
    assert told == [*early, "meanwhile"]


def test_who_follows_a_file_that_is_replaced_is_told(tmp_path: Path) -> None:
    database = tmp_path / "watchword.db"
    assert run_cli(tmp_path, "token", "create", "a", "--owner", "o", "--scope", "s").returncode == 0
    command = [sys.executable, "-m", "watchword", "audit", "--follow", "--json"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            shutil.copy(database, tmp_path / "copy")
            os.replace(tmp_path / "copy", database)
            told, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert process.returncode == 1
    assert b"watchword.db was removed or replaced: begin again" in told


@pytest.mark.postgres
async def test_who_follows_goes_on_after_an_outage(postgres_store: Store, tmp_path: Path) -> None:
    cluster = cluster_of(postgres_store)
    name = name_of(postgres_store)
    variables = {"WATCHWORD_KEY_FILE": str(tmp_path / "key"), "WATCHWORD_DATABASE": postgres_store.address}
    command = [sys.executable, "-m", "watchword", "audit", "--follow", "--json"]
    async with open_server(tmp_path, on=postgres_store.address) as server:
        with subprocess.Popen(
            command, env=environment() | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                await server.runtime.database.write(note, "before")
                assert targets(process.stdout, "before")[-1] == "before"
                cluster.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                cluster.sql(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                )
                assert b"waiting for the database" in process.stderr.readline()
                cluster.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
                await server.runtime.database.write(note, "after")
                assert targets(process.stdout, "after") == ["after"]
            finally:
                process.kill()
                cluster.sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


async def test_who_follows_events_of_one_name_or_about_one_thing_gets_no_others(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        await server.runtime.database.write(note, "honest")
        with following(server, "--name", "test.noted") as printed:
            assert targets(printed, "honest") == ["honest"]
            await server.token()
            await server.runtime.database.write(note, "later")
            assert targets(printed, "later") == ["later"]
        with following(server, "--target", "later") as printed:
            assert targets(printed, "later") == ["later"]
            await server.runtime.database.write(note, "another")
            await server.runtime.database.write(note, "later")
            assert targets(printed, "later") == ["later"]
