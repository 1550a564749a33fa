"""A client on event loops: what belongs to a loop ends with it, and tasks that give up take nothing from others."""

import asyncio
import gc
import socket
import threading
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from watchword.client import ApiToken, HttpxAuth, Unreachable


class Slow:
    """A source of a program's own, for whose tokens tasks have to wait."""

    def check(self, address: str) -> None:
        """Go anywhere."""

    def is_ready(self) -> bool:
        """Have nothing at hand."""
        return False

    def present(self, method: str, address: str, since: float | None = None) -> dict[str, str]:
        """Take a moment, so that one task waits for the other."""
        time.sleep(0.01)
        return {"authorization": "Bearer hunter2"}

    def heard(self, address: str, status: int, headers: Mapping[str, str], sent: str) -> bool:
        """Learn nothing."""
        return False


def test_an_event_loop_is_forgotten_when_it_has_ended() -> None:
    auth, loops = HttpxAuth(Slow()), []

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.headers["authorization"] == "Bearer hunter2" else 401)

    async def ask() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), auth=auth) as client:
            answers = await asyncio.gather(*(client.get("https://api.example.com/") for _ in range(3)))
        assert [one.status_code for one in answers] == [200] * 3

    for _ in range(8):
        asyncio.run(ask())
    gc.collect()
    assert len([loop for loop in loops if loop() is not None]) <= 1, "the last one, until there is another"


class Hanging(Slow):
    """A source whose authorization server hangs until it is let go."""

    def __init__(self) -> None:
        self.waiting, self.over = 0, threading.Event()

    def present(self, method: str, address: str, since: float | None = None) -> dict[str, str]:
        """Wait for the server."""
        self.waiting += 1
        self.over.wait(60)
        return super().present(method, address)

    def heard(self, address: str, status: int, headers: Mapping[str, str], sent: str) -> bool:
        """Wait for the lock that is held meanwhile."""
        self.waiting += 1
        self.over.wait(60)
        return False


@pytest.mark.parametrize("status", [200, 401])
async def test_tasks_that_give_up_leave_one_thread_of_the_loop_waiting(status: int) -> None:
    source, loop = Hanging(), asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(2))
    if status == 401:
        source.is_ready, source.present = (lambda: True), Slow.present.__get__(source)  # type: ignore[method-assign]  # waits in `heard`
    transport = httpx.MockTransport(lambda _: httpx.Response(status))
    async with httpx.AsyncClient(transport=transport, auth=HttpxAuth(source)) as client:
        for _ in range(4):
            giving_up = asyncio.create_task(client.get("https://api.example.com/"))
            while not source.waiting:
                await asyncio.sleep(0.001)
            for _ in range(20):
                await asyncio.sleep(0)
            giving_up.cancel()
            with pytest.raises(asyncio.CancelledError):
                await giving_up
        assert source.waiting == 1
        # On a thread of the same pool
        assert await asyncio.wait_for(loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM), 30)
        source.over.set()
        assert (await client.get("https://api.example.com/")).status_code == status, "who stays is served"


class Failing(Hanging):
    """A source whose authorization server hangs, and then cannot be reached."""

    def present(self, method: str, address: str, since: float | None = None) -> dict[str, str]:
        """Wait, and raise."""
        super().present(method, address)
        raise Unreachable("the server went away")


async def test_of_a_failure_that_a_task_did_not_wait_for_nothing_is_logged() -> None:
    source, logged = Failing(), list[dict[str, object]]()
    asyncio.get_running_loop().set_exception_handler(lambda _, about: logged.append(about))
    async with httpx.AsyncClient(auth=HttpxAuth(source)) as client:
        giving_up = asyncio.create_task(client.get("https://api.example.com/"))
        while not source.waiting:
            await asyncio.sleep(0.001)
        giving_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await giving_up
        source.over.set()
        with pytest.raises(Unreachable):  # to whoever stays it is told
            await client.get("https://api.example.com/")
    gc.collect()
    assert logged == []


@pytest.mark.parametrize(
    "source", [Slow(), ApiToken("wwa_any", api="https://api.example.com")], ids=["waits", "ready"]
)
def test_another_event_loop_than_asyncios_is_refused_at_once(source: Slow | ApiToken) -> None:
    request = httpx.Request("GET", "https://api.example.com/")
    first = HttpxAuth(source).async_auth_flow(request).asend(None)
    with pytest.raises(RuntimeError, match="asyncio"):
        first.send(None)  # as the loop of another library would
    assert "authorization" not in request.headers
