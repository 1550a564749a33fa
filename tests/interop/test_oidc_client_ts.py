"""npm oidc-client-ts 3 in a real Chromium: an application without a server, whose scripts call ours from another origin."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from tests.fixtures import certificates
from tests.fixtures.browser import PASSWORD
from tests.fixtures.certificates import Pair
from tests.fixtures.chromium import launched
from tests.fixtures.loopback import LoopbackServer
from tests.interop.conftest import Installation

# Whichever comes first installs what it needs.
pytestmark = [pytest.mark.node, pytest.mark.browser, pytest.mark.timeout(400)]

PAGE = """<!doctype html><title>Application</title><script src="/oidc.js"></script><script>
const manager = new oidc.UserManager({settings})
async function run() {{
  if (!location.search) return manager.signinRedirect()
  const user = await manager.signinCallback()
  const renewed = await manager.signinSilent()
  await manager.revokeTokens(["refresh_token"])
  return {{ profile: user.profile, renewed: renewed.access_token !== user.access_token, session: user.session_state }}
}}
run().then(
  (result) => {{ if (result) document.title = JSON.stringify({{ result }}) }},
  (error) => {{ document.title = JSON.stringify({{ error: String(error) }}) }},
)
</script>"""


@pytest.fixture
def application(
    node_software: Path, installation: Installation, authority: tuple[Pair, Path], tmp_path: Path
) -> Iterator[str]:
    """The application on an origin of its own: its address."""
    script = (node_software / "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js").read_bytes()
    served: dict[str, tuple[bytes, bytes]] = {"/oidc.js": (b"text/javascript", script)}

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            kind, body = served.get(scope["path"], (b"text/plain", b""))
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
            await send({"type": "http.response.body", "body": body})

    own = certificates.make(tmp_path, "application", issuer=authority[0], names=certificates.LOCALHOST)
    with LoopbackServer(app, tls=certificates.serving(own)) as server:
        address = f"https://localhost:{server.port}/"
        client = installation.client(
            name="In the browser",
            redirect_uris=[address],
            grant_types=["authorization_code", "refresh_token"],
            token_endpoint_auth_method="none",
            scope="openid email offline_access",
        )
        settings = {
            "authority": installation.issuer,
            "client_id": client["client_id"],
            "redirect_uri": address,
            "scope": "openid email offline_access",
            "loadUserInfo": True,
        }
        served["/"] = (b"text/html", PAGE.format(settings=json.dumps(settings)).encode())
        yield address


def sign_in_and_agree(page: Page) -> None:
    """Be the person."""
    page.locator('input[name="identifier"]').fill("ada")
    page.locator('input[name="password"]').fill(PASSWORD)
    page.locator('form button[type="submit"]').last.click()
    page.wait_for_url("**/authorize/resume*")
    page.locator('button[value="approve"]').click()


def test_it_signs_in_renews_and_revokes_across_origins(chromium: str, application: str) -> None:
    with launched(chromium, "--ignore-certificate-errors") as browser:
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.goto(application)
        page.wait_for_url("**/sign-in*")
        sign_in_and_agree(page)
        page.wait_for_url(f"{application}*")
        page.wait_for_function("document.title.startsWith('{')")
        said = json.loads(page.title())
    assert "error" not in said, said
    assert said["result"]["profile"]["email"] == "ada@example.com", "from userinfo, across origins"
    assert said["result"]["renewed"]
