"""Poolers between a node and PostgreSQL: one that keeps sessions apart is taken, one that mixes them up is refused."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.fixtures.postgres import AUDIT_KEY, Cluster, Store
from tests.fixtures.servers import free_port
from tests.fixtures.system import absent
from tests.store.backends import cluster_of
from tests.store.made import count, note
from tests.store.test_postgres_sessions import SHOWN, shown

from watchword.store.database import Database, StorageUnavailable, Transaction
from watchword.store.postgres.database import PostgresDatabase
from watchword.store.postgres.replica import Replica

pytestmark = pytest.mark.pgbouncer


@contextmanager
def pgbouncer(cluster: Cluster, mode: str) -> Iterator[int]:
    """Run PgBouncer in front of a cluster, as it comes but for the mode, and yield its port."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        absent("pgbouncer")
    port, users, config = free_port(), cluster.folder / "users", cluster.folder / "pgbouncer.ini"
    users.write_text(f'"watchword" "{cluster.password}"\n')
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={cluster.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = plain\nauth_file = {users}\npool_mode = {mode}\n"
    )
    account = ["-u", "postgres"] if os.geteuid() == 0 else []
    running = subprocess.Popen([str(program), *account, str(config)], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        running.terminate()
        running.wait(10)


async def behind(port: int, store: Store) -> Database:
    """Open the database through a pooler that may only just have been started."""
    cluster = cluster_of(store)
    address = store.address.replace(f":{cluster.port}/", f":{port}/")
    for _ in range(50):
        database = PostgresDatabase(address, AUDIT_KEY, 7, patience=10.0)
        try:
            await database.open()
        except StorageUnavailable as error:
            if "Connect call failed" not in str(error):
                raise
            await asyncio.sleep(0.1)
        else:
            store.opened.append(database)
            return database
    raise TimeoutError


async def test_pgbouncer_in_session_mode_keeps_what_sessions_are_told(postgres_store: Store) -> None:
    with pgbouncer(cluster_of(postgres_store), "session") as port:
        database = await behind(port, postgres_store)
        assert await shown(database) == list(SHOWN)
        await asyncio.gather(*(database.write(note, f"{number}") for number in range(30)))
        assert await count(database, "events") == 30
        await postgres_store.close()


async def test_pgbouncer_in_transaction_mode_is_refused_at_the_start(postgres_store: Store) -> None:
    with (
        pgbouncer(cluster_of(postgres_store), "transaction") as port,
        pytest.raises(StorageUnavailable, match="pool_mode = session"),
    ):
        await behind(port, postgres_store)


async def takes_no_writes(tx: Transaction) -> bool:
    row = await tx.one("SELECT current_setting('default_transaction_read_only') AS setting")
    return row is not None and row["setting"] == "on"


async def test_lists_are_read_through_pgbouncer_too(postgres_store: Store) -> None:
    cluster = cluster_of(postgres_store)
    with pgbouncer(cluster, "session") as port:
        primary = await behind(port, postgres_store)
        assert not await primary.read(takes_no_writes)
        replica = Replica(postgres_store.address.replace(f":{cluster.port}/", f":{port}/"), primary, 5)
        await replica.open()
        for _ in range(2):
            assert await replica.read(takes_no_writes), "the primary answered in its place"
        await replica.close()
        await postgres_store.close()
