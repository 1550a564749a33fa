"""A provider on another site that answers by a form, in a real Chromium: the browser's own rules for cookies decide."""

import html
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, expect
from tests.fixtures.listening import in_background
from tests.fixtures.servers import Process, serve

from watchword.jose import jwk, jwt

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
CONFIG = """\
sign_up = "open"

[[upstream]]
name = "hub"
title = "The Hub"
client_id = "us"
issuer = "{issuer}"
response_mode = "form_post"
"""
PAGE = '<!doctype html><title>The Hub</title><form method="post" action="{action}">{fields}<button>Continue</button></form>'


class Hub(BaseHTTPRequestHandler):
    """A provider whose page sends the answer when its button is pressed."""

    key = jwk.generate("ES256", "k1")
    issuer = ""
    nonces: dict[str, str]

    def do_GET(self) -> None:
        """Answer discovery, keys, or the page with the form."""
        path, asked = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/authorize":
            code = f"code-{len(self.nonces)}"
            self.nonces[code] = asked["nonce"][0]
            given = {"code": code, "state": asked["state"][0], "mode": asked["response_mode"][0]}
            fields = "".join(
                f'<input type="hidden" name="{name}" value="{html.escape(value)}">'
                for name, value in given.items()
            )
            action = html.escape(asked["redirect_uri"][0])
            self._send("text/html; charset=utf-8", PAGE.format(action=action, fields=fields))
        elif path == "/jwks":
            self._json({"keys": [jwk.public_document(self.key)]})
        else:
            self._json(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/jwks",
                    "id_token_signing_alg_values_supported": ["ES256"],
                    "response_modes_supported": ["query", "form_post"],
                }
            )

    def do_POST(self) -> None:
        """Redeem a code."""
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "us", "sub": "1", "iat": now, "exp": now + 300, "auth_time": now}
        person = {"email": "grace@example.com", "email_verified": True, "name": "Grace"}
        token = jwt.encode(self.key, {**claims, **person, "nonce": self.nonces[form["code"][0]]})
        self._json({"access_token": "at", "token_type": "Bearer", "id_token": token})

    def _json(self, document: dict[str, Any]) -> None:
        self._send("application/json", json.dumps(document))

    def _send(self, media_type: str, text: str) -> None:
        self.send_response(200)
        self.send_header("content-type", media_type)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[type[Hub]]:
    """The provider, by an address of this machine that is another site than the server's."""
    handler = type("Running", (Hub,), {"nonces": {}})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.issuer = f"http://127.0.0.1:{listening.server_port}"
    in_background(listening)
    yield handler
    listening.shutdown()


@pytest.fixture
def server(hub: type[Hub], tmp_path: Path) -> Iterator[Process]:
    """`watchword dev`, which asks that provider for a form."""
    (tmp_path / "watchword.toml").write_text(CONFIG.format(issuer=hub.issuer), "utf-8")
    with serve(tmp_path, command="dev", variables={"WATCHWORD_FETCH_ALLOW_LOOPBACK": "1"}) as process:
        yield process


def test_somebody_signs_in_by_the_form_of_another_site_and_stays_the_same_browser(
    browser: Browser, server: Process, hub: type[Hub]
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.issuer}/sign-in")
    known = {one["name"]: one["value"] for one in context.cookies() if one["name"] == "ww-browser"}
    page.get_by_text("The Hub").click()
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(f"{server.issuer}/account")
    expect(page.get_by_text("Grace").first).to_be_visible()
    assert (
        {one["name"]: one["value"] for one in context.cookies() if one["name"] == "ww-browser"} == known != {}
    )
    # Somebody else's answer, sent by the same form to a browser that never asked for it (login CSRF).
    attacker, victim = browser.new_context().new_page(), browser.new_context().new_page()
    attacker.goto(f"{server.issuer}/upstream/hub")
    stolen = attacker.content()
    victim.goto(f"{server.issuer}/sign-in")
    victim.goto(f"{hub.issuer}/nowhere")
    victim.set_content(stolen)
    victim.get_by_role("button", name="Continue").click()
    expect(victim.get_by_text("didn’t sign you in").first).to_be_visible()
    attacker.get_by_role("button", name="Continue").click()
    expect(attacker).to_have_url(f"{server.issuer}/account")
