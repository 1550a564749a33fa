"""F-03, F-21, F-25: many at once over processes and nodes, a node that sleeps, clients that hang up; what may happen once happens once."""

import base64
import select
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import httpx
import pytest
from tests.drills.conftest import HEAVY, KINDS, Drill, fresh_address
from tests.drills.load import VERIFIER, Family, Walker
from tests.drills.world import REDIRECT, Node, World, new_world, send

ROUNDS = 60 if HEAVY else 4
AT_ONCE = 16
LATE = 1.0
HTTP = httpx.Client(timeout=30)


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two nodes of two workers each on one database."""
    folder = tmp_path_factory.mktemp("races")
    with (
        fresh_address(request.param, folder, request) as address,
        new_world(folder, address, people=1) as made,
    ):
        for _ in range(2):
            made.node(workers=2).start(wait=False)
        for node in made.nodes:
            node.wait()
        yield made


def many(world: World, path: str, form: dict[str, str]) -> list[httpx.Response]:
    """Send one form many times at once, over both nodes."""
    auth = (world.client_id, world.client_secret)

    def one(n: int) -> httpx.Response:
        return HTTP.post(world.nodes[n % 2].address + path, data=form, auth=auth)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(one, range(AT_ONCE)))


def is_active(world: World, node: Node, token: str) -> bool:
    """Ask one node whether a token is alive."""
    auth = (world.client_id, world.client_secret)
    answer = HTTP.post(f"{node.address}/introspect", data={"token": token}, auth=auth)
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["active"])


def family(walker: Walker) -> Family:
    """Return a fresh family of tokens."""
    before = len(walker.families)
    while len(walker.families) == before:
        walker.get_tokens()
    return walker.families[-1]


def test_f_03_exactly_one_of_many_redemptions_wins_over_processes_and_nodes(
    world: World, drill: Drill
) -> None:
    walker = Walker(world, drill.ledger, world.people[0], 3)
    family(walker)
    for _ in range(ROUNDS):
        code = walker.authorize()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT,
            "code_verifier": VERIFIER,
        }
        answers = many(world, "/token", form)
        assert sorted(answer.status_code for answer in answers) == [200] + [400] * (AT_ONCE - 1)
        won = next(answer.json() for answer in answers if answer.status_code == 200)
        deadline = time.monotonic() + LATE
        while any(is_active(world, node, won["access_token"]) for node in world.nodes):
            assert time.monotonic() < deadline, "a code that was presented twice ends what it bought"


def test_f_03_many_refreshes_at_once_leave_one_descendant(world: World, drill: Drill) -> None:
    walker = Walker(world, drill.ledger, world.people[0], 4)
    for _ in range(ROUNDS):
        token = family(walker).refresh
        answers = many(world, "/token", {"grant_type": "refresh_token", "refresh_token": token})
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert world.run("doctor", "--data").returncode == 0


def test_f_03_after_a_revocation_no_refresh_gives_life(world: World, drill: Drill) -> None:
    """RT-06 over two nodes: seven refreshes against one revocation of the same token."""
    walker = Walker(world, drill.ledger, world.people[0], 5)
    auth = (world.client_id, world.client_secret)
    for _ in range(ROUNDS):
        known = family(walker)

        def one(n: int, token: str = known.refresh) -> httpx.Response:
            if n == 3:
                return HTTP.post(
                    world.nodes[0].address + "/revoke", data={"token": token}, auth=auth, timeout=30
                )
            form = {"grant_type": "refresh_token", "refresh_token": token}
            return HTTP.post(world.nodes[n % 2].address + "/token", data=form, auth=auth)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(one, range(8)))
        assert answers[3].status_code == 200
        assert {answer.status_code for answer in answers} <= {200, 400}
        made = [answer.json() for n, answer in enumerate(answers) if n != 3 and answer.status_code == 200]
        time.sleep(LATE)
        for token in [known.access[0], *(one["access_token"] for one in made)]:
            assert not any(is_active(world, node, token) for node in world.nodes)
        for token in {known.refresh, *(one["refresh_token"] for one in made)}:
            form = {"grant_type": "refresh_token", "refresh_token": token}
            assert HTTP.post(world.nodes[1].address + "/token", data=form, auth=auth).status_code == 400


def test_f_21_a_node_that_wakes_serves_nothing_that_was_revoked_meanwhile(world: World, drill: Drill) -> None:
    walker = Walker(world, drill.ledger, world.people[0], 6)
    awake, sleeper = world.nodes
    auth = (world.client_id, world.client_secret)
    for _ in range(2 if not HEAVY else 20):
        token = family(walker).access[0]
        for _ in range(6):
            assert is_active(world, sleeper, token), "every worker of it remembers the token as good"
        for pid in sleeper.worker_pids():
            send(pid, signal.SIGSTOP)
        revoked = HTTP.post(f"{awake.address}/revoke", data={"token": token}, auth=auth)
        assert revoked.status_code == 200
        time.sleep(LATE)
        for pid in sleeper.worker_pids():
            send(pid, signal.SIGCONT)
        assert not any(is_active(world, sleeper, token) for _ in range(6))


@pytest.mark.parametrize("hangs_up", ["at once", "when the answer is there"])
def test_f_25_a_client_that_hangs_up_gets_its_successor_when_it_asks_again(
    world: World, drill: Drill, hangs_up: str
) -> None:
    """It uses that at once as well, so that what it gave up may be worked on when that is two generations old."""
    walker = Walker(world, drill.ledger, world.people[0], 7)
    known = family(walker)
    basic = base64.b64encode(f"{world.client_id}:{world.client_secret}".encode()).decode()
    for n in range(200 if HEAVY else 20):
        body = urlencode({"grant_type": "refresh_token", "refresh_token": known.refresh})
        head = (
            f"POST /token HTTP/1.1\r\nhost: localhost\r\nauthorization: Basic {basic}\r\n"
            f"content-type: application/x-www-form-urlencoded\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", world.nodes[n % 2].port)) as torn:
            torn.sendall((head + body).encode())
            if hangs_up == "when the answer is there":
                select.select([torn], [], [], 30)  # nobody reads it
        walker.rotate(known)
        assert known.certain, walker.violations
    assert world.run("doctor", "--data").returncode == 0
    for old in known.rotated[-3:]:
        answer = walker.client("check.rotated", "/token", old, grant_type="refresh_token", refresh_token=old)
        assert answer.status in (200, 400)
