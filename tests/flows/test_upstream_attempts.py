"""A sign-in that was begun at one provider, in one browser, is not finished by another."""

import pytest
from tests.fixtures.servers import Server

from watchword.credentials.upstream import LIFETIME, Attempt
from watchword.flows.upstream import provider_sign_in
from watchword.flows.upstream.provider_sign_in import Begun

ATTEMPT = Attempt(
    "https://hub.example", "state", "nonce", "verifier", "http://localhost/upstream/hub/callback"
)


@pytest.mark.parametrize(
    ("name", "browser", "later", "found"),
    [
        pytest.param("hub", "browser", LIFETIME - 1, True, id="as it was begun"),
        pytest.param("other", "browser", 0, False, id="another provider"),
        pytest.param("hub", "another", 0, False, id="another browser"),
        pytest.param("hub", "browser", LIFETIME, False, id="too late"),
    ],
)
async def test_an_attempt_is_for_one_provider_and_one_browser_and_for_ten_minutes(
    server: Server, name: str, browser: str, later: int, found: bool
) -> None:
    runtime = server.runtime
    begun = Begun("hub", ATTEMPT, "/account", runtime.now())
    sealed = runtime.root.seal_text("upstream", "browser", provider_sign_in._encode(begun))
    server.clock.advance(later)
    assert provider_sign_in.open_attempt(runtime, name, browser, sealed) == (begun if found else None)
