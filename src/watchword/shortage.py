"""A process that finds no memory: what counts as that, and its request to be replaced.

What it holds may be all that is missing, and Python gives little of it back. So a worker finishes what it has in hand, within
seconds, and stops, and its supervisor starts another. Without a supervisor the process stays: nobody would start it again.
"""

import contextlib
import errno
import multiprocessing
import os
import signal

from watchword.telemetry import log

# Seconds for what is in hand, slow clients included: after that the system ends the process, which takes no memory.
LAST = 3
_asked = False


def is_shortage(error: BaseException) -> bool:
    """Whether something failed for want of memory, that of a new thread's stack included."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    no_thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
    return isinstance(error, MemoryError) or no_thread


def step_down() -> None:
    """Say that there is no memory, and have this worker stop gracefully, once; what is no worker says it every time."""
    global _asked
    if _asked:
        return
    _asked = multiprocessing.parent_process() is not None
    with contextlib.suppress(MemoryError):
        log.error("memory.exhausted", replaced=_asked)
    if _asked:
        signal.alarm(LAST)
        os.kill(os.getpid(), signal.SIGTERM)
