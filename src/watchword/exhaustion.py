"""Running out of memory or of file descriptors: what counts as that, and how a worker that has no memory asks to be replaced.

The memory that is missing may be what this process holds, and Python returns little of it to the system. So a worker finishes its
present requests, within seconds, and stops, and its supervisor starts another. Without a supervisor the process stays: nobody would
start it again. File descriptors that are missing are connections and others' open files: they come back as these end.
"""

import contextlib
import errno
import multiprocessing
import os
import signal

from watchword.telemetry import log

# Seconds for the present requests, slow clients included: after that the kernel ends the process, which takes no memory.
LAST = 3
_asked = False


def is_shortage(error: BaseException) -> bool:
    """Whether something failed for lack of memory, that of a new thread's stack included."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    no_thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
    return isinstance(error, MemoryError) or no_thread


def lacks_descriptor(error: BaseException) -> bool:
    """Whether something failed because this process, or the system, has as many files open as it may."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def step_down() -> None:
    """Log that memory is exhausted and stop this worker gracefully, once; a process without a supervisor logs it every time."""
    global _asked
    if _asked:
        return
    _asked = multiprocessing.parent_process() is not None
    with contextlib.suppress(MemoryError):
        log.error("memory.exhausted", replaced=_asked)
    if _asked:
        signal.alarm(LAST)
        os.kill(os.getpid(), signal.SIGTERM)
