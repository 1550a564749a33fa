"""F-20: signing keys rotate and are withdrawn while workers die, the one that is asked in the middle of it; no token fails to verify.

Session cookies are random values of which a digest is kept. The master key is exchanged in `tests/flows/test_master_key_rotation.py`.
"""

import contextlib
import random
import subprocess
import time
from pathlib import Path

import httpx
import pytest
from tests.drills.conftest import HEAVY, KINDS, Drill
from tests.drills.relying import ALGORITHMS, Relying, published, sceptics
from tests.drills.world import Node, World, new_world

from watchword.jose import jws

STEPS = (
    "commit.done/rotate_key",
    "audit.written/key.rotated",
    "commit.begun/rotate_key",
    "cache.moved/rotate_key",
    "",
)
LATE, PATIENCE = 2.0, 60.0
ROUNDS = 5 if HEAVY else 1


def keys_of(node: Node) -> list[dict[str, str]]:
    """Return the signing keys with their states, by the admin API."""
    headers = {"authorization": f"Bearer {node.world.admin_token}"}
    got = httpx.get(node.address + "/api/v1/keys", headers=headers, timeout=15).raise_for_status()
    return [key for key in got.json()["keys"] if key["algorithm"] == "ES256"]


def current(node: Node) -> str:
    """Return which key signs."""
    return next(key["kid"] for key in keys_of(node) if key["state"] == "current")


def change(asked: Node, sound: Node, path: str) -> None:
    """Ask one node for a change, which may die of it; ask again until another one sees that it was made."""
    before, deadline = current(sound), time.monotonic() + PATIENCE
    while current(sound) == before:
        assert time.monotonic() < deadline, "the change is made in the end"
        headers = {"authorization": f"Bearer {asked.world.admin_token}"}
        try:
            body = {"algorithm": "ES256"} if path.endswith("rotate") else None
            httpx.post(asked.address + path, headers=headers, json=body, timeout=15)
        except httpx.HTTPError:
            assert asked.process is not None
            with contextlib.suppress(subprocess.TimeoutExpired):
                asked.process.wait(10)
                asked.start()


def publish_for_long(world: World) -> None:
    """Make the next key as old as it must be to sign; relying parties here keep the copy that they took when it was new."""
    world.sql("UPDATE signing_keys SET created_at = created_at - 400 WHERE activates_at IS NULL")


def learn_everywhere(world: World, relying: Relying, number: int) -> None:
    """Wait until every node publishes so many keys of the algorithm, then take a copy of each."""
    deadline = time.monotonic() + LATE
    for node in world.nodes:
        node.wait()
        while len([key for key in published(node.address)[0] if key.alg == "ES256"]) < number:
            assert time.monotonic() < deadline, "every node publishes the next key soon"
            time.sleep(0.02)
    relying.learn()


def grant(node: Node, client: tuple[str, str]) -> str:
    """Return a JWT for a client."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            got = httpx.post(
                node.address + "/token", data={"grant_type": "client_credentials"}, auth=client, timeout=15
            )
        except httpx.HTTPError:
            got = None
        if got is not None and got.status_code == 200:
            return str(got.json()["access_token"])
        assert time.monotonic() < deadline, got
        time.sleep(0.05)


def assert_good(world: World, client: tuple[str, str], tokens: list[str], *, active: bool = True) -> None:
    """Show that tokens verify by what every node publishes, and that every node says so; or that neither is so."""
    for node in world.nodes:
        keys, _ = published(node.address)
        for token in tokens:
            got = httpx.post(node.address + "/introspect", data={"token": token}, auth=client, timeout=15)
            assert got.json()["active"] is active, jws.peek(token).kid
            assert (jws.peek(token).kid in {key.kid for key in keys}) is active
            if active:
                jws.verify(token, keys, ALGORITHMS)


@pytest.mark.parametrize("address", KINDS if HEAVY else KINDS[:1], indirect=True)
@pytest.mark.timeout(3600)
def test_f_20_keys_rotate_while_workers_are_killed(address: str, drill: Drill, tmp_path: Path) -> None:
    chance, tokens = random.Random(20), []
    # A slow machine may take longer for this than tokens live.
    with new_world(tmp_path, address, ACCESS_TOKEN_LIFETIME="86400") as world:
        client = world.add_client(
            name="of JWTs", grant_types=["client_credentials"], scope="orders:read introspect"
        )
        asked, sound = world.node(), world.node(workers=2)
        for node in world.nodes:
            node.start()
        relying = Relying(world, clock=lambda: 0.0)  # copies that are taken when told, and kept
        relying.learn()
        with sceptics(world, drill.ledger, relying, 2, seed=20) as load:
            for number in range(ROUNDS):
                step = STEPS[number % len(STEPS)]
                asked.kill()
                asked.start(**({"WATCHWORD_FAULT": f"{step}=exit"} if step else {}))
                publish_for_long(world)
                sound.kill_workers(chance.choice((1, 2)) if HEAVY else 1)
                sound.wait()
                change(asked, sound, "/api/v1/keys/rotate")
                tokens += [grant(node, client) for node in world.nodes]
                assert not (fault := relying.find_fault(tokens[-1])), fault
                learn_everywhere(world, relying, number + 3)
                drill.acknowledge(10)
            assert_good(world, client, tokens[-40:])
            withdrawn = current(sound)
            asked.kill()
            asked.start(WATCHWORD_FAULT="commit.done/revoke_key=exit")
            change(asked, sound, f"/api/v1/keys/{withdrawn}/revoke")
            time.sleep(LATE)
            dead = [token for token in tokens if jws.peek(token).kid == withdrawn]
            assert dead
            assert_good(world, client, dead, active=False)
            fresh = [grant(node, client) for node in world.nodes]
            assert not any(relying.find_fault(token) for token in fresh), "its successor was published before"
            assert_good(world, client, fresh)
            drill.acknowledge(10)
        drill.assert_sound(world, load)
        kinds = [key["state"] for key in keys_of(sound)]
        assert (kinds.count("current"), kinds.count("next")) == (1, 1)
    drill.report(rotations=ROUNDS, verified=relying.verified, kids=len(relying.kids))
