"""The last moments of a token that was revoked: a guard accepts tokens for a little longer than they live, and by its own clock."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from tests.fixtures.live import Live

from watchword.flows.clients import client_metadata, client_registry
from watchword.flows.clients.client_registry import Registered
from watchword.guard import Guard, Refused, background, ended
from watchword.guard.presented import Presented
from watchword.guard.verifier import LEEWAY
from watchword.jose import jws, jwt

PATIENCE = 20.0


def credentials(registered: Registered) -> tuple[str, str]:
    return registered.client.client_id, registered.client_secret or ""


def token_of(live: Live, registered: Registered) -> str:
    form = {"grant_type": "client_credentials"}
    answer = httpx.post(f"{live.issuer}/token", data=form, auth=credentials(registered))
    token: str = answer.json()["access_token"]
    return token


def revoke(live: Live, registered: Registered, token: str) -> None:
    form = {"token": token}
    assert httpx.post(f"{live.issuer}/revoke", data=form, auth=credentials(registered)).status_code == 200


def accepts(guard: Guard, token: str) -> bool:
    try:
        guard.authenticate_sync(Presented(authorization=(f"Bearer {token}",)))
    except Refused as refused:
        if refused.error != "invalid_token":
            raise
        return False
    return True


def until_refused(guard: Guard, token: str) -> None:
    begun = time.monotonic()
    while accepts(guard, token):
        assert time.monotonic() - begun < PATIENCE, "the guard was not told"
        time.sleep(0.01)


@pytest.fixture(
    params=[pytest.param(0, id="a clock that is right"), pytest.param(60, id="a clock a minute behind")]
)
def behind(request: pytest.FixtureRequest) -> int:
    """By how many seconds the clock of the guards is behind the issuer's."""
    seconds: int = request.param
    return seconds


@pytest.fixture
def guards(live: Live, behind: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Guard, Guard]]:
    """Two guards that only the feed can tell of revocations, and that forget with each page what they may."""
    monkeypatch.setattr(ended, "WAIT", 0.0)
    monkeypatch.setattr(ended, "PURGE_INTERVAL", 0.0)
    with ExitStack() as opened:
        made = [
            Guard(
                live.issuer, clock=lambda: live.clock() - behind, when_silent="refuse", silence=3 * PATIENCE
            )
            for _ in range(2)
        ]
        for guard in made:
            opened.callback(lambda guard=guard: background.run(guard.close()))
        yield made[0], made[1]


def test_a_token_ends_with_its_second_however_long_its_status_list_is_good(live: Live) -> None:
    client = live.client(scope="orders:read", access_token_status=True, access_token_lifetime=10)
    token = token_of(live, client)
    guard = Guard(live.issuer, revocation_feed=False, status_lists=True, clock=live.clock)
    live.clock.advance(10 + LEEWAY - 1)
    assert [accepts(guard, token) for _ in range(2)] == [True, True]
    live.clock.advance(1)
    assert not accepts(guard, token)
    background.run(guard.close())


@pytest.mark.parametrize("behind", [0], indirect=True)
def test_a_client_that_is_there_again_at_once_has_tokens_that_a_guard_accepts(
    live: Live, guards: tuple[Guard, Guard], behind: int
) -> None:
    running, newcomer = guards
    client = live.client(scope="orders:read")
    before = token_of(live, client)
    assert accepts(running, before)
    given = client_metadata.to_input(client.client)
    for disabled in (True, False):
        changed = client_registry.change(
            live.runtime,
            client.client.client_id,
            given,
            expected_version=None,
            disabled=disabled,
            actor="test",
        )
        live.run(changed)
    after = token_of(live, client)
    until_refused(running, before)
    for guard in (running, newcomer):
        assert accepts(guard, after)
        assert not accepts(guard, before)


def test_ck_02_a_revoked_token_stays_dead_while_a_guard_accepts_others_of_its_age(
    live: Live, guards: tuple[Guard, Guard], behind: int
) -> None:
    running, newcomer = guards
    client = live.client(scope="orders:read")
    token, other = token_of(live, client), token_of(live, client)
    expires_at = int(jwt.read_claims(jws.b64decode(token.split(".")[1]))["exp"])
    assert accepts(running, token)
    revoke(live, client, token)
    until_refused(running, token)
    live.clock.now = expires_at + LEEWAY - 1 + behind
    later = token_of(live, client)
    revoke(live, client, later)
    until_refused(running, later)  # so it has read another page, and forgotten what it may
    for guard in (running, newcomer):
        assert accepts(guard, other), "the last moment for what was not revoked"
        assert not accepts(guard, token)
    live.clock.advance(1)
    assert not accepts(running, other)
