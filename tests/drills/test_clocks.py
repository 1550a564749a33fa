"""F-10: the clock of a real server jumps by thirty days and back, steps back in use, or differs between nodes.

The clock of a process is moved by libfaketime, as a machine's would be: the wall clock alone, timers go on. The judge's is right.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest
from tests.drills.conftest import HEAVY, KINDS, Drill
from tests.drills.load import Family, Walker
from tests.drills.world import Node, World, new_world
from tests.fixtures.servers import free_port
from tests.fixtures.system import absent

pytestmark = pytest.mark.faketime
HOUR, DAY = 3600, 86_400
HOUSEKEEPING = 65.0 if HEAVY else 0.0  # seconds for which a clock stays wrong, so that every job has its turn
PATHS = ("/healthz", "/readyz", "/.well-known/jwks.json", "/.well-known/openid-configuration", "/sign-in")
STEPS = 10 if HEAVY else 3


@dataclass(slots=True)
class Wrist:
    """The clock of one node: seconds that it is off, in a file that libfaketime reads at every look."""

    library: Path
    file: Path

    @property
    def variables(self) -> dict[str, str]:
        """Return what puts a process on this clock."""
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, seconds: int) -> None:
        """Jump."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        os.replace(fresh, self.file)


@pytest.fixture
def wrist(tmp_path: Path) -> Wrist:
    """A clock to be moved; skips without libfaketime."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        absent("faketime")
    folder = tmp_path / "clock"
    folder.mkdir()
    made = Wrist(found[0], folder / "off")
    made.set(0)
    return made


@pytest.fixture
def world(address: str, tmp_path: Path) -> Iterator[World]:
    """People and a client, and no node yet."""
    with new_world(tmp_path, address) as made:
        yield made


def follow(node: Node, wrist: Wrist, seconds: int) -> None:
    """Make a node's clock jump, and wait until its answers are dated so: the date is written once a second."""
    wrist.set(seconds)
    deadline = time.monotonic() + 15
    while True:
        dated = parsedate_to_datetime(httpx.get(node.address + "/healthz", timeout=15).headers["date"])
        if abs(dated.timestamp() - time.time() - seconds) < 30:
            return
        assert time.monotonic() < deadline, "timers go on when the clock jumps"
        time.sleep(0.1)


def answers_everything(node: Node, world: World) -> None:
    """A node answers what anybody asks, and gives tokens that it accepts itself."""
    with httpx.Client(base_url=node.address, timeout=15) as http:
        for path in PATHS:
            assert http.get(path).status_code == 200, path
        auth = (world.client_id, world.client_secret)
        got = http.post("/token", data={"grant_type": "client_credentials"}, auth=auth)
        assert got.status_code == 200, got.text
        asked = http.post("/introspect", data={"token": got.json()["access_token"]}, auth=auth)
        assert asked.json()["active"] is True


def grant(node: Node, world: World) -> str:
    """Return a token for the client itself."""
    auth = (world.client_id, world.client_secret)
    got = httpx.post(
        node.address + "/token", data={"grant_type": "client_credentials"}, auth=auth, timeout=15
    )
    assert got.status_code == 200, got.text
    return str(got.json()["access_token"])


def is_active(node: Node, world: World, token: str) -> bool:
    """Ask a node about a token."""
    auth = (world.client_id, world.client_secret)
    answer = httpx.post(node.address + "/introspect", data={"token": token}, auth=auth, timeout=15)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["active"])


def is_signed_in(walker: Walker, node: Node) -> bool:
    """Whether a person's session is good at a node."""
    with httpx.Client(cookies=dict(walker.http.cookies), timeout=15) as http:
        answer = http.get(node.address + "/account")
    assert answer.status_code in (200, 303), answer.text
    return answer.status_code == 200


def families(walker: Walker) -> tuple[Family, Family]:
    """Return a living family and a revoked one."""
    while len(walker.families) < 2:
        walker.get_tokens()
    alive, dead = walker.families[:2]
    answer = walker.client("revoke", "/revoke", dead.refresh, token=dead.refresh)
    assert answer.status == 200
    dead.alive = False
    return alive, dead


def refused(node: Node, world: World, family: Family) -> bool:
    """Whether a node refuses a refresh token, its access token and the code that they came from."""
    auth = (world.client_id, world.client_secret)
    form = {"grant_type": "refresh_token", "refresh_token": family.refresh}
    answer = httpx.post(node.address + "/token", data=form, auth=auth, timeout=15)
    assert answer.status_code in (200, 400), answer.text
    return answer.status_code == 400 and not is_active(node, world, family.access[-1])


def noticed(node: Node, world: World, family: Family) -> None:
    """Wait until a node knows of a revocation, which may be late by a second there and no more."""
    deadline = time.monotonic() + 1.0
    while is_active(node, world, family.access[-1]) and time.monotonic() < deadline:
        time.sleep(0.02)


@pytest.mark.timeout(1200)
def test_f_10_a_node_jumps_by_thirty_days_and_back(drill: Drill, world: World, wrist: Wrist) -> None:
    sound = world.node()
    sound.start()
    strange = Node(world, free_port(), 1, wrist.variables)  # not one of those that the load asks
    strange.start()
    try:
        watcher = Walker(world, drill.ledger, world.people[0], seed=11)
        alive, dead = families(watcher)
        follow(strange, wrist, 30 * DAY)
        time.sleep(HOUSEKEEPING)
        with drill.load(world, 2, seed=10) as load:  # on the sound node, all the while
            answers_everything(strange, world)
            late = grant(strange, world)
            assert not is_active(sound, world, late), "it would live for thirty days"
            assert refused(strange, world, dead)
            assert not is_active(strange, world, alive.access[-1]), "what has expired is refused"
            assert not is_signed_in(watcher, strange)
            drill.acknowledge()
            follow(strange, wrist, 0)
            answers_everything(strange, world)
            for node in (sound, strange):
                assert refused(node, world, dead), "nothing revoked comes back"
                assert not is_active(node, world, late)
                assert is_signed_in(watcher, node), "a jump ends no session"
            assert is_active(sound, world, alive.access[-1])
            watcher.world.nodes[:] = [strange]
            watcher.rotate(alive)
            watcher.world.nodes[:] = [sound]
            watcher.rotate(alive)
            assert not watcher.violations, "a jump ends no family"
            drill.acknowledge(10)
        drill.assert_sound(world, load)
    finally:
        strange.stop()


# In `make test` each on the database that it is mostly about: many nodes are PostgreSQL's.
@pytest.mark.parametrize("address", KINDS if HEAVY else KINDS[:1], indirect=True)
@pytest.mark.timeout(1200)
def test_f_10_the_only_clock_steps_back_an_hour_in_use(drill: Drill, world: World, wrist: Wrist) -> None:
    node = world.node(2, **wrist.variables)
    node.start()
    walker = Walker(world, drill.ledger, world.people[0], seed=12)
    alive, dead = families(walker)
    old = alive.access[-1]
    for off in (-HOUR, 0, -600, 0):
        follow(node, wrist, off)
        answers_everything(node, world)
        assert refused(node, world, dead)
        assert is_signed_in(walker, node), "a step back ends no session"
        for _ in range(STEPS):
            walker.rotate(alive)
            walker.get_tokens()
            assert is_active(node, world, walker.families[-1].access[-1])
            assert not walker.violations, "a step back ends no family, and refuses no fresh code"
        # What was issued later than it is now waits: by the right clock it might have expired.
        assert off == 0 or not is_active(node, world, old)
        time.sleep(HOUSEKEEPING)
    assert HEAVY or is_active(node, world, old), "its time has come again"
    found = [entry for entry in drill.ledger.dishonest() if entry.status]
    assert not found, found
    assert node.worker_pids()
    assert world.run("doctor", "--data").returncode == 0


@pytest.mark.parametrize("address", KINDS if HEAVY else KINDS[1:], indirect=True)
@pytest.mark.timeout(1200)
def test_f_10_two_nodes_minutes_apart(drill: Drill, world: World, wrist: Wrist) -> None:
    wrist.set(-180)
    slow = world.node(1, **wrist.variables)
    right = world.node()
    for node in (slow, right):
        node.start()
    walker = Walker(world, drill.ledger, world.people[0], seed=13)
    for first, second in ((slow, right), (right, slow)):
        for _ in range(STEPS):
            world.nodes[:] = [first]
            before = len(walker.families)
            walker.get_tokens()
            assert len(walker.families) > before, "the one gives a code and tokens"
            family = walker.families[-1]
            world.nodes[:] = [second]
            walker.rotate(family)
            assert not walker.violations, "and the other refreshes them"
            assert is_active(second, world, family.access[-1])
            assert walker.client("revoke", "/revoke", token=family.refresh).status == 200
            family.alive = False
            for node in (first, second):
                noticed(node, world, family)
                assert refused(node, world, family)
    world.nodes[:] = [slow, right]
    found = [entry for entry in drill.ledger.dishonest() if entry.status]
    assert not found, found
