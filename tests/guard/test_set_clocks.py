"""CK: a guard whose clock is set, and the issuer's with it, as on one machine: nothing that ended lives again, and the feed goes on."""

import time
from collections.abc import Iterator

import httpx
import pytest
from tests.fixtures.live import Live
from tests.guard.test_last_moments import accepts

from watchword.flows.clients.client_registry import Registered
from watchword.guard import Guard, background
from watchword.guard.ended import WAIT, Ended
from watchword.oauth.ended import Entry, Page, digest, mark

DAY, YEAR = 86_400, 365 * 86_400
PATIENCE = 20.0
BEGUN = 1_800_000_000


def token_of(live: Live, client: Registered) -> str:
    credentials = client.client.client_id, client.client_secret or ""
    answer = httpx.post(f"{live.issuer}/token", data={"grant_type": "client_credentials"}, auth=credentials)
    token: str = answer.json()["access_token"]
    return token


def revoke(live: Live, client: Registered, token: str) -> None:
    credentials = client.client.client_id, client.client_secret or ""
    assert httpx.post(f"{live.issuer}/revoke", data={"token": token}, auth=credentials).status_code == 200


def is_told(guard: Guard, token: str) -> bool:
    """Whether a guard that only the feed can tell learns of a revocation in time."""
    deadline = time.monotonic() + PATIENCE
    while accepts(guard, token):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture
def client(live: Live) -> Registered:
    return live.client(scope="orders:read")


def guarding(live: Live) -> Guard:
    """Return a guard that only the feed can tell of revocations."""
    return Guard(live.issuer, clock=live.clock, when_silent="refuse", silence=3 * PATIENCE)


@pytest.fixture
def guard(live: Live) -> Iterator[Guard]:
    made = guarding(live)
    yield made
    background.run(made.close())


@pytest.mark.parametrize("off", [YEAR, -DAY], ids=["a year ahead", "a day back"])
def test_ck_01_what_ended_before_a_clock_was_wrong_has_ended_when_it_is_right_again(
    live: Live, guard: Guard, client: Registered, off: int
) -> None:
    dead, alive = token_of(live, client), token_of(live, client)
    assert accepts(guard, dead)
    revoke(live, client, dead)
    assert is_told(guard, dead)
    live.clock.advance(off)
    meanwhile = token_of(live, client)
    assert accepts(guard, meanwhile)
    revoke(live, client, meanwhile)
    assert is_told(guard, meanwhile), "the feed goes on"
    newcomer = guarding(live)
    assert not accepts(newcomer, meanwhile)
    live.clock.advance(-off)
    after = token_of(live, client)
    for one in (guard, newcomer):
        assert accepts(one, alive)
        assert accepts(one, after)
        assert not accepts(one, dead)
    revoke(live, client, after)
    for one in (guard, newcomer):
        assert is_told(one, after), "the feed goes on"
    background.run(newcomer.close())


def test_what_nothing_depends_on_any_more_is_forgotten_an_hour_after_a_clock_was_set() -> None:
    passed, off = 0.0, 0.0
    known = Ended(silence=5.0, passed=lambda: passed)

    def hear(number: int, seconds: float = 0.0) -> bool:
        """Take the next page, `seconds` later; return whether the first entry is still known."""
        nonlocal passed
        passed += seconds
        now = BEGUN + passed + off
        entries = (Entry(mark("token", "t"), BEGUN + 600),) if number == 1 else ()
        known.apply(Page("", str(number), False, entries, int(now)), now)
        return known.concerns([digest("token", "t")], None)

    assert hear(1)
    assert hear(2, WAIT - 1), "at the start nobody knows whether the clock is right"
    off = YEAR
    assert hear(3, 1)
    assert hear(4, WAIT - 1)
    off = 0.0
    assert hear(5, 1)
    assert hear(6, WAIT - 1)
    assert not hear(7, 1)


def test_ck_01_an_answer_of_the_issuer_is_not_kept_for_as_long_as_a_clock_was_set_back(
    live: Live, client: Registered
) -> None:
    token = token_of(live, client)
    guard = Guard(live.issuer, clock=live.clock, live=True)
    assert accepts(guard, token)
    live.clock.advance(-2)
    revoke(live, client, token)
    live.clock.advance(1)
    assert not accepts(guard, token)
    background.run(guard.close())
