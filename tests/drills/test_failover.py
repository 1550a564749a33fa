"""F-08: the primary of a three-node cluster is lost under load, again and again; nothing acknowledged is lost, and it heals without hands."""

import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.drills import patroni
from tests.drills.conftest import Drill
from tests.drills.patroni import LOOP_WAIT, TTL, Member, Patroni
from tests.drills.world import World, new_world, send

FAILOVERS = 15
LONGEST = TTL + 2 * LOOP_WAIT + 10.0


class Probe:
    """Asks every 200 ms whether a write can be committed, and notes for how long not."""

    def __init__(self, world: World) -> None:
        self.outages: list[float] = []
        self._world = world
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        down: float | None = None
        while not self._stop.wait(0.2):
            ready = self._world.nodes[0].is_ready()
            if not ready and down is None:
                down = time.monotonic()
            elif ready and down is not None:
                self.outages.append(time.monotonic() - down)
                down = None

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)


def lose_machine(cluster: Patroni, member: Member) -> None:
    """The machine is gone at once, and comes back later."""
    cluster.kill(member)
    wait_for_another(cluster, member)
    cluster.run(member)


def lose_postgres(cluster: Patroni, member: Member) -> None:
    """Only PostgreSQL dies; its Patroni starts it again or gives the lead away."""
    send(cluster.postmaster(member), signal.SIGKILL)


def wait_for_another(cluster: Patroni, member: Member) -> None:
    """Wait until another member has the lead."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        primary = next(
            (
                one
                for one in cluster.members
                if one is not member and one.state().get("role") in ("master", "primary")
            ),
            None,
        )
        if primary is not None:
            return
        time.sleep(0.3)
    raise AssertionError("nobody took the lead")


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_f_08_the_primary_is_lost_under_load(drill: Drill, tmp_path: Path) -> None:
    faults: list[Callable[[Patroni, Member], None]] = [lose_machine, lose_postgres]
    chance = random.Random(8)
    with (
        patroni.running() as cluster,
        new_world(
            tmp_path, cluster.address, people=4, REFRESH_TOKEN_GRACE="60", DATABASE_TIMEOUT="3"
        ) as world,
    ):
        world.grace = 50.0
        for _ in range(2):
            world.node(workers=1).start()
        with drill.load(world, 3, seed=8) as load, Probe(world) as probe:
            for n in range(FAILOVERS):
                time.sleep(chance.uniform(1, 3))
                primary = cluster.wait_until_safe(180)
                faults[n % len(faults)](cluster, primary)
                cluster.wait_until_safe(180)
            for node in world.nodes:
                node.wait()
            time.sleep(2)
        assert probe.outages, "there was an outage"
        assert max(probe.outages) < LONGEST, probe.outages
        assert all(psutil.pid_exists(node.process.pid) for node in world.nodes if node.process), (
            "no restart was needed"
        )
        drill.assert_sound(world, load)
    outages = sorted(probe.outages)
    drill.report(
        failovers=FAILOVERS, outages=len(outages), median=outages[len(outages) // 2], longest=outages[-1]
    )
