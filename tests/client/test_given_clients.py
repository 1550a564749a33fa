"""A TokenSource that was given an HTTP client of the program's: whatever that one does by itself, secrets go to the issuer alone."""

import threading
from collections.abc import Callable

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.client.conftest import Foreign
from tests.client.ways import READ
from tests.fixtures.loopback import LoopbackServer

from watchword.client import ClientSecret, HttpxAuth, RefreshToken, TokenSource, Unreachable
from watchword.client.grants import Grant

API = "https://api.example.com"


@pytest.mark.parametrize("grant", [READ, RefreshToken("secret")], ids=["client", "person"])
def test_no_secret_follows_a_redirect_of_the_token_endpoint(foreign: Foreign, grant: Grant) -> None:
    seen: list[bytes] = []

    async def away(_: Request) -> Response:
        return RedirectResponse(f"http://127.0.0.1:{elsewhere.port}/", 307)  # method and form are kept

    async def take(request: Request) -> Response:
        seen.append(await request.body())
        return JSONResponse({"access_token": "theirs", "token_type": "Bearer", "expires_in": 60})

    with (
        LoopbackServer(Starlette(routes=[Route("/{_:path}", take, methods=["POST"])])) as elsewhere,  # type: ignore[arg-type]  # plain ASGI
        LoopbackServer(Starlette(routes=[Route("/token", away, methods=["POST"])])) as redirecting,  # type: ignore[arg-type]  # plain ASGI
        httpx.Client(follow_redirects=True) as http,
    ):
        moved = f"http://localhost:{redirecting.port}/token"
        assert http.post(moved, data={"honest": "yes"}).json()["access_token"] == "theirs"
        assert seen.pop() == b"honest=yes", "as the program wants it of its own requests"

        def source() -> TokenSource:
            return TokenSource(foreign.issuer, ClientSecret("a", "b", "post"), grant, api=API, http=http)

        assert source().token() == "token-1"
        foreign.metadata = {"token_endpoint": moved}
        with pytest.raises(Unreachable, match="307"):
            source().token()
    assert not seen


@pytest.mark.parametrize(
    "auth", [lambda source: HttpxAuth(source), lambda _: ("somebody", "else")], ids=["its own", "another's"]
)
def test_a_token_is_asked_for_by_who_the_client_is(
    foreign: Foreign, auth: Callable[[TokenSource], httpx.Auth | tuple[str, str]]
) -> None:
    """The API is at the issuer's own address here, where a client that presents tokens waits for one to ask for one."""
    with httpx.Client() as http:
        source = TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=foreign.issuer, http=http)
        http.auth = auth(source)
        found: list[str] = []
        asking = threading.Thread(target=lambda: found.append(source.token()), daemon=True)
        asking.start()
        asking.join(20)
    assert found == ["token-1"]
    assert foreign.headers[0]["authorization"] == "Basic YTpi"
