"""The console in a real Chromium, against `watchword dev`: an owner makes a token, an API sees it used, and it is revoked as leaked."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser.visiting import make_owner, sign_in
from tests.fixtures.servers import Process, serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """`watchword dev` on a database of its own."""
    with serve(tmp_path_factory.mktemp("console"), command="dev") as process:
        yield process


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console complains of."""
    return []


@pytest.fixture
def page(browser: Browser, server: Process, complaints: list[str]) -> Iterator[Page]:
    """A browser that may use the clipboard, in which the owner is signed in."""
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    opened = context.new_page()
    opened.on(
        "console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    make_owner(opened, server)
    sign_in(opened)
    opened.wait_for_url("**/account*")
    yield opened
    context.close()


def call(server: Process, token: str) -> int:
    """Return what the server's own API answers to a token."""
    answer = httpx.get(
        f"{server.issuer}/api/v1/tokens/self", headers={"authorization": f"Bearer {token}"}, timeout=10
    )
    return answer.status_code


def shows_uses(page: Page, wanted: str) -> bool:
    """Tell whether a token's page comes to say how often it was accepted: uses are written down in steps."""
    counted = page.locator(".bars li", has_text="Accepted").locator("span")
    for _ in range(100):
        page.reload()
        if counted.count() and counted.inner_text() == wanted:
            return True
        page.wait_for_timeout(200)
    return False


def test_an_owner_makes_a_token_sees_it_used_and_revokes_it_as_leaked(
    page: Page, server: Process, complaints: list[str]
) -> None:
    page.get_by_role("link", name="Console").click()
    expect(page.locator("h1")).to_have_text("Overview")
    page.get_by_role("link", name="API tokens", exact=True).click()
    page.get_by_role("link", name="New token").click()
    page.get_by_label("Name").fill("Nightly backup")
    page.get_by_label("Owner").fill("backup")
    page.get_by_label("It may").fill("orders:read")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("h1")).to_have_text("The new token")
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    token = page.evaluate("navigator.clipboard.readText()")
    assert token == page.locator("#token-secret").inner_text()
    page.get_by_role("link", name="I stored it").click()
    expect(page.locator("h1")).to_have_text("Nightly backup")
    expect(page.get_by_text("Never used").first).to_be_visible()

    assert [call(server, token) for _ in range(3)] == [200, 200, 200]
    assert shows_uses(page, "3")

    page.get_by_text("It leaked").click()
    page.get_by_role("button", name="Revoke as leaked").click()
    expect(page.get_by_role("status")).to_contain_text("The token is revoked.")
    assert call(server, token) == 401
    page.get_by_role("link", name="Audit trail").click()
    revoked = page.locator("li.row", has_text="token.compromised").first
    expect(revoked).to_contain_text("by ada")
    revoked.locator("a[href*='/console/tokens/']").click()
    expect(page.locator("h1")).to_have_text("Nightly backup")
    assert not complaints
