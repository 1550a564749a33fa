"""Consent in a real Chromium: who asks, where the answer goes, what for; and that yes is no easier than no, on a desk and on a phone."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, Page
from tests.browser.visiting import CHALLENGE, make_owner, sign_in
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import Process, serve

pytestmark = pytest.mark.browser

CONFIG = """
[scopes."orders:read"]
sentence = { en = "See your orders", de = "Ihre Bestellungen sehen" }

[scopes."orders:write"]
sentence = { en = "Place and change orders", de = "Bestellungen aufgeben und ändern" }
risk = "high"
optional = true

[resources]
"https://api.example.com/orders" = "Orders API"

[authorization_details.payment_initiation]
sentence = { en = "Make a payment from your account", de = "Eine Zahlung von Ihrem Konto ausführen" }
risk = "high"
once = true
required = ["instructedAmount"]

[authorization_details.payment_initiation.members]
instructedAmount = { currency = "string", amount = "string" }
creditorName = "string"

[authorization_details.payment_initiation.labels]
instructedAmount = { en = "Amount", de = "Betrag" }
creditorName = { en = "To", de = "An" }
"""
PAYMENT = [
    {
        "type": "payment_initiation",
        "instructedAmount": {"currency": "EUR", "amount": "123.50"},
        "creditorName": "Northwind AB",
    }
]
SIZES = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 360, "height": 740}}


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Process]:
    """The real server with scopes, a resource and a type of details that an operator described."""
    (tmp_path / "watchword.toml").write_text(CONFIG)
    with serve(tmp_path) as process:
        yield process


def register(process: Process, client_id: str, callback: str, *more: str) -> None:
    """Register a client of the code flow."""
    made = run_cli(
        process.folder,
        *("client", "create", "Ledgerline", "--client-id", client_id, "--public", "--redirect-uri", callback),
        *("--scope", "openid orders:read orders:write offline_access"),
        *("--resource", "https://api.example.com/orders", "--details", "payment_initiation", *more),
    )
    assert made.returncode == 0, made.stdout + made.stderr


def address(process: Process, client_id: str, callback: str, **changes: str) -> str:
    """Return an authorization request as an application would open it."""
    parameters = {
        "client_id": client_id,
        "redirect_uri": callback,
        "response_type": "code",
        "scope": "openid orders:read orders:write offline_access",
        "state": "s-1",
        "nonce": "n-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    return f"{process.issuer}/authorize?{urlencode(parameters | changes)}"


def look_of(page: Page, decision: str) -> dict[str, object]:
    """Return how large a button is, and how it stands out."""
    button = page.locator(f'button[value="{decision}"]')
    box = button.bounding_box()
    assert box is not None
    style = button.evaluate(
        "it => (({backgroundColor, color, fontSize, fontWeight, borderColor}) => "
        "({backgroundColor, color, fontSize, fontWeight, borderColor}))(getComputedStyle(it))"
    )
    return {"size": (round(box["width"]), round(box["height"])), **style}


@pytest.mark.parametrize("size", SIZES)
def test_consent_tells_the_truth_and_makes_no_answer_easier(
    browser: Browser, issuer: Process, size: str
) -> None:
    register(issuer, "ledger", "https://app.ledgerline.example:8443/cb")
    context = browser.new_context(viewport=SIZES[size])  # type: ignore[arg-type]  # a size as Chromium takes it
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    make_owner(page, issuer)
    more = {"authorization_details": json.dumps(PAYMENT)}
    page.goto(address(issuer, "ledger", "https://app.ledgerline.example:8443/cb", **more))
    sign_in(page)
    page.wait_for_url("**/authorize/resume*")
    text = page.inner_text("main")
    for told in (
        "Ledgerline",
        "app.ledgerline.example:8443",
        "See your orders",
        "Place and change orders",
        "High risk",
        "Optional",
        "Orders API",
        "https://api.example.com/orders",
        "Make a payment from your account",
        "currency: EUR, amount: 123.50",
        "Northwind AB",
        "while you are away",
    ):
        assert told in text, told
    assert look_of(page, "approve") == look_of(page, "deny")
    assert not page.locator('input[name="scope"][value="orders:write"]').is_checked(), "risk is opted into"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off"
    page.reload()
    assert page.locator('button[value="deny"]').is_visible(), (
        "the page is at an address that can be opened again"
    )
    assert not complaints
    context.close()


def test_a_program_on_this_device_is_warned_of_and_asked_for_every_time(
    browser: Browser, issuer: Process, application: tuple[str, list[str]]
) -> None:
    callback, seen = application
    register(issuer, "cli", "http://127.0.0.1/cb", "--native")
    page = browser.new_context().new_page()
    make_owner(page, issuer)
    page.goto(address(issuer, "cli", callback, scope="openid orders:read", ui_locales="de"))
    sign_in(page)
    page.wait_for_url("**/authorize/resume*")
    text = page.inner_text("main")
    assert "läuft auf Ihrem Gerät" in text
    assert urlsplit(callback).netloc in text
    assert "Ihre Bestellungen sehen" in text
    page.locator('button[value="deny"]').click()
    page.wait_for_url(f"{callback}*")
    answer = parse_qs(urlsplit(next(path for path in seen if path.startswith("/cb?"))).query)
    assert answer["error"] == ["access_denied"]
    assert answer["iss"] == [issuer.issuer]
    for _ in range(2):
        page.goto(address(issuer, "cli", callback, scope="openid orders:read"))
        page.locator('button[value="approve"]').click()
        page.wait_for_url(f"{callback}*")
        assert "code=" in page.url
