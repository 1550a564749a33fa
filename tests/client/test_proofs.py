"""Proofs of possession that clients make (RFC 9449): when another one helps, and by whose clock."""

import time
from email.utils import formatdate

import pytest
from tests.client.conftest import Api
from tests.client.ways import READ, WAYS, Ask, by_httpx, secret_of
from tests.fixtures.live import Live

from watchword.client import TokenSource
from watchword.client.proofs import Clocks


@WAYS
def test_a_proof_that_was_made_for_this_address_is_not_made_again_for_a_person_to_sign_in(
    live: Live, api: Api, ask: Ask
) -> None:
    source = TokenSource(live.issuer, secret_of(live), READ, api=api.address, dpop=True)
    assert ask(source, f"{api.address}/orders", content=b"") == 200
    assert ask(source, f"{api.address}/step-up", content=b"") == 401
    assert len(api.seen) == 2


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_wrong_does_not_matter_to_a_proof_beside_a_secret(
    live: Live, api: Api, minutes: int
) -> None:
    source = TokenSource(
        live.issuer,
        secret_of(live),
        READ,
        api=api.address,
        dpop=True,
        clock=lambda: time.time() + 60 * minutes,
    )
    assert by_httpx(source, f"{api.address}/orders") == 200


@pytest.mark.parametrize(
    ("date", "age", "learned"),
    [
        (-600, "600", 0),  # by a clock that is right, ten minutes ago
        (-600, None, -600),
        (-1200, "600", -600),
        (0, "-600", 0),  # no age
        (0, "6" * 99, 0),
    ],
)
def test_an_answer_out_of_a_cache_does_not_set_a_clock_back(date: int, age: str | None, learned: int) -> None:
    """RFC 9111 §5.1: it has the Date of when it was made, and its Age since."""
    api, now = ("https", "api.example.com", 443), 2_000_000_000
    clocks = Clocks(lambda: float(now))
    clocks.heard(api, {"date": formatdate(now + date, usegmt=True)} | ({"age": age} if age else {}))
    assert clocks.at(api) == now + learned
