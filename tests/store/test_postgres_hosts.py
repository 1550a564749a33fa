"""An address that names several hosts: the one that takes writes is found, whatever the others do, and a former primary is left (F-08, F-21)."""

import asyncio
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import AUDIT_KEY, Cluster, Store
from tests.fixtures.servers import free_port
from tests.store.backends import cluster_of, gone, name_of, until
from tests.store.made import count, note, select

from watchword.store.copying import bulk_postgres
from watchword.store.copying.opening import open_bulk
from watchword.store.database import StorageUnavailable
from watchword.store.postgres import hosts
from watchword.store.postgres.database import PostgresDatabase
from watchword.store.postgres.pool import Connection, cut

pytestmark = pytest.mark.postgres
PORT = "SELECT inet_server_port() AS port"


def naming(store: Store, *ports: int) -> str:
    """Return the address of a store's database with these hosts in it."""
    user, _, rest = store.address.partition("@")
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"{user}@{hosts}/{rest.partition('/')[2]}"


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and says nothing, as a paused machine does."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        yield server.getsockname()[1]


@pytest.fixture
def standby(postgres_store: Store) -> Iterator[Cluster]:
    """A standby of the store's cluster."""
    primary = cluster_of(postgres_store)
    folder = Path(tempfile.mkdtemp(prefix="watchword-standby-"))
    shutil.chown(folder, primary.data.owner(), primary.data.group())
    made = replace(primary, folder=folder, port=free_port())
    try:
        primary.run("pg_basebackup", "-D", str(made.data), "-R", "-X", "stream", "-c", "fast")
        made.start()
        yield made
    finally:
        if (made.data / "postmaster.pid").exists():
            made.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def test_a_host_that_says_nothing_keeps_nobody_from_the_primary(
    postgres_store: Store, silent: int
) -> None:
    cluster, name = cluster_of(postgres_store), name_of(postgres_store)
    database = PostgresDatabase(naming(postgres_store, silent, cluster.port, free_port()), AUDIT_KEY)
    await database.open()
    await database.write(note, "first")
    cluster.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    await database.write(note, "on another connection")
    assert await count(database, "events") == 2
    await database.close()
    await until(lambda: gone(postgres_store, "application_name LIKE 'watchword%'"))


async def test_where_no_host_takes_writes_it_is_said_why(postgres_store: Store) -> None:
    database = PostgresDatabase(naming(postgres_store, free_port(), free_port()), AUDIT_KEY)
    with pytest.raises(StorageUnavailable, match="Connect call failed"):
        await database.open()
    address = naming(postgres_store, cluster_of(postgres_store).port, free_port())
    database = PostgresDatabase(re.sub(":[^:@]+@", ":wrong@", address), AUDIT_KEY)
    with pytest.raises(StorageUnavailable, match="password authentication failed"):
        await database.open()


async def test_what_is_done_beside_a_server_is_done_at_the_host_that_takes_writes(
    postgres_store: Store, standby: Cluster, silent: int
) -> None:
    """Backups, restores, moves and the exchange of the master key; the driver alone would wait for the one, and read from the other."""
    await postgres_store.node()
    address = naming(postgres_store, silent, standby.port, cluster_of(postgres_store).port)
    bulk = await open_bulk(address, AUDIT_KEY)
    await bulk.begin()
    await note(bulk, "beside")
    await bulk.commit()
    await bulk.close()
    assert await count(await postgres_store.node(), "events") == 1


async def test_that_there_are_standbys_alone_is_said_in_words(
    postgres_store: Store, standby: Cluster
) -> None:
    address = naming(postgres_store, standby.port, standby.port)
    with pytest.raises(StorageUnavailable, match="no host of the address has the role that is wanted"):
        await open_bulk(address, AUDIT_KEY)


def slow_to(cluster: Cluster) -> hosts.Connect:
    """Return what connects, to one server later than to the others."""

    async def connect(address: str, **options: Any) -> Connection:
        if f":{cluster.port}/" in address:
            await asyncio.sleep(0.05)
        made: Connection = await asyncpg.connect(address, connection_class=Connection, **options)
        return made

    return connect


async def leads_to(named: hosts.Hosts, cluster: Cluster) -> bool:
    connection = await named.connect()
    try:
        return bool(await connection.fetchval("SELECT inet_server_port()") == cluster.port)
    except asyncpg.ConnectionDoesNotExistError:  # cut, as it leads to the former one
        return False
    finally:
        cut(connection)


async def test_a_promotion_is_followed_and_the_former_primary_is_not_used_again(
    postgres_store: Store, standby: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The former one goes on taking writes, as one does that was paused or whose Patroni has died."""
    former = cluster_of(postgres_store)
    nodes = [
        PostgresDatabase(naming(postgres_store, *ports), AUDIT_KEY, patience=10.0)
        for ports in ((former.port, standby.port), (standby.port, former.port))
    ]
    for node in nodes:
        await node.open()
        await node.write(note, "before")
        assert (await node.read(select, PORT))[0]["port"] == former.port

    await asyncio.to_thread(standby.run, "pg_ctl", "promote", "-w", "-D", str(standby.data))
    # Whether or not it is asked for anything: what a node has read there may be out of date.
    await until(lambda: gone(postgres_store, "application_name = 'watchword'"))
    for node in nodes:
        await node.write(note, "after")
        assert (await node.read(select, PORT))[0]["port"] == standby.port
        assert await count(node, "events") >= 3

    monkeypatch.setattr(hosts, "SETTLING", 0.0)
    named = hosts.Hosts(naming(postgres_store, former.port, standby.port), slow_to(standby))
    named.watch()
    await until(lambda: leads_to(named, standby))
    await named.close()

    standby.stop()
    for node in nodes:
        with pytest.raises(StorageUnavailable, match="former primary"):
            await node.write(note, "refused")
    monkeypatch.setattr(hosts, "MEMORY", 0.0)  # the newer one has been gone for long
    for node in nodes:
        await node.write(note, "restored")
        assert (await node.read(select, PORT))[0]["port"] == former.port
        await node.close()


@pytest.mark.timeout(30)
async def test_a_command_does_not_wait_for_a_silent_server_for_a_minute(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_postgres, "TIMEOUT", 1)
    with pytest.raises(StorageUnavailable, match="did not answer in time"):
        await open_bulk(f"postgresql://u:p@127.0.0.1:{silent}/d")
