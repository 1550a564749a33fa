"""F-08, F-09: a three-node cluster loses its primary or its etcd under load, in every way; nothing acknowledged is lost, and it heals by itself."""

import contextlib
import itertools
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from tests.drills import patroni
from tests.drills.conftest import Drill
from tests.drills.load import Load, Walker
from tests.drills.losses import LOSSES
from tests.drills.patroni import LOOP_WAIT, TTL, Member, Patroni, signal_all
from tests.drills.world import Node, World, new_world
from tests.drills.writers import Writers

ROUNDS = int(os.environ.get("WATCHWORD_DRILL_LOSSES", "3"))  # of each kind
FOUND_WITHIN = 10.0  # seconds in which our nodes find the primary that there is
NUMBERS = itertools.count()
NEEDS_NETWORK = {"cut off", "isolated"}
# What its Patroni cannot be trusted with unless a watchdog resets the machine (see docs/reliability.md).
NEEDS_FENCE = {"paused machine", "paused postgres", "cut off", "isolated"}


class Probe:
    """Asks every 200 ms whether a write can be committed, and notes for how long not."""

    def __init__(self, node: Node) -> None:
        self.outages: list[float] = []
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        down: float | None = None
        while not self._stop.wait(0.2):
            ready = self._node.is_ready()
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


@pytest.fixture(scope="module", params=["watchdog", "no watchdog"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Patroni]:
    """A cluster whose machines have a watchdog, and one whose machines have none."""
    with patroni.running(watchdog=request.param == "watchdog") as made:
        yield made


@dataclass(slots=True)
class Trial:
    """A world on a cluster, whose primary is lost again and again; after each loss everything is checked."""

    cluster: Patroni
    world: World
    drill: Drill
    outages: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    ended: list[tuple[Walker, str]] = field(default_factory=list)
    writes: int = 0

    def lose(self, lose: Callable[[Patroni, Member], None], seed: int) -> None:
        """Lose the primary once, under load, and look for whatever may be wrong afterwards."""
        chance = random.Random(seed)
        with contextlib.ExitStack() as stack:
            writers = stack.enter_context(Writers(self.cluster))
            load = stack.enter_context(self.drill.load(self.world, 3, seed=seed))
            probes = [stack.enter_context(Probe(node)) for node in self.world.nodes]
            self.drill.acknowledge(30)
            time.sleep(chance.uniform(0, 2))
            lose(self.cluster, self.cluster.wait_until_safe(180))
            self._wait_until_healed()
            for node in self.world.nodes:
                node.wait()
            self.drill.acknowledge(20)
        outages = [outage for probe in probes for outage in probe.outages]
        self.outages += outages
        self.gaps.append(writers.longest_gap())
        self.late.append(max(outages, default=0.0) - self.gaps[-1])
        self.writes += len(writers.written)
        self.found += writers.violations(self.cluster.wait_until_safe(60))
        self._check(load)

    def _wait_until_healed(self) -> None:
        """Wait for a safe cluster; where Patroni makes none, help it, and look for what was lost all the same."""
        try:
            self.cluster.wait_until_safe(120)
        except AssertionError:
            self.found.append(f"Patroni {self.cluster.version} needed hands")
            self.cluster.help_out()
            self.cluster.wait_until_safe(120)

    def _check(self, load: Load) -> None:
        """Check this load, and that what earlier checks ended has stayed dead."""
        for walker, token in self.ended[-60:]:
            walker.must_be("check.ended", token, False)
            self.found += walker.violations
            walker.violations = []
        self.found += self.drill.violations(self.world, load)
        for walker in load.walkers:
            for family in [family for family in walker.families if family.access][-10:]:
                answer = walker.client("check.ended", "/introspect", token=family.access[-1])
                if answer.document.get("active") is False:
                    self.ended.append((walker, family.access[-1]))
        if self.found:
            self.report(len(self.gaps))
        assert not self.found, "\n".join(f"{n} times: {what}" for what, n in Counter(self.found).items())

    def report(self, losses: int) -> None:
        """Say what was seen, for docs/reliability.md; fail where our nodes were away for longer than their database."""
        outages, entries = sorted(self.outages), self.drill.ledger.entries
        refused = max(
            (entry.t_answer - entry.t_sent for entry in entries if entry.status == 503), default=0.0
        )
        self.drill.report(
            losses=losses, writes=self.writes, outages=len(outages), median=outages[len(outages) // 2] if outages else 0.0,
            longest=max(outages, default=0.0), cluster=max(self.gaps), later=max(self.late), refused_within=refused,
            resets=sum(one.resets for one in self.cluster.watchdogs), load=os.getloadavg()[1],
        )  # fmt: skip
        assert max(self.late) < FOUND_WITHIN, (self.outages, self.gaps)


@contextlib.contextmanager
def trial(cluster: Patroni, drill: Drill, folder: Path) -> Iterator[Trial]:
    """Run two nodes on a database of their own."""
    name = f"drill_{next(NUMBERS)}"
    cluster.sql(cluster.wait_until_safe(60), f"CREATE DATABASE {name}")
    with new_world(
        folder, cluster.address(name), people=4,
        REFRESH_TOKEN_GRACE="60", DATABASE_TIMEOUT="3", ACCESS_TOKEN_LIFETIME="3600",
    ) as world:  # fmt: skip
        world.grace = 50.0
        for _ in range(2):
            world.node(workers=1).start()
        yield Trial(cluster, world, drill)
        assert all(psutil.pid_exists(node.process.pid) for node in world.nodes if node.process), (
            "no restart was needed"
        )


@pytest.mark.drill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("loss", LOSSES)
def test_f_08_the_primary_is_lost_under_load(
    cluster: Patroni, drill: Drill, tmp_path: Path, loss: str
) -> None:
    if loss in NEEDS_FENCE and not (cluster.has_watchdog or cluster.has_fair_lock):
        pytest.skip(
            f"Patroni {cluster.version} lets a primary that was paused take the lead back: it needs a watchdog"
        )
    if loss in NEEDS_NETWORK and not cluster.machines.name:
        pytest.skip("cutting a network needs root, iproute2 and iptables")
    with trial(cluster, drill, tmp_path) as tried:
        for n in range(ROUNDS):
            tried.lose(LOSSES[loss], seed=80 + n)
        tried.report(ROUNDS)


def lose_etcd(cluster: Patroni, _primary: Member) -> None:
    """Two of three etcd are gone for longer than the lease, and come back."""
    for member in cluster.members[:2]:
        signal_all(cluster.programs(member, "etcd"), signal.SIGKILL)
    time.sleep(TTL + 2 * LOOP_WAIT)
    for member in cluster.members[:2]:
        cluster.run_etcd(member)
    time.sleep(LOOP_WAIT)


@pytest.mark.drill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("failsafe", [False, True], ids=["without failsafe_mode", "with failsafe_mode"])
def test_f_09_most_of_etcd_is_lost_under_load(drill: Drill, tmp_path: Path, failsafe: bool) -> None:
    with patroni.running(failsafe=failsafe) as cluster, trial(cluster, drill, tmp_path) as tried:
        for n in range(ROUNDS):
            tried.lose(lose_etcd, seed=90 + n)
        tried.report(ROUNDS)
        # A primary that reaches every member goes on without etcd only where failsafe_mode says so.
        assert not failsafe or max(tried.outages, default=0.0) < TTL / 2, tried.outages
        assert failsafe or max(tried.outages) > LOOP_WAIT, tried.outages
