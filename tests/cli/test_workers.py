"""Several workers of one node: what one ends, the others refuse; how they start, are killed, and stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from tests.cli.test_commands import BROKEN, PAGE, document
from tests.fixtures.commands import environment, inherited
from tests.fixtures.servers import Process, free_port, serve, wait_until_ready


def test_several_workers_refuse_at_once_what_one_of_them_revoked(server_process: Process) -> None:
    client = document(
        server_process.folder, "client", "create", "c", "--scope", "introspect", "--token-format", "opaque"
    )
    auth = (client["client_id"], client["client_secret"])
    issuer = server_process.issuer

    def call(path: str, **form: str) -> httpx.Response:
        # A new connection each time: any worker may answer.
        return httpx.post(issuer + path, data=form, auth=auth)

    for _ in range(10):
        token = call("/token", grant_type="client_credentials").json()["access_token"]
        assert all(call("/introspect", token=token).json()["active"] for _ in range(4))
        assert call("/revoke", token=token).status_code == 200
        assert not any(call("/introspect", token=token).json()["active"] for _ in range(4)), "MN-01"


def test_what_was_acknowledged_survives_a_kill_of_every_worker(tmp_path: Path) -> None:
    client = document(tmp_path, "client", "create", "c", "--scope", "introspect", "--token-format", "opaque")
    auth = (client["client_id"], client["client_secret"])
    with serve(tmp_path, "--workers", "2") as process:
        form = {"grant_type": "client_credentials"}
        tokens = [
            httpx.post(f"{process.issuer}/token", data=form, auth=auth).json()["access_token"]
            for _ in range(20)
        ]
        assert httpx.post(f"{process.issuer}/revoke", data={"token": tokens[0]}, auth=auth).status_code == 200
        for worker in psutil.Process(process.process.pid).children(recursive=True):
            os.kill(worker.pid, signal.SIGKILL)
        process.process.kill()
    alive = []
    with serve(tmp_path) as process:
        for token in tokens:
            said = httpx.post(f"{process.issuer}/introspect", data={"token": token}, auth=auth).json()
            alive.append(said["active"])
    # The issuer differs after the restart on another port; opaque tokens are found by their hash all the same.
    assert alive == [False] + [True] * 19


def test_a_worker_that_cannot_start_for_a_file_that_was_changed_says_why_and_the_other_serves(
    tmp_path: Path,
) -> None:
    (tmp_path / "sign_in.html").write_text(PAGE)
    with serve(tmp_path, "--workers", "2", variables={"WATCHWORD_TEMPLATE_DIRECTORY": "."}) as process:
        (tmp_path / "sign_in.html").write_text(BROKEN)
        process.process.send_signal(signal.SIGTTIN)  # one worker more
        deadline = time.monotonic() + 60
        while "unknown tag" not in process.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert httpx.get(f"{process.issuer}/readyz").status_code == 200


def test_a_node_that_stops_finishes_what_is_under_way_and_refuses_who_comes_in(tmp_path: Path) -> None:
    def come_in() -> bool:
        try:
            socket.create_connection(("localhost", port), 5).close()
        except ConnectionError:
            return False
        return True

    with serve(tmp_path, "--workers", "2") as process:
        port = int(process.issuer.rpartition(":")[2])
        with socket.create_connection(("localhost", port), 20) as under_way:
            under_way.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n")
            assert come_in()
            process.process.terminate()
            deadline = time.monotonic() + 5
            while come_in():
                assert time.monotonic() < deadline, "whoever comes in waits for nobody"
                time.sleep(0.01)
            assert process.process.poll() is None
            under_way.sendall(b"\r\n")
            assert under_way.recv(100).startswith(b"HTTP/1.1 200 ")
        assert process.process.wait(30) == 0


@pytest.mark.parametrize("told", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT], ids=lambda told: told.name)
def test_one_worker_finishes_what_is_under_way_when_its_terminal_is_closed_or_it_is_told_to_stop(
    tmp_path: Path, told: signal.Signals
) -> None:
    with inherited(told, signal.SIG_DFL), serve(tmp_path) as process:
        port = int(process.issuer.rpartition(":")[2])
        with socket.create_connection(("localhost", port), 20) as under_way:
            under_way.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n")
            assert httpx.get(f"{process.issuer}/readyz").status_code == 200, "it has read that beginning, too"
            process.process.send_signal(told)
            under_way.sendall(b"\r\n")
            assert under_way.recv(100).startswith(b"HTTP/1.1 200 ")
        assert process.process.wait(30) == 0, "as with several workers"


def test_a_server_that_was_started_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    with inherited(signal.SIGHUP, signal.SIG_IGN), serve(tmp_path) as process:
        process.process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):  # one that stops does so within a tenth of it
            process.process.wait(1)
        assert httpx.get(f"{process.issuer}/readyz").status_code == 200


def test_several_workers_start_where_standard_output_is_closed(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "server.log"
    log.touch()
    command = 'exec "$0" -m watchword serve --port "$1" --workers 2 >&- 2>>"$2"'
    process = subprocess.Popen(
        ["sh", "-c", command, sys.executable, str(port), str(log)], cwd=tmp_path, env=environment()
    )
    try:
        wait_until_ready(f"http://localhost:{port}", process, log, patience=20)
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_several_workers_are_replaced_one_after_the_other_on_request(tmp_path: Path) -> None:
    with serve(tmp_path, "--workers", "2") as process:
        children = psutil.Process(process.process.pid).children()
        first = {one.pid for one in children if "resource_tracker" not in " ".join(one.cmdline())}
        assert len(first) == 2
        process.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while any(psutil.pid_exists(worker) for worker in first):
            assert httpx.get(f"{process.issuer}/readyz").status_code == 200, "somebody always answers"
            assert time.monotonic() < deadline
        assert process.process.poll() is None
