"""F-22: workers find no memory; they say so, are replaced, and nothing that they acknowledged is lost.

The kernel's own way out, SIGKILL for one of them, is F-01. Here memory is denied (RLIMIT_AS) while slow clients hold all that there is.
"""

import contextlib
import errno
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from tests.drills.conftest import Drill
from tests.drills.load import hidden
from tests.drills.test_floods import LONGEST
from tests.drills.world import Node, new_world
from tests.fixtures.browser import PASSWORD
from tests.fixtures.servers import Server

ROUNDS = 10
PATIENCE = 60.0
FORM = b"application/x-www-form-urlencoded"


def squeeze(pids: list[int]) -> None:
    """Let workers have no more memory than they have now."""
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            size = psutil.Process(pid).memory_info().vms
            resource.prlimit(pid, resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))


@contextlib.contextmanager
def held(node: Node, number: int) -> Iterator[None]:
    """Hold bodies that are all but complete."""
    head = (
        b"POST /token HTTP/1.1\r\nhost: localhost\r\ncontent-type: %b\r\ncontent-length: 255000\r\n\r\n"
        % FORM
    )
    with contextlib.ExitStack() as stack:
        for _ in range(number):
            with contextlib.suppress(OSError):
                made = stack.enter_context(socket.create_connection(("127.0.0.1", node.port), timeout=2))
                made.sendall(head + b"a" * 254_000)
        yield


def sign_in(node: Node, person: str) -> int:
    """Sign in with the right password; return the status, 0 when nothing came."""
    with (
        contextlib.suppress(httpx.HTTPError),
        httpx.Client(base_url=node.address, timeout=LONGEST) as browser,
    ):
        page = browser.get("/sign-in")
        if page.status_code == 200:
            form = hidden(page.text) | {"identifier": person, "password": PASSWORD}
            return browser.post("/sign-in", data=form).status_code
        return page.status_code
    return 0


def exhaust(node: Node, people: list[str]) -> tuple[set[int], float]:
    """Take all memory until a worker was replaced; return what people were answered meanwhile, and how long it took."""
    before, begun = node.worker_pids(), time.monotonic()
    squeeze(before)
    answers: set[int] = set()
    with held(node, 400), ThreadPoolExecutor(4) as pool:
        while set(before) <= set(node.worker_pids()):
            assert time.monotonic() - begun < PATIENCE, "a worker without memory is replaced"
            answers.update(pool.map(sign_in, [node] * 4, people * 2))
    node.wait()
    return answers, time.monotonic() - begun


@pytest.mark.drill
@pytest.mark.timeout(1200)
def test_f_22_workers_without_memory_say_so_and_are_replaced(
    address: str, drill: Drill, tmp_path: Path
) -> None:
    took = []
    with new_world(tmp_path, address, ACCESS_TOKEN_LIFETIME="3600") as world:
        node = world.node(workers=2)
        node.start()
        with drill.load(world, 2, seed=22) as load:
            for _ in range(ROUNDS):
                drill.acknowledge()
                answers, seconds = exhaust(node, world.people)
                assert answers <= {0, 303, 429, 503}, answers
                took.append(seconds)
            drill.acknowledge(10)
        drill.assert_sound(world, load)
        assert '"memory.exhausted"' in node.log.read_text()
    drill.report(rounds=ROUNDS, longest=max(took))


COMPUTE = """
import os, resource, sys
from watchword.credentials import password
right = sys.argv[1]
reading, writing = os.pipe()
if not os.fork():  # what hashing takes and gives back would be there for the next hash
    os.write(writing, password.hash_password(right, bytes(16)).encode())
    os._exit(0)
stored = os.read(reading, 500).decode()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
foreign = "$scrypt$ln=15,r=8,p=1$c2FsdA$" + "A" * 43
for ask in (
    lambda: password.verify_password(stored, right),
    lambda: password.hash_password(right, bytes(16)),
    lambda: password.verify_password(foreign, right),
):
    try:
        sys.exit(f"answered {ask()}")
    except MemoryError:
        pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only here the limit is kept")
def test_f_22_a_right_password_is_not_called_wrong_for_want_of_memory() -> None:
    command = [sys.executable, "-c", COMPUTE, PASSWORD]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3 * LONGEST)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "error", [MemoryError(), OSError(errno.ENOMEM, "x"), RuntimeError("can't start new thread")], ids=repr
)
@pytest.mark.parametrize("path", ["/token", "/sign-in"])
async def test_f_22_what_fails_for_want_of_memory_is_to_be_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, error: Exception, path: str
) -> None:
    client = await server.client()
    assert (await server.grant(client)).status_code == 200

    def exhausted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(server.runtime.keyring, "signing_key", exhausted)
    monkeypatch.setattr("watchword.pages.render.render", exhausted)
    answer = await (server.grant(client) if path == "/token" else server.http.get(path))
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert answer.headers["retry-after"]
