"""A zero-knowledge identity in a real Chromium: registered from *my account* with a proof of the command line, then signed in with."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from tests.browser.visiting import make_owner, sign_in
from tests.fixtures.commands import run_cli
from tests.fixtures.servers import Process, serve

pytestmark = pytest.mark.browser

WORD = "open sesame"


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Process]:
    """The real server, and in its folder somebody's identity."""
    with serve(tmp_path) as process:
        (tmp_path / "word").write_text(WORD)
        (tmp_path / "word").chmod(0o600)
        run(process, "create", "--secret", "me.zero", "--out", "me.id", *word())
        yield process


def word() -> tuple[str, str]:
    return "--passphrase-file", "word"


def run(process: Process, *arguments: str, stdin: str = "") -> str:
    """Run `watchword zero …` as a person would."""
    done = run_cli(process.folder, "zero", *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(process: Process, page: Page) -> str:
    """Answer the challenge that a page shows, with the command that it shows."""
    shown = page.locator("#command").inner_text().split()
    assert shown[:3] == ["watchword", "zero", "prove"]
    (process.folder / "challenge.json").write_text(page.locator("#challenge").inner_text())
    arguments = ["me.zero" if part == "FILE" else part for part in shown[2:]]
    return run(process, *arguments, *word())


def test_an_identity_is_registered_from_the_account_signed_in_with_and_revoked(
    browser: Browser, issuer: Process
) -> None:
    context = browser.new_context()
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    make_owner(page, issuer)
    sign_in(page)
    page.wait_for_url("**/account")
    page.goto(f"{issuer.issuer}/account/identities")
    page.locator('input[name="name"]').fill("work laptop")
    page.locator('textarea[name="identity"]').fill((issuer.folder / "me.id").read_text())
    page.locator('textarea[name="proof"]').fill(answer(issuer, page))
    page.get_by_role("button", name="Register", exact=True).click()
    page.get_by_role("heading", name="work laptop").wait_for()
    context.clear_cookies()
    page.goto(f"{issuer.issuer}/sign-in")
    page.locator('a[href*="/sign-in/identity"]').click()
    page.wait_for_url("**/sign-in/identity*")
    page.locator('textarea[name="proof"]').fill(answer(issuer, page))
    page.locator('form button[type="submit"]').last.click()
    page.wait_for_url("**/account")
    assert "ada" in page.inner_text("body")
    assert not complaints
    from_terminal = json.loads(
        run(issuer, "sign-in", issuer.issuer, "--secret", "me.zero", *word(), "--json")
    )
    assert from_terminal["amr"] == ["pop"]
    page.goto(f"{issuer.issuer}/account/identities")
    page.locator("details.confirm summary").click()
    page.get_by_role("button", name="Revoke identity").click()
    page.locator(".badge-danger").wait_for()
    refused = run_cli(issuer.folder, "zero", "sign-in", issuer.issuer, "--secret", "me.zero", *word())
    assert (refused.returncode, refused.stderr.strip()) == (1, "error: The proof is not valid here.")
    context.close()
