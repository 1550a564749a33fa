"""Newcomers in a real Chromium where passkeys are the only way in: first owner, invitation, a lost passkey; every page checked."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from tests.fixtures.chromium import DEVICE, violations
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import Process, serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CONFIG = 'sign_in_methods = ["passkey"]\n'
NEW = "kim@example.com"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server that takes passkeys alone."""
    folder = tmp_path_factory.mktemp("enrolment")
    (folder / "watchword.toml").write_text(CONFIG, "utf-8")
    with serve(folder) as process:
        yield process


def at(browser: Browser, **options: Any) -> tuple[BrowserContext, Page]:
    """Return somebody at a browser of their own, with a device that makes passkeys."""
    context = browser.new_context(**options)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    page.add_init_script("PublicKeyCredential.isConditionalMediationAvailable = () => Promise.resolve(false)")
    return context, page


def check(page: Page) -> None:
    """Check that a page is accessible."""
    assert violations(page) == []


def run(server: Process, *command: str) -> dict[str, Any]:
    """Run a command; return what it prints."""
    done = run_cli(server.folder, *command, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def sign_in(page: Page, name: str) -> None:
    """Sign in with the passkey that was made just now."""
    expect(page.get_by_role("status")).to_contain_text("Your passkey is ready. Sign in with it now.")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/account")
    assert name in page.inner_text("body")


def test_the_first_owner_an_invited_person_and_one_who_lost_a_passkey_get_in_without_a_password(
    browser: Browser, server: Process
) -> None:
    link = re.search(r"http://\S+/setup\?link=\S+", server.log.read_text())
    assert link is not None
    context, page = at(browser)
    page.goto(link[0])
    assert page.locator('input[type="password"]').count() == 0
    check(page)
    page.get_by_role("button", name="Create owner with a passkey").click()
    assert page.evaluate("document.activeElement.id") == "username", "a name comes first"
    page.get_by_label("User name").fill("ada")
    page.get_by_role("button", name="Create owner with a passkey").click()
    sign_in(page, "ada")
    context.close()

    context, page = at(browser)
    page.goto(run(server, "user", "invite", NEW)["link"])
    assert page.locator('input[type="password"]').count() == 0
    check(page)
    page.get_by_label("Name").fill("Kim")
    page.get_by_role("button", name="Create account with a passkey").click()
    sign_in(page, "Kim")
    context.close()

    run(server, "user", "remove-factors", NEW)
    context, page = at(browser)
    page.goto(run(server, "user", "reset-link", NEW)["link"])
    check(page)
    page.get_by_role("button", name="Create passkey").click()
    sign_in(page, "Kim")
    context.close()


@pytest.mark.parametrize(
    ("locale", "words"),
    [("en", "Passkeys need JavaScript"), ("de", "Passkeys brauchen JavaScript")],
    ids=["in English", "in German"],
)
def test_without_scripts_the_page_says_what_is_needed(
    browser: Browser, server: Process, locale: str, words: str
) -> None:
    context = browser.new_context(java_script_enabled=False, locale=locale)
    page = context.new_page()
    page.goto(run(server, "user", "invite", f"{locale}@example.com")["link"])
    expect(page.get_by_role("main")).to_contain_text(words)
    assert page.get_by_role("button").count() == 0, "nothing that would do nothing"
    context.close()


def test_where_both_are_taken_the_page_offers_the_passkey_first(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path) as both:
        link = re.search(r"http://\S+/setup\?link=\S+", both.log.read_text())
        assert link is not None
        context, page = at(browser)
        page.goto(link[0])
        check(page)
        expect(page.locator('input[name="new_password"]')).to_be_visible()
        page.get_by_label("User name").fill("ada")
        page.get_by_role("button", name="Create owner with a passkey").click()
        sign_in(page, "ada")
        context.close()
