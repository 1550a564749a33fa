"""One event loop on a thread of its own, for frameworks without one.

Owns that thread: one for the process, however many guards there are, started when it is first needed. A forked child (gunicorn,
uWSGI, multiprocessing) starts its own, because a thread doesn't survive a fork. Knows nothing of tokens.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

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


_current = _Thread()
_parents: list[_Thread] = []  # kept, so that no finaliser in a child touches what the parent still uses


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that ran on the background loop, or raise what it raised."""
    return asyncio.run_coroutine_threadsafe(work, _current.started()).result()


def _start_anew() -> None:
    global _current
    _parents.append(_current)
    _current = _Thread()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
