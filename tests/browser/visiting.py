"""What a person does first: the owner's account, the sign-in, and the secret of a code flow."""

import base64
import hashlib
import re

from playwright.sync_api import Page
from tests.fixtures.people import PASSWORD
from tests.fixtures.servers import Process

VERIFIER = "v" * 43
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


def make_owner(page: Page, process: Process) -> None:
    """Make the owner's account by the link that the server printed."""
    link = re.search(r"http://\S+/setup\?link=\S+", process.log.read_text())
    assert link is not None
    page.goto(link[0])
    page.get_by_label("User name").fill("ada")
    page.locator('input[name="new_password"]').fill(PASSWORD)
    page.locator('form button[type="submit"]').first.click()
    page.wait_for_url("**/sign-in?notice=registered")
    assert page.locator('input[name="identifier"]').input_value() == "ada"
    assert page.evaluate("document.activeElement.id") == "password", "the name is there already"


def sign_in(page: Page) -> None:
    """Fill in the sign-in form."""
    page.locator('input[name="identifier"]').fill("ada")
    page.locator('input[name="password"]').fill(PASSWORD)
    page.locator('form button[type="submit"]').last.click()
