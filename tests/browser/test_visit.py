"""A person's first visit in a real Chromium, against the real server: owner, sign-in, consent, back to the application, sign-out."""

import base64
import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.browser.test_gallery import ARGUMENTS
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import Process, serve

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery staple"
VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A running Chromium."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        yield opened
        opened.close()


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
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/cb", seen
    server.shutdown()


def make_owner(page: Page, process: Process) -> None:
    """Make the owner's account by the link that the server printed."""
    link = re.search(r"http://\S+/setup\?link=\S+", process.log.read_text())
    assert link is not None
    page.goto(link[0])
    page.get_by_label("User name").fill("ada")
    page.locator('input[name="new_password"]').fill(PASSWORD)
    page.locator('form button[type="submit"]').first.click()
    page.wait_for_url("**/sign-in?notice=registered")


def sign_in(page: Page) -> None:
    """Fill in the sign-in form."""
    page.locator('input[name="identifier"]').fill("ada")
    page.locator('input[name="password"]').fill(PASSWORD)
    page.locator('form button[type="submit"]').last.click()


def test_the_owner_signs_in_and_out(browser: Browser, issuer: Process) -> None:
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    make_owner(page, issuer)
    sign_in(page)
    page.wait_for_url("**/account")
    assert "ada" in page.inner_text("body")
    kept = context.cookies()
    page.goto(f"{issuer.issuer}/sign-out")
    page.locator('button[value="sign_out"]').click()
    page.wait_for_url("**/sign-out")
    context.add_cookies(kept)  # type: ignore[arg-type]  # what Chromium gave is what it takes
    page.goto(f"{issuer.issuer}/account")
    assert "/sign-in" in page.url, "LO-04: a copied cookie is dead"
    assert not complaints
    context.close()


def test_the_code_flow_comes_back_to_the_application(
    browser: Browser, issuer: Process, application: tuple[str, list[str]]
) -> None:
    callback, seen = application
    made = run_cli(issuer.folder, "client", "create", "Ledger", "--client-id", "ledger", "--public", "--native",
                   "--redirect-uri", callback, "--scope", "openid orders:read")  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    page = browser.new_context().new_page()
    make_owner(page, issuer)
    parameters = {
        "client_id": "ledger",
        "redirect_uri": callback,
        "response_type": "code",
        "scope": "openid orders:read",
        "state": "s-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    page.goto(f"{issuer.issuer}/authorize?{urlencode(parameters)}")
    sign_in(page)
    page.wait_for_url("**/authorize/resume*")
    text = page.inner_text("body")
    assert "Ledger" in text
    assert "127.0.0.1" in text, "the consent page shows where the person is sent"
    page.locator('button[value="approve"]').click()
    page.wait_for_url(f"{callback}*")
    # Chromium may ask for a favicon as well, before or after this line.
    answer = parse_qs(urlsplit(next(path for path in seen if path.startswith("/cb?"))).query)
    assert answer["state"] == ["s-1"]
    form = {
        "grant_type": "authorization_code",
        "client_id": "ledger",
        "code": answer["code"][0],
        "redirect_uri": callback,
        "code_verifier": VERIFIER,
    }
    tokens = httpx.post(f"{issuer.issuer}/token", data=form).json()
    assert {"access_token", "id_token", "refresh_token"} <= tokens.keys()
