"""F-01: workers are killed under load; nothing acknowledged is lost, nothing revoked lives, nothing happens twice."""

import random
import time
from pathlib import Path

from tests.drills.conftest import Drill
from tests.drills.world import new_world

RECOVERY = 10.0  # seconds within which a node serves again; on an idle machine it is below two


def test_f_01_killed_workers_lose_nothing(address: str, drill: Drill, tmp_path: Path) -> None:
    chance = random.Random(1)
    with new_world(tmp_path, address) as world:
        node = world.node(workers=2)
        node.start()
        with drill.load(world, 2, seed=1) as load:
            time.sleep(1)
            for killed in (1, 2):
                assert node.kill_workers(killed) == killed
                begun = time.monotonic()
                node.wait()
                assert time.monotonic() - begun < RECOVERY, "I7"
                time.sleep(chance.uniform(0.2, 0.6))
            node.kill()
            node.start()
            time.sleep(0.5)
        drill.assert_sound(world, load)
