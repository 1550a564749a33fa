"""A client whose authorization server hangs, drips, or has no time: what is good still is used, and nothing is taken for a refusal."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.client.conftest import Foreign
from tests.client.ways import READ

from watchword.client import ClientSecret, HttpxAuth, TokenExchange, TokenSource, Unreachable
from watchword.testing.clock import Clock

LIFE = 60  # seconds that the issuer's tokens live


def source_at(foreign: Foreign, clock: Clock, http: httpx.Client | None = None) -> TokenSource:
    """A source that lives by a clock of its own."""
    return TokenSource(
        foreign.issuer,
        ClientSecret("a", "b"),
        READ,
        api="https://api.example.com",
        clock=clock,
        http=http,
    )


def test_an_issuer_that_has_no_time_says_nothing_of_the_client(foreign: Foreign) -> None:
    source = source_at(foreign, clock := Clock())
    assert source.token() == "token-1"
    foreign.status, foreign.answer = 429, {"error": "too_many_requests"}
    clock.advance(LIFE - 10)
    assert source.token() == "token-1", "still good"
    clock.advance(10)
    with pytest.raises(Unreachable, match="429"):
        source.token()
    foreign.status, foreign.answer = 200, None
    assert source.token() == "token-4"


# What a server names, and the seconds that it is left alone.
PAUSES = {
    "30": 30.0,
    "86400": 60.0,
    "0": 0.0,
    "-5": 0.0,
    "9" * 5000: 0.0,
    "Wed, 21 Oct 2099 07:28:00 GMT": 0.0,
}


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("named", PAUSES, ids=lambda named: named[:20])
def test_an_issuer_that_says_how_long_it_has_no_time_is_left_alone(
    foreign: Foreign, status: int, named: str
) -> None:
    """RFC 9110 §10.2.3, RFC 6585 §4."""
    source = source_at(foreign, Clock())
    foreign.status, foreign.retry_after = status, named
    with pytest.raises(Unreachable, match=str(status)) as refused:
        source.token()
    assert refused.value.retry_after == PAUSES[named]
    if PAUSES[named]:
        with pytest.raises(Unreachable, match=str(status)) as refused:
            source.token()
        assert 0 < refused.value.retry_after <= PAUSES[named]
        assert len(foreign.forms) == 1
    foreign.status, foreign.retry_after = 200, None
    assert source.record(since=time.monotonic() + PAUSES[named]).access_token == "token-2"


@pytest.mark.parametrize("status", [429, 503])
def test_an_issuer_that_has_no_time_for_its_metadata_is_left_alone_too(foreign: Foreign, status: int) -> None:
    source = source_at(foreign, Clock())
    foreign.is_busy, foreign.status, foreign.retry_after = True, status, "30"
    for _ in range(3):
        with pytest.raises(Unreachable, match=str(status)) as refused:
            source.token()
        assert 0 < refused.value.retry_after <= 30
    assert foreign.asked == 1
    foreign.is_busy, foreign.status, foreign.retry_after = False, 200, None
    assert source.record(since=time.monotonic() + 30).access_token == "token-1"


def test_what_a_busy_issuer_said_of_one_is_not_the_answer_for_another(foreign: Foreign) -> None:
    whose = ["ada"]
    grant = TokenExchange(lambda: whose[0])
    api = "https://api.example.com"
    source = TokenSource(foreign.issuer, ClientSecret("a", "b"), grant, api=api, clock=Clock())
    foreign.status, foreign.retry_after = 429, "30"
    with pytest.raises(Unreachable):
        source.token()
    foreign.status, foreign.retry_after, whose[0] = 200, None, "grace"
    assert source.token() == "token-2"


def test_a_refused_token_is_replaced_though_the_clock_was_set_back(foreign: Foreign) -> None:
    source = source_at(foreign, clock := Clock())
    good = ["Bearer token-1"]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.headers["authorization"] in good else 401)

    with httpx.Client(transport=httpx.MockTransport(answer), auth=HttpxAuth(source)) as client:
        assert client.get("https://api.example.com/").status_code == 200
        good[:] = ["Bearer token-2"]
        clock.advance(-3600)
        assert client.get("https://api.example.com/").status_code == 200
    assert len(foreign.forms) == 2


class Hanging(httpx.HTTPTransport):
    """Lets no question through from the moment that it hangs, and counts those who wait."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = False
        self.waited = 0
        self.over = threading.Event()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Wait as a client does until its patience ends."""
        if self.hangs:
            self.waited += 1
            self.over.wait(10)
            raise httpx.ReadTimeout("nothing came")
        return super().handle_request(request)


def test_for_an_issuer_that_hangs_one_waits_while_the_token_is_good(foreign: Foreign) -> None:
    hanging, clock = Hanging(), Clock()
    source = source_at(foreign, clock, httpx.Client(transport=hanging))
    assert source.token() == "token-1"
    hanging.hangs = True
    clock.advance(LIFE - 10)
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(source.token) for _ in range(12)]
        hanging.over.set()
        assert {one.result() for one in waiting} == {"token-1"}
    assert hanging.waited == 1, "a request for each would wait for it in turn"
    hanging.hangs = False
    clock.advance(5)
    assert source.token() == "token-2", "asked for again, before the end"


class Dripping(httpx.HTTPTransport):
    """Answers the question for a token byte by byte, each a second after the other."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.sent = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a question for the metadata as it is."""
        if request.method == "GET":
            return super().handle_request(request)
        return httpx.Response(200, content=self._drops())

    def _drops(self) -> Iterator[bytes]:
        for _ in range(100_000):
            self.clock.advance(1)
            self.sent += 1
            yield b" "


def test_an_answer_that_drips_is_not_waited_for_to_its_end(foreign: Foreign) -> None:
    assert source_at(foreign, Clock()).token() == "token-1"
    dripping = Dripping(clock := Clock())
    with pytest.raises(Unreachable, match="too long"):
        source_at(foreign, clock, httpx.Client(transport=dripping)).token()
    assert dripping.sent < 60


async def test_those_who_wait_for_a_server_that_cannot_be_reached_fail_together(foreign: Foreign) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        raise httpx.ConnectTimeout("no answer in time")

    async def fetch(client: httpx.AsyncClient) -> int:
        try:
            return (await client.get("https://api.example.com/")).status_code
        except Unreachable:
            return 0

    api = httpx.MockTransport(lambda request: httpx.Response(200))
    source = source_at(foreign, Clock(), httpx.Client(transport=httpx.MockTransport(answer)))
    async with httpx.AsyncClient(transport=api, auth=HttpxAuth(source)) as client:
        assert await asyncio.gather(*(fetch(client) for _ in range(20))) == [0] * 20
        first = len(asked)
        assert await fetch(client) == 0
    assert len(asked) == 2 * first, "one question was for all, and who comes later asks for itself"
    async with httpx.AsyncClient(transport=api, auth=HttpxAuth(source_at(foreign, Clock()))) as client:
        assert await asyncio.gather(*(fetch(client) for _ in range(20))) == [200] * 20
    assert len(foreign.forms) == 1
