"""F-04, F-05: the disk fills up or the database takes no writes, under load; no lies meanwhile, and no hands to heal it."""

import contextlib
import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from tests.drills.conftest import HEAVY, Drill
from tests.drills.world import World, new_world
from tests.fixtures.postgres import NUMBERS, Cluster

HEALS = 60.0
ROUNDS = 20 if HEAVY else 1


def limit_files(world: World, size: int) -> None:
    """Let the system refuse to write files of the nodes beyond a size, the log among them, as a full disk does."""
    for node in world.nodes:
        for pid in node.worker_pids():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def wait_until_ready(world: World) -> float:
    """Return after how many seconds every node can commit again."""
    begun = time.monotonic()
    for node in world.nodes:
        node.wait(HEALS)
    return time.monotonic() - begun


@pytest.mark.timeout(600)
def test_f_04_a_full_disk_under_load(drill: Drill, tmp_path: Path) -> None:
    with new_world(tmp_path) as world:
        node = world.node(workers=2)
        node.start()
        with drill.load(world, 2, seed=4) as load:
            for _ in range(ROUNDS):
                drill.acknowledge()
                limit_files(world, 4096)
                time.sleep(0.7)
                assert not node.is_ready(), "ready means that a write can be committed"
                limit_files(world, resource.RLIM_INFINITY)
                wait_until_ready(world)
            drill.acknowledge(10)
        assert any(entry.status == 503 for entry in drill.ledger.entries), "there was an outage"
        assert all(psutil.pid_exists(pid) for pid in node.worker_pids())
        drill.assert_sound(world, load)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 48 MB in a file, for PostgreSQL; skip where nothing may be mounted."""
    image, disk = folder / "image", folder / "disk"
    disk.mkdir()
    image.touch()
    os.truncate(image, 48 << 20)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True, timeout=60)
        subprocess.run(["mount", "-o", "loop", image, disk], check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root and a loop device")
    try:
        (disk / "space").mkdir()
        shutil.chown(disk / "space", "postgres", "postgres")
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True, timeout=60)


def fill(disk: Path) -> Path:
    """Take whatever room is left on a disk; removing the file gives it back."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))
    return filler


@pytest.mark.drill
@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_f_04_a_full_tablespace_under_load(postgres_cluster: Cluster, drill: Drill) -> None:
    folder = Path(tempfile.mkdtemp(prefix="watchword-disk-"))  # where PostgreSQL's user may look
    folder.chmod(0o755)
    world_folder = folder / "world"
    world_folder.mkdir()
    name = f"drill_{next(NUMBERS)}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        disk = stack.enter_context(small_disk(folder))
        postgres_cluster.sql(f"CREATE TABLESPACE small LOCATION '{disk}/space'")
        stack.callback(postgres_cluster.sql, "DROP TABLESPACE small")
        postgres_cluster.sql(f"CREATE DATABASE {name} TABLESPACE small")
        stack.callback(postgres_cluster.sql, f"DROP DATABASE {name} WITH (FORCE)")
        world = stack.enter_context(new_world(world_folder, postgres_cluster.address(name)))
        node = world.node(workers=2)
        node.start()
        slowest, before = 0.0, grant(world)
        with drill.load(world, 2, seed=9) as load:
            for _ in range(ROUNDS):
                drill.acknowledge()
                filler = fill(disk)
                wait_until_refused(drill)
                for path in ("/.well-known/jwks.json", "/.well-known/openid-configuration", "/livez"):
                    assert httpx.get(node.address + path).status_code == 200, "what writes nothing goes on"
                assert is_active(world, before), "whether a token lives is answered"
                revoked = as_client(world, "/revoke", token=before)
                filler.unlink()
                slowest = max(slowest, wait_until_ready(world))
                # What was answered 503 may be done or not; what was answered 200 must be.
                assert revoked.status_code in (200, 503)
                assert not (revoked.status_code == 200 and is_active(world, before))
                before = grant(world)
                drill.acknowledge(10)
        drill.report(outages=ROUNDS, heals=slowest)
        drill.assert_sound(world, load)


def as_client(world: World, path: str, **form: str) -> httpx.Response:
    """Send a form as the load's client."""
    auth = (world.client_id, world.client_secret)
    return httpx.post(world.nodes[0].address + path, data=form, auth=auth, timeout=15)


def grant(world: World) -> str:
    """Return an access token of the client's own."""
    return str(as_client(world, "/token", grant_type="client_credentials").json()["access_token"])


def is_active(world: World, token: str) -> bool:
    """Ask whether a token is alive."""
    return bool(as_client(world, "/introspect", token=token).json()["active"])


def wait_until_refused(drill: Drill, number: int = 20) -> None:
    """Wait until so many operations more were refused for now."""
    entries, begun, deadline = drill.ledger.entries, len(drill.ledger.entries), time.monotonic() + 60
    while sum(entry.status == 503 for entry in entries[begun:]) < number:
        assert time.monotonic() < deadline, drill.ledger.counts()
        time.sleep(0.05)


@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_f_05_a_database_that_takes_no_writes_under_load(
    postgres_cluster: Cluster, drill: Drill, tmp_path: Path
) -> None:
    name = f"drill_{next(NUMBERS)}"
    postgres_cluster.sql(f"CREATE DATABASE {name}")
    cut = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    with new_world(tmp_path, postgres_cluster.address(name), DATABASE_TIMEOUT="1") as world:
        world.node(workers=2).start()
        with drill.load(world, 2, seed=5) as load:
            for _ in range(ROUNDS):
                drill.acknowledge()
                postgres_cluster.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
                postgres_cluster.sql(cut)
                time.sleep(0.7)
                postgres_cluster.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
                postgres_cluster.sql(cut)
                wait_until_ready(world)
            drill.acknowledge(10)
        assert any(entry.status == 503 for entry in drill.ledger.entries), "there was an outage"
        drill.assert_sound(world, load)
    postgres_cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.postgres
@pytest.mark.timeout(600)
def test_f_05_a_crash_of_the_database_server_under_load(
    postgres_cluster: Cluster, drill: Drill, tmp_path: Path
) -> None:
    name = f"drill_{next(NUMBERS)}"
    postgres_cluster.sql(f"CREATE DATABASE {name}")
    with new_world(tmp_path, postgres_cluster.address(name), DATABASE_TIMEOUT="1") as world:
        world.node(workers=2).start()
        with drill.load(world, 2, seed=6) as load:
            for _ in range(ROUNDS):
                drill.acknowledge()
                postgres_cluster.stop()
                time.sleep(0.3)
                assert not world.nodes[0].is_ready()
                postgres_cluster.start()
                wait_until_ready(world)
            drill.acknowledge(10)
        drill.assert_sound(world, load)
    postgres_cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.postgres
def test_f_05_a_worker_that_must_start_while_the_database_is_away_does_so_when_it_is_back(
    postgres_cluster: Cluster, drill: Drill, tmp_path: Path
) -> None:
    name = f"drill_{next(NUMBERS)}"
    postgres_cluster.sql(f"CREATE DATABASE {name}")
    with new_world(tmp_path, postgres_cluster.address(name), DATABASE_TIMEOUT="1") as world:
        node = world.node(workers=2)
        node.start()
        with drill.load(world, 2, seed=7) as load:
            drill.acknowledge()
            postgres_cluster.stop()
            killed = set(node.worker_pids())
            node.kill_workers(1)
            deadline = time.monotonic() + HEALS
            while "worker.postponed" not in node.log.read_text():
                node.assert_running()
                assert time.monotonic() < deadline, "another worker tries to start"
                time.sleep(0.1)
            assert killed & set(node.worker_pids()), "the one that serves is left alone"
            postgres_cluster.start()
            wait_until_ready(world)
            drill.acknowledge(10)
        drill.assert_sound(world, load)
    postgres_cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")
