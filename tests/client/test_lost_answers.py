"""A refresh whose answer is lost: the server has used the token up, and gives its successor again for some seconds only."""

from pathlib import Path

import httpx
import pytest
from tests.client.conftest import Api
from tests.client.test_refresh_files import public_client, signed_in
from tests.client.ways import by_httpx
from tests.fixtures.live import Live

from watchword.client import FileStore, PublicClient, RefreshToken, TokenSource, Unreachable
from watchword.client.server import TIMEOUT
from watchword.settings import Settings
from watchword.testing.clock import Clock


class Sleeping(httpx.HTTPTransport):
    """A machine that is suspended, or whose clock is set, while the answers to its requests for a token are on their way."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if request.method == "POST":
            self.clock.advance(3600)
        return answer


class Losing(httpx.HTTPTransport):
    """A way to the server on which the answers to some requests for a token are lost; `lost` are what a client notices, in their order."""

    def __init__(self, *lost: httpx.TransportError | int) -> None:
        super().__init__()
        self.lost = list(lost)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if request.method != "POST" or not self.lost:
            return answer
        assert answer.read(), "the server has answered"
        lost = self.lost.pop(0)
        if isinstance(lost, int):
            return httpx.Response(lost, text="Bad Gateway")
        raise lost


@pytest.mark.parametrize("lost", [httpx.ReadError("reset"), httpx.ReadTimeout("silence"), 502, 504], ids=str)
@pytest.mark.parametrize("again", [False, True], ids=["the first refresh", "a later one"])
def test_a_refresh_whose_answer_is_lost_is_made_again_while_the_server_gives_its_successor(
    live: Live, api: Api, tmp_path: Path, lost: httpx.TransportError | int, again: bool
) -> None:
    client_id = public_client(live)
    way = Losing()
    source = TokenSource(
        live.issuer,
        PublicClient(client_id),
        RefreshToken(signed_in(live, client_id)),
        api=api.address,
        store=FileStore(tmp_path / "token.json"),
        clock=live.clock,
        http=httpx.Client(transport=way),
    )
    if again:
        assert by_httpx(source, f"{api.address}/orders") == 200
        live.clock.advance(live.app.settings.access_token_lifetime - 20)
    way.lost = [lost]
    assert by_httpx(source, f"{api.address}/orders") == 200
    assert not way.lost
    live.clock.advance(live.app.settings.refresh_token_grace + 1)
    assert by_httpx(source, f"{api.address}/orders") == 200
    live.clock.advance(live.app.settings.access_token_lifetime)
    assert by_httpx(source, f"{api.address}/orders") == 200, "the sign-in lasts"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_says_itself_that_it_failed_is_not_asked_again_at_once(
    live: Live, api: Api, status: int
) -> None:
    client_id, way = public_client(live), Losing(status, 502)
    source = TokenSource(
        live.issuer,
        PublicClient(client_id),
        RefreshToken(signed_in(live, client_id)),
        api=api.address,
        clock=live.clock,
        http=httpx.Client(transport=way),
    )
    with pytest.raises(Unreachable, match=str(status)):
        source.token()
    assert way.lost == [502]
    assert by_httpx(source, f"{api.address}/orders") == 200, "the next request of the program asks"


def test_an_answer_that_came_while_the_machine_slept_is_kept(live: Live, api: Api) -> None:
    client_id, clock = public_client(live), Clock()
    source = TokenSource(
        live.issuer,
        PublicClient(client_id),
        RefreshToken(signed_in(live, client_id)),
        api=api.address,
        clock=clock,
        http=httpx.Client(transport=Sleeping(clock)),
    )
    for _ in range(3):
        assert by_httpx(source, f"{api.address}/orders") == 200
        live.clock.advance(live.app.settings.refresh_token_grace + 1)


def test_a_client_gives_an_answer_up_while_the_server_would_repeat_it() -> None:
    grace = Settings(issuer="https://auth.example.com").refresh_token_grace
    assert grace > TIMEOUT + 1, "it counts whole seconds"
