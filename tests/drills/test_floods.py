"""F-11 to F-14, F-17: too many at once, too slow, too large, too much to log; others are still served, and what is too much is said."""

import asyncio
import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import httpx
import psutil
import pytest
from tests.drills.conftest import HEAVY
from tests.drills.load import hidden
from tests.drills.world import Node, World, new_world
from tests.fixtures.browser import PASSWORD
from tests.fixtures.postgres import Store
from tests.fixtures.servers import open_server, together

LONGEST = 10.0  # seconds that nobody waits for an answer, on however slow a machine the drill runs
MEGABYTE = 2**20


@pytest.mark.postgres
@pytest.mark.usefixtures("production_patience")
async def test_f_11_when_every_connection_is_stuck_the_excess_is_refused_and_health_is_not(
    postgres_store: Store, tmp_path: Path
) -> None:
    async with open_server(
        tmp_path,
        database=postgres_store.address,
        key_file=str(tmp_path / "key"),
        database_pool=3,
        database_timeout=3,
    ) as server:
        client = await server.client(access_token_format="opaque")
        assert (await server.grant(client)).status_code == 200
        stuck = await asyncpg.connect(postgres_store.address)
        async with stuck.transaction():
            await stuck.execute("LOCK TABLE access_tokens, facts IN ACCESS EXCLUSIVE MODE")
            begun = time.monotonic()
            waiting = asyncio.gather(*(server.grant(client) for _ in range(600)))
            ready = asyncio.gather(*(server.http.get("/readyz") for _ in range(20)))
            await asyncio.sleep(0.1)
            asked = time.monotonic()
            assert (await server.http.get("/livez")).status_code == 200
            assert time.monotonic() - asked < 1, "the life of the process does not hang on the pool"
            answers = await waiting
            assert {answer.status_code for answer in await ready} == {503}
            assert time.monotonic() - begun < LONGEST
            assert {answer.status_code for answer in answers} == {503}
            assert all(answer.headers["retry-after"] for answer in answers)
        await stuck.close()
        assert {
            answer.status_code for answer in await together(*(server.grant(client) for _ in range(50)))
        } == {200}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """One node of one worker."""
    with new_world(tmp_path, people=1) as world:
        made = world.node(workers=1)
        made.start()
        yield made


def memory(node: Node) -> int:
    """Return the memory of a node in bytes."""
    assert node.process is not None
    resident: int = psutil.Process(node.process.pid).memory_info().rss
    return resident


@contextlib.contextmanager
def honest(node: Node) -> Iterator[list[float]]:
    """Ask for tokens all the while; collect how long each took, and fail when one is refused."""
    took: list[float] = []
    problems: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        auth = (node.world.client_id, node.world.client_secret)
        with httpx.Client(verify=False, timeout=30) as client:
            while not stop.is_set():
                begun = time.monotonic()
                answer = client.post(
                    f"{node.address}/token", data={"grant_type": "client_credentials"}, auth=auth
                )
                took.append(time.monotonic() - begun)
                if answer.status_code != 200:
                    problems.append(answer.text)
                stop.wait(0.02)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join(60)
    assert not problems, problems[:3]
    assert took
    assert max(took) < LONGEST


def test_f_12_a_flood_of_sign_ins_starves_nobody_and_stays_within_its_memory(node: Node) -> None:
    before = memory(node)

    def sign_in(n: int) -> int:
        with httpx.Client(verify=False, base_url=node.address, timeout=60) as browser:
            form = hidden(browser.get("/sign-in").text) | {"identifier": f"nobody{n}", "password": PASSWORD}
            return browser.post("/sign-in", data=form).status_code

    with honest(node), ThreadPoolExecutor(30) as pool:
        statuses = set(pool.map(sign_in, range(400 if HEAVY else 40)))
    assert statuses <= {401, 429, 503}
    assert memory(node) - before < 150 * MEGABYTE, "one hash at a time"


def connections(node: Node, number: int, begin: bytes) -> list[socket.socket]:
    """Open connections that begin to say something and never end."""
    opened = []
    for _ in range(number):
        made = socket.create_connection(("127.0.0.1", node.port))
        made.sendall(begin)
        opened.append(made)
    return opened


def test_f_13_slow_clients_and_a_flood_of_connections_hurt_nobody(node: Node) -> None:
    number = 300 if HEAVY else 60
    before = memory(node)
    with honest(node) as took:
        opened = connections(node, number, b"POST /token HTTP/1.1\r\nhost: localhost\r\nx-slow: ")
        opened += connections(
            node, number, b"POST /token HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\na"
        )
        opened += connections(node, number, b"")
        opened += connections(
            node, number, b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 50
        )
        for _ in range(20):
            for slow in opened[:number]:
                with contextlib.suppress(OSError):
                    slow.sendall(b"a")
            time.sleep(0.05)
        for one in opened:
            one.close()
    assert len(took) > 10
    assert memory(node) - before < 50 * MEGABYTE


OVERSIZED: dict[str, Callable[[], bytes]] = {
    "a head of 1 MB": lambda: b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * MEGABYTE + b"\r\n\r\n",
    "ten thousand headers": lambda: b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 10_000 + b"\r\n",
    "a target of 1 MB": lambda: b"GET /" + b"a" * MEGABYTE + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a body said to be 10 GB": lambda: (
        b"POST /token HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000000\r\n\r\n"
    ),
    "a chunk said to be endless": lambda: (
        b"POST /token HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffffffffff\r\n"
        + b"a" * MEGABYTE
    ),
}


def test_f_14_oversized_heads_and_bodies_are_refused_at_once_and_kept_nowhere(node: Node) -> None:
    before = memory(node)
    with honest(node):
        for name, make in OVERSIZED.items():
            for _ in range(10):
                with socket.create_connection(("127.0.0.1", node.port), timeout=LONGEST) as connection:
                    with contextlib.suppress(OSError):
                        connection.sendall(make())
                    with contextlib.suppress(ConnectionError):
                        answer = connection.recv(12)
                        assert answer == b"" or b"400" <= answer[9:12] < b"500", (name, answer)
    assert memory(node) - before < 50 * MEGABYTE


def test_f_17_a_log_that_nobody_reads_stops_no_request_and_loses_no_audit_event(tmp_path: Path) -> None:
    with new_world(tmp_path, people=1) as world:
        made = world.node(workers=1)
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 8192)
        made.process = start_with_log(made, writing)
        os.close(writing)
        made.wait()
        times = 1000 if HEAVY else 300
        with httpx.Client(base_url=made.address, timeout=LONGEST) as client:
            for n in range(times):
                form = {f"{n} " + "\N{SNOWMAN}" * 200: ["once", "twice"]}
                assert client.post("/token", data=form).status_code == 400
            auth = (world.client_id, world.client_secret)
            for _ in range(20):
                form = {"grant_type": "client_credentials"}
                token = client.post("/token", data=form, auth=auth).json()["access_token"]
                assert client.post("/revoke", data={"token": token}, auth=auth).status_code == 200
        lines = drain(reading)
        with httpx.Client(base_url=made.address, timeout=LONGEST) as client:
            client.post("/token", data={"scope": ["once", "twice"]})
        lines += drain(reading)
        os.close(reading)
        made.stop()
        assert any(b'"log.lost"' in line for line in lines), "that lines were lost is said"
        assert all(len(line) < 5_000 for line in lines)
        trail = world.run("audit", "--name", "access_token.revoked", "--json").stdout
        assert trail.count('"access_token.revoked"') == 20


def start_with_log(node: Node, writing: int) -> "subprocess.Popen[bytes]":
    """Start a node whose log goes into a pipe."""
    from tests.fixtures.servers import environment

    return subprocess.Popen(
        [sys.executable, "-m", "watchword", "serve", "--port", str(node.port), "--issuer", node.world.issuer],
        cwd=node.world.folder,
        env=environment() | node.world.variables,
        stderr=writing,
    )


def drain(reading: int) -> list[bytes]:
    """Return the lines that are in a pipe now."""
    os.set_blocking(reading, False)
    found = b""
    with contextlib.suppress(BlockingIOError):
        while part := os.read(reading, 65_536):
            found += part
    return found.splitlines()


def test_a_stop_lets_requests_in_hand_finish(tmp_path: Path) -> None:
    with new_world(tmp_path, people=1) as world:
        made = world.node(workers=2)
        made.start(WATCHWORD_FAULT="answer.made//sign-in=delay:1")
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(httpx.get, f"{made.address}/sign-in", timeout=30) for _ in range(2)]
            deadline = time.monotonic() + LONGEST
            while taken(made) < len(asked) and time.monotonic() < deadline:
                time.sleep(0.01)
            begun = time.monotonic()
            assert made.stop() in (0, -15, 143)
            assert {answer.result().status_code for answer in asked} == {200}
        assert time.monotonic() - begun < 2 * LONGEST
        assert no_worker_is_left(world)


def taken(node: Node) -> int:
    """Return how many connections of clients the workers have taken."""
    assert node.process is not None
    return sum(
        one.status == "ESTABLISHED"
        for pid in node.worker_pids()
        for one in psutil.Process(pid).net_connections("tcp")
    )


def no_worker_is_left(world: World) -> bool:
    """Whether nobody listens on the ports of the nodes any more."""
    for node in world.nodes:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", node.port)) == 0:
                return False
    return True
