"""The supervisor of several workers: one that ends before it can answer is noticed as soon as any other."""

import fcntl
import json
import logging
import os
import signal
import struct
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from watchword.serving import Supervisor, configuration
from watchword.settings import Settings
from watchword.telemetry import log


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


@pytest.mark.timeout(60)
@pytest.mark.usefixtures("_own_signals")
def test_a_worker_that_starts_beside_a_broken_certificate_says_which_file_it_is_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As when a certificate is replaced and its key is not yet: a failed start (3) would stop the workers that serve."""
    monkeypatch.chdir(tmp_path)
    for name in ("tls_cert", "tls_key"):
        (tmp_path / name).write_text("not PEM")
        monkeypatch.setenv(f"WATCHWORD_{name.upper()}", name)
    supervisor = Supervisor(
        configuration(Settings(workers=1, tls_cert="tls_cert", tls_key="tls_key")), sockets=[]
    )
    supervisor.init_processes()
    supervisor.processes[0].join()
    assert supervisor.processes[0].exitcode == 1
    said = capfd.readouterr().err
    assert '"event": "worker.postponed"' in said
    assert "tls_cert, tls_key and tls_client_ca are PEM files" in said
    assert "Traceback" not in said


def test_the_supervisor_speaks_in_the_lines_of_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    configuration(Settings(workers=2))
    logging.getLogger("uvicorn.error").error("New child process was not ready in time")
    said = json.loads(capfd.readouterr().err)
    assert (said["event"], said["detail"]) == ("server.message", "New child process was not ready in time")
