"""F-01: workers are killed under load; nothing acknowledged is lost, nothing revoked lives, nothing happens twice."""

import random
import signal
import time
from pathlib import Path

import psutil
import pytest
from tests.drills.conftest import HEAVY, KINDS, Drill
from tests.drills.world import Node, new_world, send


def kill(node: Node, workers: int) -> float:
    """Kill some workers; return after how many seconds the node serves again."""
    node.wait()
    while not node.kill_workers(workers):
        time.sleep(0.02)
    begun = time.monotonic()
    node.wait()
    return time.monotonic() - begun


def test_f_01_killed_workers_lose_nothing(address: str, drill: Drill, tmp_path: Path) -> None:
    with new_world(tmp_path, address) as world:
        node = world.node(workers=2)
        node.start()
        with drill.load(world, 2, seed=1) as load:
            for workers in (1, 2):
                drill.acknowledge()
                kill(node, workers)
            drill.acknowledge()
            node.kill()
            node.start()
            drill.acknowledge(10)
        drill.assert_sound(world, load)


@pytest.mark.parametrize("address", KINDS if HEAVY else KINDS[:1], indirect=True)
def test_f_01_workers_end_with_their_supervisor_and_leave_the_port_to_the_next(
    address: str, tmp_path: Path
) -> None:
    with new_world(tmp_path, address) as world:
        node = world.node(workers=2)
        node.start()
        workers = [psutil.Process(pid) for pid in node.worker_pids()]
        assert len(workers) == 2
        assert node.process is not None
        send(node.process.pid, signal.SIGKILL)
        node.process.wait(10)
        _gone, left = psutil.wait_procs(workers, timeout=60)
        assert not left
        node.start()


@pytest.mark.drill
@pytest.mark.timeout(3600)
def test_f_01_two_hundred_kills(address: str, drill: Drill, tmp_path: Path) -> None:
    """Two nodes of two workers each; one worker or all of them, or a whole node, two hundred times."""
    chance, killed, recoveries = random.Random(2), 0, []
    # On a slow machine the kills alone take as long as an access token lives by default.
    with new_world(tmp_path, address, people=8, ACCESS_TOKEN_LIFETIME="3600") as world:
        nodes = [world.node(workers=2) for _ in range(2)]
        for node in nodes:
            node.start()
        with drill.load(world, 4, seed=3) as load:
            while killed < 200:
                node = chance.choice(nodes)
                if chance.random() < 0.1:
                    node.kill()
                    recoveries.append(node.start())
                    killed += 3
                else:
                    workers = chance.choice((1, 1, 2))
                    recoveries.append(kill(node, workers))
                    killed += workers
                time.sleep(chance.uniform(0.1, 0.8))
        drill.assert_sound(world, load)
    recoveries.sort()
    drill.report(kills=killed, median=recoveries[len(recoveries) // 2], longest=recoveries[-1])
