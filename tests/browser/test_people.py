"""People in a real Chromium, against `watchword dev`: password, passkey, second factor, reset, sessions, language; every page checked."""

import base64
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.fixtures.chromium import DEVICE, violations
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import Process, serve

from watchword.credentials import totp

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

PASSWORD = "correct horse battery staple"
OTHER = "a different set of words entirely"
EMAIL = "ada@example.com"
CONFIG = """\
sign_up = "open"
fetch_allow_loopback = true

[scopes."notes:read"]
sentence = "Read your notes"
personal = true

[[upstream]]
name = "hub"
title = "The Hub"
client_id = "us"
issuer = "http://localhost:9"
"""
# As they are served: with their scripts, and with what only the server knows. The gallery has every page in every state.
OUTSIDE = ("/sign-in", "/sign-up", "/dev/mail", "/account/nothing")
INSIDE = ("", "/passkeys", "/second_factors/totp", "/tokens/new")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`watchword dev` on a database of its own."""
    folder = tmp_path_factory.mktemp("people")
    (folder / "watchword.toml").write_text(CONFIG, "utf-8")
    with serve(folder, command="dev") as process:
        yield process


class Visitor:
    """A person at a browser of their own, with an account of their own."""

    def __init__(self, browser: Browser, server: Process, name: str, **options: Any) -> None:
        self.server = server
        self.name = name
        self.context: BrowserContext = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on(
            "console", lambda said: self.complaints.append(said.text) if said.type == "error" else None
        )

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.server.issuer}{path}")
        return self.page

    def sign_in(self, password: str = PASSWORD, *, remember: bool = False) -> Page:
        page = self.open("/sign-in")
        page.get_by_label("Email or user name").fill(self.name)
        page.get_by_label("Password", exact=True).fill(password)
        if remember:
            page.get_by_label("Remember this device").check()
        page.get_by_role("button", name="Continue", exact=True).click()
        return page

    def signed_in(self, password: str = PASSWORD) -> Page:
        page = self.sign_in(password)
        page.wait_for_url("**/account")
        return page


def make(server: Process, name: str) -> str:
    """Make an account with a verified address; return its name."""
    made = run_cli(
        server.folder, "user", "create", name, "--email", f"{name}@example.com", "--email-verified", "--password-stdin",
        "--database", "watchword-dev.db", stdin=PASSWORD + "\n",
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return name


@pytest.fixture
def visitor(browser: Browser, server: Process, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A person whose account is named after the test."""
    name = re.sub(r"[^a-z]", "", str(request.node.name))[4:30]
    made = Visitor(browser, server, make(server, name))
    yield made
    made.context.close()


def mailed(visitor: Visitor, subject: str) -> str:
    """Return the link in the newest mail of a subject, as the page of mails shows it."""
    for _ in range(50):
        page = visitor.open("/dev/mail")
        found = page.locator("article, .box, section", has_text=subject).filter(has_text=visitor.name)
        if found.count():
            link = re.search(r"https?://\S+link=\S+", found.first.inner_text())
            assert link is not None, found.first.inner_text()
            return link[0]
        time.sleep(0.2)
    raise AssertionError("no mail came")


def test_a_person_signs_in_by_keyboard_alone(visitor: Visitor) -> None:
    page = visitor.open("/sign-in")
    expect(page.locator("#identifier")).to_be_focused()  # a slow browser loads first and moves the focus then
    page.keyboard.type(visitor.name)
    expect(page.locator("#identifier")).to_have_value(visitor.name)
    for _ in range(2):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "password":
            break
    assert page.evaluate("document.activeElement.id") == "password"
    page.keyboard.type(PASSWORD)
    expect(page.locator("#password")).to_have_value(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/account")
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim() || document.activeElement.id"))
        outline = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.boxShadow })()"
        )
        assert outline != "nonenone", f"nothing shows where the focus is: {seen[-1]}"
    assert seen[0] == "Skip to content"
    assert {"Passkeys", "Devices", "API tokens"} <= set(seen)
    assert not visitor.complaints


def test_a_passkey_is_registered_named_and_signs_in_alone(visitor: Visitor) -> None:
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("WebAuthn.enable")
    authenticator = session.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})["authenticatorId"]
    page = visitor.signed_in()
    visitor.open("/account/passkeys")
    page.get_by_label("Name").fill("Work laptop")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status")).to_contain_text("Passkey added.")
    assert "Work laptop" in page.inner_text("main")
    visitor.open("/sign-out")
    page.locator('button[value="sign_out"]').click()
    page.wait_for_url("**/sign-out")
    page.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = () => Promise.resolve(false)")
    visitor.open("/sign-in")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/account")
    assert visitor.name in page.inner_text("body")
    kept = session.send("WebAuthn.getCredentials", {"authenticatorId": authenticator})["credentials"]
    assert len(kept) == 1
    assert kept[0]["isResidentCredential"]
    assert kept[0]["signCount"] >= 1
    visitor.open("/account/sessions")
    assert "This device" in page.inner_text("main")
    assert not visitor.complaints


def test_a_passkey_chosen_in_the_name_field_signs_in(visitor: Visitor) -> None:
    session = visitor.context.new_cdp_session(visitor.page)
    session.send("WebAuthn.enable")
    session.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    page = visitor.signed_in()
    visitor.open("/account/passkeys")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("status")).to_contain_text("Passkey added.")
    visitor.open("/sign-out")
    page.locator('button[value="sign_out"]').click()
    page.wait_for_url("**/sign-out")
    visitor.page.goto(f"{visitor.server.issuer}/sign-in", wait_until="commit")
    page.wait_for_url("**/account")  # the device answers the browser's suggestion at once
    assert visitor.name in page.inner_text("body")


def test_the_browser_offers_passkeys_in_the_name_field(visitor: Visitor) -> None:
    visitor.page.add_init_script(
        "window.asked = [];"
        "PublicKeyCredential.isConditionalMediationAvailable = () => Promise.resolve(true);"
        "navigator.credentials.get = (o) => { window.asked.push(o.mediation); return new Promise(() => {}) };"
    )
    page = visitor.open("/sign-in")
    page.wait_for_function("window.asked.length > 0")
    assert page.evaluate("window.asked") == ["conditional"]
    assert page.get_attribute("#identifier", "autocomplete") == "username webauthn"


def code(key: bytes, *, ahead: int = 0) -> str:
    """Return what an authenticator application shows, one whose clock is ahead by so many steps."""
    return totp.hotp(key, totp.step_at(int(time.time())) + ahead)


def test_a_second_factor_is_set_up_and_asked_for(visitor: Visitor, browser: Browser) -> None:
    page = visitor.signed_in()
    visitor.open("/account/second_factors/totp")
    assert page.locator("img.qr").evaluate("image => image.complete && image.naturalWidth > 0")
    text = page.inner_text("#totp-secret").replace(" ", "")
    key = base64.b32decode(text + "=" * (-len(text) % 8))
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Turn on").click()
    expect(page.locator(".field-wrong .error")).to_contain_text("That code isn’t right")
    page.get_by_label("Code").fill(code(key))
    page.get_by_role("button", name="Turn on").click()
    expect(page.get_by_role("status")).to_contain_text("Your authenticator app is set up.")
    second = Visitor(browser, visitor.server, visitor.name)
    second.sign_in()
    second.page.wait_for_url("**/sign-in/second-factor")
    assert second.page.evaluate("document.activeElement.id") == "code"
    fresh = code(key, ahead=1)  # a code works once
    second.page.get_by_label("Code").fill(fresh)
    second.page.get_by_role("button", name="Continue").click()
    second.page.wait_for_url("**/account")
    second.context.close()


def test_a_forgotten_password_is_set_by_mail(visitor: Visitor) -> None:
    page = visitor.open("/sign-in")
    page.get_by_role("link", name="Forgot password?").click()
    page.get_by_label("Email or user name").fill(visitor.name)
    page.get_by_role("button", name="Email me a link").click()
    expect(page.locator("h1")).to_have_text("Check your inbox")
    page.goto(mailed(visitor, "Set a new password"))
    page.get_by_label("New password").fill("short")
    page.get_by_role("button", name="Save password").click()
    expect(page.locator(".field-wrong .error")).to_contain_text("at least 15")
    page.get_by_label("New password").fill(OTHER)
    page.get_by_role("button", name="Save password").click()
    page.wait_for_url("**/sign-in?notice=password_reset")
    visitor.signed_in(OTHER)


def test_going_back_to_an_answer_or_loading_it_again_sends_no_form_a_second_time(visitor: Visitor) -> None:
    page = visitor.open("/account/tokens")
    page.wait_for_url("**/sign-in?return=*")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.get_by_label("Email or user name").fill(visitor.name)
    page.locator('input[name="password"]').fill("no words of hers at all")
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(page.locator(".field-wrong .error")).to_be_visible()
    page.reload()
    expect(page.locator(".field-wrong .error")).to_have_count(0)
    assert "return=" in page.url, "the place is not lost"
    page.get_by_label("Email or user name").fill(visitor.name)
    page.locator('input[name="password"]').fill("no words of hers at all")
    page.get_by_role("button", name="Continue", exact=True).click()
    expect(page.locator(".field-wrong .error")).to_be_visible()
    page.locator('input[name="password"]').fill(PASSWORD)
    page.get_by_role("button", name="Continue", exact=True).click()
    page.wait_for_url("**/account/tokens")
    page.go_back()
    expect(page.locator("h1")).to_have_text("Sign in")
    assert len(sent) == 3, "those that were sent by the button"


def test_sessions_are_listed_and_ended_one_by_one_and_all(visitor: Visitor, browser: Browser) -> None:
    others = [Visitor(browser, visitor.server, visitor.name) for _ in range(3)]
    for other in others:
        other.signed_in()
    page = visitor.signed_in()
    visitor.open("/account/sessions")
    assert page.locator(".rows .row").count() == 4
    assert page.locator(".rows .row").first.inner_text().count("This device") == 1
    page.locator(".rows .row").nth(1).get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("That device is signed out.")
    assert page.locator(".rows .row").count() == 3
    page.locator("summary", has_text="Sign out everywhere else").click()
    page.locator("form.confirm-body button[type=submit]").click()
    expect(page.get_by_role("status")).to_contain_text("All other devices are signed out.")
    for other in others:
        other.open("/account")
        assert "/sign-in" in other.page.url
    others[0].signed_in()
    visitor.open("/sign-out")
    page.get_by_label("Sign out on all my devices").check()
    page.locator('button[value="sign_out"]').click()
    page.wait_for_url("**/sign-out")
    others[0].open("/account")
    assert "/sign-in" in others[0].page.url
    for other in others:
        other.context.close()


def test_an_operator_sees_who_is_signed_in_and_ends_it_beside_the_running_server(visitor: Visitor) -> None:
    page = visitor.signed_in()
    beside = ("--user", visitor.name, "--database", "watchword-dev.db")
    listed = run_cli(visitor.server.folder, "session", "list", *beside)
    assert re.search(rf"session_\w+ +{visitor.name} ", listed.stdout), listed.stdout + listed.stderr
    ended = run_cli(visitor.server.folder, "session", "end", *beside)
    assert ended.returncode == 0, ended.stderr
    page.reload()
    page.wait_for_url("**/sign-in?return=*")


def test_the_language_that_was_chosen_is_kept(visitor: Visitor) -> None:
    page = visitor.open("/sign-in")
    page.get_by_role("link", name="Deutsch").click()
    expect(page.locator("h1")).to_have_text("Anmelden")
    assert page.locator("html").get_attribute("lang") == "de"
    visitor.open("/recover")
    assert page.locator("html").get_attribute("lang") == "de"
    page.get_by_role("link", name="English").click()
    expect(page.locator("h1")).to_have_text("Reset your password")


def test_everything_but_passkeys_works_without_scripts(browser: Browser, server: Process) -> None:
    visitor = Visitor(browser, server, make(server, "noscript"), java_script_enabled=False)
    page = visitor.signed_in()
    page.get_by_label("Name", exact=True).fill("No Script")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved.")
    visitor.open("/account/tokens/new")
    page.get_by_label("Name").fill("my script")
    page.get_by_label("Read your notes").check()
    page.get_by_role("button", name="Create").click()
    assert re.search(r"wwa_[0-9A-Za-z]{36}", page.inner_text("main"))
    visitor.open("/account/sessions")
    visitor.open("/account/passkeys")
    assert "need JavaScript" in page.inner_text("main")
    visitor.context.close()


def test_the_accessibility_engine_finds_nothing_on_pages_as_they_are_served(
    browser: Browser, server: Process
) -> None:
    visitor = Visitor(browser, server, make(server, "axe"))
    found = {path: violations(visitor.open(path)) for path in OUTSIDE}
    visitor.sign_in("wrong wrong wrong wrong")
    found["a refusal"] = violations(visitor.page)
    visitor.signed_in()
    for path in (f"/account{path}" for path in INSIDE):
        found[path] = violations(visitor.open(path))
    visitor.context.close()
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
