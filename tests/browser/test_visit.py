"""A person's first visit in a real Chromium, against the real server: owner, sign-in, consent, back to the application, sign-out."""

from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser
from tests.browser.visiting import CHALLENGE, VERIFIER, make_owner, sign_in
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import Process

pytestmark = pytest.mark.browser


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
