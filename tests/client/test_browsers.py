"""The browser of a sign-in, whose output must not become the program's: where there is no standard output, where two are opened, where it goes."""

import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from watchword.client.callback import DEFAULT, Callback

OPEN = "from watchword.client.sign_in import open_page; open_page('http://localhost/')"
TWO = """
import threading, time
from watchword.client.sign_in import open_page
both = [threading.Thread(target=open_page, args=("http://localhost/",)) for _ in range(2)]
for one in both:
    one.start()
    time.sleep(0.1)
for one in both:
    one.join()
print("of the program")
"""


def run(tmp_path: Path, program: str, closed: str = "") -> subprocess.CompletedProcess[str]:
    """Run a Python program with a browser that prints, stays for a moment, and leaves a file behind."""
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho of the browser\nsleep 0.3\ntouch {tmp_path}/opened\n")
    browser.chmod(0o700)
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, program],
        env={"BROWSER": f"{browser} %s"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_browser_is_opened_where_a_stream_is_closed(tmp_path: Path, closed: str) -> None:
    done = run(tmp_path, OPEN, closed)
    assert (done.returncode, (tmp_path / "opened").exists()) == (0, True), done.stderr


def test_two_browsers_at_once_leave_the_program_its_output(tmp_path: Path) -> None:
    done = run(tmp_path, TWO)
    assert done.stdout == "of the program\n"
    assert done.stderr.count("of the browser") == 2


def test_a_browser_that_has_gone_is_not_talked_about(capsys: pytest.CaptureFixture[str]) -> None:
    with Callback(DEFAULT, "state", "https://auth.example.com", has_iss=False) as callback:
        host, port = str(urlsplit(callback.redirect_uri).hostname), urlsplit(callback.redirect_uri).port
        gone = socket.create_connection((host, port))
        gone.sendall(b"GET /call")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()  # with a reset
        assert httpx.get(f"{callback.redirect_uri}?state=state&code=code", trust_env=False).status_code == 200
        assert callback.wait(10) == "code"
        for thread in threading.enumerate():
            if "process_request" in thread.name:
                thread.join()
    assert capsys.readouterr().err == ""
