"""F-02: the process dies exactly between two steps, by name; what it left is done or not done, and clients come through by asking again."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.drills.conftest import Drill
from tests.drills.world import new_world
from tests.fixtures.commands import environment

from watchword.store import faults

# Every step that tokens pass, for the operations that matter; `migration.applied` has a test of its own.
STEPS = (
    "change.made/create_grant", "change.made/redeem_code", "change.made/rotate_refresh_token", "grant.ended", "token.revoked",
    "audit.begun/refresh_token.rotated", "audit.written/refresh_token.rotated", "audit.begun/grant.ended",
    "audit.written/grant.ended", "commit.begun/redeem_code", "commit.done/redeem_code", "commit.begun/rotate_refresh_token",
    "commit.done/rotate_refresh_token", "commit.begun/end_grant", "commit.done/end_grant", "cache.moved/end_grant",
    "answer.made//token", "answer.made//revoke",
)  # fmt: skip
QUICK = (
    "change.made/redeem_code",
    "change.made/rotate_refresh_token",
    "commit.done/rotate_refresh_token",
    "answer.made//token",
)
PATIENCE = 90.0


def test_every_fail_point_is_covered_by_name() -> None:
    covered = {step.partition("/")[0] for step in STEPS}
    assert covered == faults.POINTS.keys() - {"migration.applied"}
    assert set(QUICK) <= set(STEPS)


@pytest.mark.parametrize(
    "text", ["nonsense=exit", "change.made", "change.made=explode", "change.made=exit@x"]
)
def test_what_is_no_fail_point_stops_the_start_and_is_named(tmp_path: Path, text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "watchword", "serve"],
        cwd=tmp_path, env=environment() | {"WATCHWORD_FAULT": text}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def die_at(steps: tuple[str, ...], address: str, drill: Drill, folder: Path, seed: int) -> None:
    """Let the server die at each step in turn while clients go on, then check what is left."""
    chance = random.Random(seed)
    with new_world(folder, address) as world:
        node = world.node(workers=1)
        node.start()
        with drill.load(world, 2, seed=seed) as load:
            drill.acknowledge()
            node.kill()
            for step in steps:
                node.start(wait=False, WATCHWORD_FAULT=f"{step}=exit@{chance.randint(1, 3)}")
                assert node.process is not None
                assert node.process.wait(PATIENCE) == -9, f"{step} was not met: {node.log.read_text()[-500:]}"
            node.start()
            drill.acknowledge(10)
        drill.assert_sound(world, load)


def test_f_02_a_process_that_dies_between_two_steps_leaves_no_half_of_anything(
    address: str, drill: Drill, tmp_path: Path
) -> None:
    die_at(QUICK, address, drill, tmp_path, seed=2)


@pytest.mark.drill
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(3))
def test_f_02_every_fail_point(address: str, drill: Drill, tmp_path: Path, seed: int) -> None:
    die_at(STEPS, address, drill, tmp_path, seed=10 + seed)
