"""Signing out of several applications in a real Chromium: hidden frames, then back to the application that asked."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page
from tests.browser.visiting import CHALLENGE, VERIFIER, make_owner, sign_in
from tests.fixtures.commands import run_cli
from tests.fixtures.listening import in_background
from tests.fixtures.relying_party import claims_of
from tests.fixtures.servers import Process

pytestmark = pytest.mark.browser


class Application(BaseHTTPRequestHandler):
    """An application that notes what the browser asked of it, and from where it came."""

    seen: list[str]

    def do_GET(self) -> None:
        """Answer a page."""
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>application</title>signed out here")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def applications() -> Iterator[list[tuple[str, list[str]]]]:
    """Two applications on loopback: the origin of each and what was asked of it."""
    servers, made = [], []
    for _ in range(2):
        seen: list[str] = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Seen", (Application,), {"seen": seen}))
        in_background(server)
        servers.append(server)
        made.append((f"http://127.0.0.1:{server.server_port}", seen))
    yield made
    for server in servers:
        server.shutdown()


def register(process: Process, name: str, origin: str) -> None:
    """Register an application that wants to hear of logouts from the browser."""
    made = run_cli(
        process.folder, "client", "create", name, "--client-id", name.lower(), "--public", "--native",
        "--redirect-uri", f"{origin}/cb", "--scope", "openid", "--post-logout-redirect-uri", f"{origin}/bye",
        "--frontchannel-logout-uri", f"{origin}/front", "--frontchannel-logout-session-required",
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr


def connect(page: Page, process: Process, name: str, origin: str, seen: list[str]) -> str:
    """Let an application in; return the ID token that it gets."""
    parameters = {
        "client_id": name.lower(), "redirect_uri": f"{origin}/cb", "response_type": "code", "scope": "openid",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    }  # fmt: skip
    page.goto(f"{process.issuer}/authorize?{urlencode(parameters)}")
    page.locator('button[value="approve"]').click()
    page.wait_for_url(f"{origin}/cb*")
    code = parse_qs(urlsplit(next(path for path in seen if path.startswith("/cb?"))).query)["code"][0]
    form = {
        "grant_type": "authorization_code", "client_id": name.lower(), "code": code,
        "redirect_uri": f"{origin}/cb", "code_verifier": VERIFIER,
    }  # fmt: skip
    return str(httpx.post(f"{process.issuer}/token", data=form).json()["id_token"])


def test_the_browser_tells_every_application_and_goes_back_to_the_one_that_asked(
    browser: Browser,  # the fixture
    issuer: Process,  # the fixture
    applications: list[tuple[str, list[str]]],
    tmp_path: Path,
) -> None:
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    make_owner(page, issuer)
    sign_in(page)
    page.wait_for_url("**/account")
    tokens = []
    for name, (origin, seen) in zip(("Ledger", "Wiki"), applications, strict=True):
        register(issuer, name, origin)
        tokens.append(connect(page, issuer, name, origin, seen))
    asked = {
        "id_token_hint": tokens[0],
        "post_logout_redirect_uri": f"{applications[0][0]}/bye",
        "state": "s-1",
    }
    page.goto(f"{issuer.issuer}/logout?{urlencode(asked)}")
    page.wait_for_url(f"{applications[0][0]}/bye?state=s-1")
    for token, (_, seen) in zip(tokens, applications, strict=True):
        told = [parse_qs(urlsplit(path).query) for path in seen if path.startswith("/front?")]
        assert told == [{"iss": [issuer.issuer], "sid": [claims_of(token)["sid"]]}]
    assert not complaints
    page.goto(f"{issuer.issuer}/account")
    assert "/sign-in" in page.url
    context.close()
