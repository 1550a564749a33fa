"""LO-04: going back in a Chromium that keeps whole pages in memory, as people's browsers do, shows nobody what was somebody else's."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.visiting import make_owner, sign_in
from tests.fixtures.chromium import launched
from tests.fixtures.servers import Process, serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]
# Counts the pages that came from memory.
COUNTING = """addEventListener("pageshow", event => {
  if (event.persisted) sessionStorage.kept = Number(sessionStorage.kept || 0) + 1
})"""


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A Chromium that keeps pages, which Playwright forbids it otherwise."""
    with launched(chromium, without=["--disable-back-forward-cache"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`watchword dev` on a database of its own."""
    with serve(tmp_path_factory.mktemp("back"), command="dev") as process:
        yield process


@pytest.fixture(scope="module")
def page(browser: Browser, server: Process) -> Iterator[Page]:
    """A browser in which the owner is signed in."""
    context = browser.new_context()
    context.add_init_script(COUNTING)
    opened = context.new_page()
    make_owner(opened, server)
    sign_in(opened)
    opened.wait_for_url("**/account*")
    yield opened
    context.close()


def back(page: Page, steps: int = 1) -> None:
    """Go back; a page from memory loads nothing, so that there is nothing to wait for but what it shows."""
    page.evaluate("steps => { setTimeout(() => history.go(-steps)) }", steps)


def kept(page: Page) -> int:
    """Return how many pages of this tab came from memory."""
    return int(page.evaluate("sessionStorage.kept || 0"))


def test_a_secret_that_is_shown_once_is_not_shown_again(page: Page, server: Process) -> None:
    page.goto(f"{server.issuer}/console/tokens/new")
    page.get_by_label("Name").fill("Nightly backup")
    page.get_by_label("Owner").fill("backup")
    page.get_by_label("It may").fill("orders:read")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#token-secret")).to_be_visible()
    before = kept(page)
    page.get_by_role("link", name="I stored it").click()
    expect(page.locator("h1")).to_have_text("Nightly backup")
    back(page)
    expect(page.get_by_text("That token was created already")).to_be_visible()
    assert kept(page) > before, "it came from memory, and was loaded again"


def test_lo_04_who_has_signed_out_is_not_shown_on_going_back(page: Page, server: Process) -> None:
    def sign_out() -> None:
        page.get_by_role("link", name="Sign out").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.locator("h1")).to_have_text("You’re signed out")

    page.goto(f"{server.issuer}/account")
    sign_out()
    page.get_by_role("link", name="Sign in again").click()
    sign_in(page)
    expect(page.locator("h1")).to_have_text("Profile")
    before = kept(page)
    sign_out()
    back(page, 2)
    expect(page.locator("h1")).to_have_text("Sign in")
    assert kept(page) > before, "it came from memory, and was loaded again"
