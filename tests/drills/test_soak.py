"""F-24: hours of everyday use, with a worker or a node killed every few minutes and keys that rotate; nothing leaks, grows or is broken.

WATCHWORD_SOAK_MINUTES says for how long. One node is killed again and again; the other one is left alone, so that what it would
leak can be seen. Lifetimes are short, so that everything that expires does so several times over.
"""

import os
import random
import time
from pathlib import Path

import pytest
from tests.drills.checker import check
from tests.drills.conftest import Drill
from tests.drills.gauges import Pace, Sample, look, shown
from tests.drills.ledger import Ledger
from tests.drills.load import Load
from tests.drills.relying import Relying, Sceptic
from tests.drills.world import Node, World, new_world

MINUTES = float(os.environ.get("WATCHWORD_SOAK_MINUTES", "30"))
SHARE = 0.22  # of one processor, for the load and the servers together
WINDOWS = 12
KILLS, ROTATIONS = 170.0, 340.0  # seconds between two of each
FAMILY = 600  # seconds that a family of refresh tokens lives; the load forgets it earlier
LIFETIMES = {
    "REFRESH_TOKEN_LIFETIME": str(FAMILY), "SESSION_LIFETIME": "900", "SESSION_IDLE": "900",
    "AUDIT_RETENTION": "600", "SIGNING_KEY_OVERLAP": "60",
}  # fmt: skip
SAMPLE = 30
MEGABYTE = 2**20


class Resident(Sceptic):
    """A walker for hours: takes its time, forgets families before they run out, and believes no ID token that it cannot verify."""

    pace: Pace
    begun: dict[str, float]

    def step(self) -> None:
        """Wait, forget, and do one thing."""
        self.pace.wait()
        old = time.monotonic() - 0.75 * FAMILY
        self.families = [
            one for one in self.families if self.begun.setdefault(one.code, time.monotonic()) > old
        ]
        for code in self.begun.keys() - {one.code for one in self.families}:
            del self.begun[code]
        super().step()


def residents(world: World, ledger: Ledger, pace: Pace, relying: Relying) -> Load:
    """Return a load of residents."""
    load = Load(world, ledger, 0, seed=24)
    for n in range(3):
        walker = Resident(world, ledger, world.people[n], 24_000 + n)
        walker.pace, walker.relying, walker.begun = pace, relying, {}
        load.add(walker)
    return load


def harass(node: Node, chance: random.Random) -> None:
    """Kill one worker, all of them, or the node."""
    if chance.random() < 0.3:
        node.kill()
        node.start()
        return
    node.wait()
    node.kill_workers(chance.choice((1, 2)))
    node.wait()


def grown(samples: list[Sample]) -> list[str]:
    """Return what grew in the second half of the time, after everything that expires had its first round."""
    first, last = samples[len(samples) // 2 - 1], samples[-1]
    found = []
    if last.memory - first.memory > 16 * MEGABYTE:
        found.append(f"memory grew from {first.memory} to {last.memory} bytes")
    if last.descriptors - first.descriptors > 8:
        found.append(f"descriptors grew from {first.descriptors} to {last.descriptors}")
    if last.connections - first.connections > 8:
        found.append(f"connections grew from {first.connections} to {last.connections}")
    if last.wal > 64 * MEGABYTE:
        found.append(f"the log of changes takes {last.wal} bytes")
    if last.room > 16 * MEGABYTE + 4096 * last.rows:
        found.append(f"{last.rows} rows take {last.room} bytes")
    return found


@pytest.mark.drill
@pytest.mark.timeout(60 * MINUTES + 1200)
def test_f_24_hours_of_use_with_kills_and_rotations_leak_nothing(
    address: str, drill: Drill, tmp_path: Path
) -> None:
    chance, samples, kills, rotations = random.Random(24), [], 0, 0
    with new_world(tmp_path, address, people=3, **LIFETIMES) as world:
        steady, harassed = world.node(workers=2), world.node(workers=2)
        for node in world.nodes:
            node.start()
        pace, relying = Pace(world, SHARE), Relying(world)
        relying.learn()
        begun = time.monotonic()
        due = {"kill": begun + KILLS, "rotate": begun + ROTATIONS / 2, "look": begun + 60 * MINUTES / WINDOWS}
        with pace.governed(), residents(world, drill.ledger, pace, relying) as load:
            since = 0
            while time.monotonic() - begun < 60 * MINUTES:
                time.sleep(1.0)
                now = time.monotonic()
                if now > due["kill"]:
                    harass(harassed, chance)
                    kills, due["kill"] = kills + 1, now + KILLS
                if now > due["rotate"]:
                    assert world.run("key", "rotate").returncode == 0
                    rotations, due["rotate"] = rotations + 1, now + ROTATIONS
                if now > due["look"]:
                    samples.append(look(steady, world, drill.ledger, since, now - begun))
                    drill.say(shown(samples[-1]))
                    since, due["look"] = len(drill.ledger.entries), now + 60 * MINUTES / WINDOWS
        for walker in load.walkers:  # what would run out while it is looked at shows nothing
            walker.families = walker.families[-SAMPLE:]
        found = check(world, load, drill.ledger, sample=SAMPLE)
        assert not found, "\n".join(found[:20])
        drill.report(
            minutes=MINUTES,
            kills=kills,
            rotations=rotations,
            verified=relying.verified,
            kids=len(relying.kids),
        )
    assert not grown(samples), [shown(one) for one in samples]
    assert rotations < 2 or len(relying.kids) > 1, "keys rotated while tokens were verified"
