"""What a client is taken to want when it has its own token narrowed."""

import pytest

from watchword.flows.trust import exchanges
from watchword.oauth.exchange import ACCESS_TOKEN, ExchangeRequest, LiveToken

API, DOWN = "https://api.example", "https://down.example"
OWN = LiveToken("access_token", "app", "app", ("read",), (API, DOWN), None)


@pytest.mark.parametrize(
    ("targets", "narrowing", "found"),
    [
        pytest.param((), True, (API, DOWN), id="a token of several audiences keeps them all"),
        pytest.param((DOWN,), True, (DOWN,), id="or those that are named"),
        pytest.param((), False, (), id="another's token has to be for something"),
    ],
)
def test_the_audience_of_a_narrowed_token(
    targets: tuple[str, ...], narrowing: bool, found: tuple[str, ...]
) -> None:
    request = ExchangeRequest(ACCESS_TOKEN, targets=targets)
    assert exchanges.with_targets(request, OWN, narrowing).targets == found
