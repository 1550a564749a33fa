"""One event loop on a thread of its own: for frameworks without one, and for what goes on between requests.

Owns that thread: one for the process, however many guards there are, started when it is first needed. A forked child (gunicorn,
uWSGI, multiprocessing) starts its own, because a thread doesn't survive a fork. Knows nothing of tokens.
"""

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class _Thread:
    """The thread of this process; `loop` is None until it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None

    def started(self) -> asyncio.AbstractEventLoop:
        """Return the loop, running."""
        if self.loop is None:
            with self._lock:
                if self.loop is None:
                    loop = asyncio.new_event_loop()
                    threading.Thread(target=loop.run_forever, name="watchword-guard", daemon=True).start()
                    self.loop = loop
        return self.loop


class ForkAware(Protocol):
    """An object that has to be told when it finds itself in a forked child."""

    def forked(self) -> None:
        """Drop locks and state that only the parent's threads keep up to date."""


fork_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_current = _Thread()
_parents: list[_Thread] = []  # kept, so that no finaliser in a child touches what the parent still uses


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that ran on the background loop, or raise what it raised."""
    return begin(work).result()


def begin(work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Start a coroutine on the background loop and return its future."""
    return asyncio.run_coroutine_threadsafe(work, _current.started())


def identity() -> object:
    """Return an object that identifies this process's background loop; a forked child has another, on which nothing runs yet."""
    return _current


def _start_anew() -> None:
    global _current
    _parents.append(_current)
    _current = _Thread()
    for one in tuple(fork_aware):
        one.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
