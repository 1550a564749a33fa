"""What a writer thread has done on an event loop is done once, whatever becomes of the loop."""

import asyncio
import threading

import pytest

from watchword.store.sqlite.errand import Errand


async def test_a_loop_that_runs_does_it_on_its_own_thread() -> None:
    done_by: list[int] = []
    errand = Errand(lambda: done_by.append(threading.get_ident()))
    await asyncio.get_running_loop().run_in_executor(None, errand.do, asyncio.get_running_loop())
    assert done_by == [threading.get_ident()]


def test_a_loop_that_is_closed_or_never_runs_loses_it_to_the_thread() -> None:
    loop = asyncio.new_event_loop()
    done_by: list[int] = []
    for _ in range(2):  # the second time it is closed
        Errand(lambda: done_by.append(threading.get_ident())).do(loop)
        if not loop.is_closed():
            loop.call_soon(loop.stop)
            loop.run_forever()  # comes to it too late
        loop.close()
    assert done_by == [threading.get_ident()] * 2


async def test_what_it_raises_is_raised_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise OSError("disk")

    loop, idle = asyncio.get_running_loop(), asyncio.new_event_loop()
    with pytest.raises(OSError, match="disk"):
        await loop.run_in_executor(None, Errand(fail).do, loop)
    with pytest.raises(OSError, match="disk"):
        Errand(fail).do(idle)
    idle.close()
