"""The supervisor of several workers: one that ends before it can answer is noticed as soon as any other."""

import contextlib
import fcntl
import json
import logging
import os
import resource
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import uvicorn

from watchword.serving import configuration
from watchword.settings import Settings
from watchword.supervisor import ATTEMPTS, Supervisor
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
def test_a_worker_that_is_killed_while_it_starts_is_replaced_at_once_and_the_log_says_so(
    capfd: pytest.CaptureFixture[str],
) -> None:
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
        said = json.loads(capfd.readouterr().err)
        assert (said["event"], said["pid"], said["exitcode"]) == ("worker.replaced", first.pid, -9)
    finally:
        for one in supervisor.processes:
            one.kill()
            one.join()


@pytest.fixture
def supervisor(_own_signals: None) -> Iterator[Supervisor]:
    """A supervisor of one worker that serves anything."""
    config = uvicorn.Config("json:dumps", workers=1, lifespan="off", interface="asgi3", log_level="critical")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Supervisor(config, sockets=[listening])
        made.init_processes()
        try:
            yield made
        finally:
            for one in made.processes:
                one.kill()
                one.join()


def kill_next(supervisor: Supervisor, times: int) -> list[int]:
    """Kill that many workers besides the present one, as soon as there is one; return their identifiers."""
    known, killed = {one.pid for one in supervisor.processes}, list[int]()
    while len(killed) < times:
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.pid not in known and "spawn_main" in " ".join(child.cmdline()):
                    child.kill()
                    known.add(child.pid)
                    killed.append(child.pid)
        time.sleep(0.01)
    return killed


@pytest.mark.timeout(60)
@pytest.mark.parametrize("killed", [1, ATTEMPTS])
def test_a_restart_goes_on_where_a_worker_is_killed_while_it_starts(
    supervisor: Supervisor, killed: int, capfd: pytest.CaptureFixture[str]
) -> None:
    (first,) = supervisor.processes
    with ThreadPoolExecutor() as pool:
        killing = pool.submit(kill_next, supervisor, killed)
        supervisor.restart_all()
        gone = killing.result()
    (serving,) = supervisor.processes
    assert serving.pid not in gone
    assert serving.wait_until_ready(20)
    assert (serving.pid == first.pid) is (killed == ATTEMPTS), (
        "it is given up where they are killed again and again"
    )
    assert first.process.is_alive() is (killed == ATTEMPTS)
    assert ("restart.ended" in capfd.readouterr().err) is (killed == ATTEMPTS)


@pytest.mark.timeout(60)
def test_a_server_that_is_stopped_while_it_restarts_waits_for_no_other_worker(supervisor: Supervisor) -> None:
    (first,) = supervisor.processes
    supervisor.config.timeout_worker_healthcheck = 3600
    supervisor.config.app = "json:missing"  # no such worker ever serves
    os.kill(os.getpid(), signal.SIGTERM)
    supervisor.restart_all()
    assert supervisor.processes == [first]
    supervisor.handle_signals()
    assert supervisor.should_exit.is_set()


@pytest.mark.timeout(60)
def test_a_server_that_is_stopped_is_not_restarted_first(supervisor: Supervisor) -> None:
    (first,) = supervisor.processes
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGHUP)  # as systemd sends them with SendSIGHUP=
    supervisor.handle_signals()
    assert supervisor.should_exit.is_set()
    assert supervisor.processes == [first]
    assert first.process.is_alive()


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file any more, and so start no other."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.timeout(60)
def test_a_supervisor_that_can_start_no_process_now_goes_on_with_those_that_it_has_and_tries_again(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    (first,) = supervisor.processes
    assert first.wait_until_ready(20)
    with no_more_files():
        supervisor.restart_all()
        supervisor.handle_ttin()
        supervisor.keep_subprocess_alive()
        assert first.is_alive()
        first.process.kill()
        first.join()
        supervisor.keep_subprocess_alive()
    assert capfd.readouterr().err.count("worker.not_started") == 3
    assert supervisor.processes_num == 1, "one that was not started cannot be ended either"
    supervisor.keep_subprocess_alive()
    (second,) = supervisor.processes
    assert second.wait_until_ready(20)


@pytest.mark.timeout(60)
def test_a_server_that_can_start_only_some_of_its_workers_ends_with_them(supervisor: Supervisor) -> None:
    (first,) = supervisor.processes
    with no_more_files(), pytest.raises(SystemExit, match="1"):
        supervisor.init_processes()
    first.join()
    assert first.exitcode == -signal.SIGKILL


def stop(supervisor: Supervisor) -> None:
    """End the server."""
    supervisor.terminate_all()
    supervisor.join_all()


def reduce(supervisor: Supervisor) -> None:
    """Have one worker less; the last one goes."""
    supervisor.handle_ttin()
    supervisor.processes.reverse()
    supervisor.handle_ttou()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", [stop, Supervisor.restart_all, reduce], ids=lambda end: end.__name__)
def test_a_worker_that_hangs_when_it_is_to_end_is_killed(
    supervisor: Supervisor,
    end: Callable[[Supervisor], None],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("watchword.supervisor.ENDED", 0.5)
    (first,) = supervisor.processes
    assert first.wait_until_ready(20)
    os.kill(first.pid or 0, signal.SIGSTOP)
    end(supervisor)
    assert first.exitcode == -signal.SIGKILL
    assert '"worker.killed"' in capfd.readouterr().err


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
