"""A bounded pool for password hashes: a flood of sign-ins can stop neither the token endpoint nor the machine (LG-09).

One thread of each process hashes, so that at most one hash's memory and one processor are in use, at a lower priority than all other
threads. A bounded number of requests may wait; beyond that they are told to try again.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from watchword.oauth.errors import OAuthError

P = ParamSpec("P")
T = TypeVar("T")

MAX_WAITING = 100
NICENESS = 10
_pool: ThreadPoolExecutor
_waiting: int


def _step_back() -> None:
    """Lower this thread's priority, on Linux only: elsewhere threads have no priority of their own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _begin() -> None:
    """Start with a thread of this process and nobody who waits: a thread does not survive a fork, and its pool would not notice."""
    global _pool, _waiting
    _pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="watchword-hash", initializer=_step_back)
    _waiting = 0


_begin()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin)


async def run(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a slow hash off the event loop; raise `temporarily_unavailable` when too many wait."""
    global _waiting
    if _waiting >= MAX_WAITING:
        raise OAuthError(
            "temporarily_unavailable", "Too many sign-ins at this moment; try again shortly.", retry_after=2
        )
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_pool, lambda: function(*args, **kwargs))
    finally:
        _waiting -= 1
