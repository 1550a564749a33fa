"""A Chromium for each file, the real server, and an application that people come back to."""

import contextlib
from collections.abc import Generator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Error as PlaywrightError
from tests.fixtures.chromium import launched
from tests.fixtures.listening import in_background
from tests.fixtures.servers import Process, serve


@pytest.fixture(scope="module")  # not longer: it keeps an event loop running, which no other file may find
def browser(chromium: str) -> Iterator[Browser]:
    """A running Chromium."""
    with launched(chromium) as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say of a test that failed what its pages showed: the address alone does not tell why."""
    report = yield
    opened = getattr(item, "funcargs", {}).get("browser")
    if report.when == "call" and report.failed and opened is not None:
        for page in (page for context in opened.contexts for page in context.pages):
            with contextlib.suppress(PlaywrightError):
                report.sections.append((page.url, page.locator("body").inner_text(timeout=5_000)))
    return report


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Process]:
    """The real server."""
    with serve(tmp_path) as process:
        yield process


class Application(BaseHTTPRequestHandler):
    """An application that people come back to; it remembers the addresses that were asked for."""

    seen: list[str]

    def do_GET(self) -> None:
        """Answer a page."""
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.end_headers()
        self.wfile.write(b"back in the application")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def application() -> Iterator[tuple[str, list[str]]]:
    """An application on loopback: its address and what was asked of it."""
    seen: list[str] = []
    handler = type("Seen", (Application,), {"seen": seen})
    server = HTTPServer(("127.0.0.1", 0), handler)
    in_background(server)
    yield f"http://127.0.0.1:{server.server_port}/cb", seen
    server.shutdown()
