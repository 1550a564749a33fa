"""The supervisor of several workers: one that ends before it can answer is noticed as soon as any other."""

import fcntl
import os
import signal
import struct
import termios
import threading
import time
from collections.abc import Iterator

import pytest

from watchword.serving import Supervisor, configuration
from watchword.settings import Settings


@pytest.fixture
def _own_signals() -> Iterator[None]:
    """A supervisor takes signals over; those of the tests come back."""
    kept = {one: signal.getsignal(one) for one in signal.valid_signals()}
    yield
    for one, handler in kept.items():
        if handler is not None and signal.getsignal(one) is not handler:
            signal.signal(one, handler)


def unread(connection: int) -> int:
    """Return how much of what was sent waits at the other end of a socket."""
    sent = fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4)
    number: int = struct.unpack("i", sent)[0]
    return number


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("_own_signals")
def test_a_worker_that_is_killed_while_it_starts_is_replaced_at_once() -> None:
    config = configuration(Settings(workers=1))
    config.timeout_worker_healthcheck = 3600
    supervisor = Supervisor(config, sockets=[])
    supervisor.init_processes()
    try:
        (first,) = supervisor.processes
        assert first.pid is not None
        os.kill(first.pid, signal.SIGSTOP)  # it has not come so far that it answers

        def kill() -> None:
            while not unread(first.parent_conn.fileno()):  # until the supervisor has asked whether it is well
                time.sleep(0.01)
            os.kill(first.pid or 0, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        supervisor.keep_subprocess_alive()
        killer.join()
        (second,) = supervisor.processes
        assert second.pid not in (None, first.pid)
        assert second.process.is_alive()
    finally:
        for one in supervisor.processes:
            one.kill()
            one.join()
