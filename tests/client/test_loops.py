"""A client in programs that have many event loops, one after another: what belongs to a loop ends with it."""

import asyncio
import gc
import time
import weakref
from collections.abc import Mapping

import httpx

from watchword.client import HttpxAuth


class Slow:
    """A source of a program's own, for whose tokens tasks have to wait."""

    def check(self, address: str) -> None:
        """Go anywhere."""

    def is_ready(self) -> bool:
        """Have nothing at hand."""
        return False

    def present(self, method: str, address: str) -> dict[str, str]:
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
