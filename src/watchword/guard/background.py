"""One event loop on a thread of its own: for frameworks without one, and for what goes on between requests.

Owns that thread: one for the process, however many guards there are, started when it is first needed. A forked child (gunicorn,
uWSGI, multiprocessing) starts its own, because a thread doesn't survive a fork; uWSGI forks without telling Python, so that the child is
known by its number. Knows nothing of tokens.
"""

import asyncio
import concurrent.futures
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from watchword.guard.trusted import IssuerUnavailable

T = TypeVar("T")


class _Thread:
    """The thread of this process; `loop` is None until it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.process = os.getpid()
        self.loop: asyncio.AbstractEventLoop | None = None

    def started(self) -> asyncio.AbstractEventLoop:
        """Return the loop, running."""
        if self.loop is None:
            with self._lock:
                if self.loop is None:
                    self.loop = _running()
        return self.loop


def _running() -> asyncio.AbstractEventLoop:
    """Return a new event loop, running on a thread of its own."""
    if _has_greenlets():
        return _running_beside_greenlets(sys.modules["gevent.monkey"].get_original)
    loop = asyncio.new_event_loop()
    runs: concurrent.futures.Future[None] = concurrent.futures.Future()
    loop.call_soon(runs.set_result, None)

    def serve() -> None:
        try:
            loop.run_forever()
        except RuntimeError as error:  # eventlet's threads are greenlets of one thread, which runs one loop
            runs.set_exception(error)

    try:
        threading.Thread(target=serve, name="watchword-guard", daemon=True).start()
        runs.result()  # or every caller would wait for a loop that never runs
    except RuntimeError:  # no thread can be started
        loop.close()  # or each attempt would leak the descriptors of a loop
        raise
    return loop


def _has_greenlets() -> bool:
    """Whether gevent has made greenlets of Python's threads."""
    patching = sys.modules.get("gevent.monkey")
    return patching is not None and bool(patching.is_module_patched("threading"))


def _running_beside_greenlets(
    original: Callable[[str, str], Callable[..., Any]],
) -> asyncio.AbstractEventLoop:
    """Do as `_running` does where threads are greenlets: on a thread of the operating system.

    To asyncio, a loop that runs on one greenlet seems to run on all of them, those of requests included. So no view could run a loop of
    its own, and Django would refuse every query to its database (SynchronousOnlyOperation).
    """
    made: list[asyncio.AbstractEventLoop] = []
    tried = original("_thread", "allocate_lock")()

    def serve() -> None:
        try:
            # Made here because gevent's selectors belong to the thread that makes them.
            made.append(asyncio.new_event_loop())
        finally:
            tried.release()
        made[0].run_forever()

    tried.acquire()
    original("_thread", "start_new_thread")(serve, ())
    tried.acquire()  # without switching to another greenlet: callers hold locks of their own
    if not made:
        raise RuntimeError("no event loop could be made")
    return made[0]


class ForkAware(Protocol):
    """An object that has to be told when it finds itself in a forked child."""

    def forked(self) -> None:
        """Drop locks and state that only the parent's threads keep up to date."""


fork_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_current = _Thread()
_noticing = threading.Lock()
_parents: list[_Thread] = []  # kept, so that no finaliser in a child touches what the parent still uses


def run(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that ran on the background loop, or raise what it raised."""
    future = begin(work)
    # gevent raises LoopExit where only another thread can end the wait, unless a timer runs.
    while _has_greenlets() and not future.done():
        concurrent.futures.wait((future,), timeout=1.0)
    return future.result()


def begin(work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Start a coroutine on the background loop and return its future; raise IssuerUnavailable where that loop cannot be started."""
    try:
        loop = _here().started()
    except (OSError, RuntimeError) as error:  # no descriptor, or no thread, is left
        work.close()
        raise IssuerUnavailable(f"no event loop can be started: {error}") from None
    return asyncio.run_coroutine_threadsafe(work, loop)


def check_loop() -> None:
    """Raise RuntimeError on an event loop other than asyncio's: waiting for the issuer there would fail with an error that does not say why."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "an asynchronous guard needs the event loop of asyncio, not one such as trio's"
        ) from None


def identity() -> object:
    """Return an object that identifies this process's background loop; a forked child has another, on which nothing runs yet."""
    return _here()


def _here() -> _Thread:
    if _current.process != os.getpid():
        with _noticing:
            if _current.process != os.getpid():
                _start_anew()
    return _current


def _start_anew() -> None:
    global _current
    _parents.append(_current)
    _current = _Thread()
    for one in tuple(fork_aware):
        one.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
