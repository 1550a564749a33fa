"""F-04, F-05: the disk fills up or the database takes no writes, under load; no lies meanwhile, and no hands to heal it."""

import resource
import time
from pathlib import Path

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
