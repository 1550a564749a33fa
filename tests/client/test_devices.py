"""Signing in on another device at servers of other makes (RFC 8628)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import parse_qs

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.fixtures.loopback import LoopbackServer

from watchword.client import PublicClient, Refused, Unreachable
from watchword.client.proofs import Clocks
from watchword.client.server import AuthorizationServer, Document
from watchword.client.sign_in import Wanted, by_device
from watchword.oauth import pkce
from watchword.oauth.errors import OAuthError

S256 = {"code_challenge_methods_supported": ["plain", "S256"]}
CODES = {"device_code": "d", "user_code": "ABCD", "verification_uri": "https://auth.example.com"}
Form = dict[str, str]


async def form_of(request: Request) -> Form:
    """Return the parameters of a request."""
    return {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}


@contextmanager
def devices(
    metadata: Document,
    seen: list[Form],
    *,
    demands_proof: bool = False,
    busy: str = "",
    codes: Document | None = None,
) -> Iterator[str]:
    """Run a server that authorizes a device at once; yield its issuer. It demands PKCE as Keycloak does; `busy` are the seconds for which
    it has no time when it is asked for the token first; the second time the person is not done yet. `codes` are others to give.
    """

    async def describe(request: Request) -> Response:
        issuer = str(request.base_url).rstrip("/")
        named = {"token_endpoint": f"{issuer}/token", "device_authorization_endpoint": f"{issuer}/device"}
        return JSONResponse({"issuer": issuer} | named | dict(metadata))

    async def device(request: Request) -> Response:
        seen.append(await form_of(request))
        if demands_proof and seen[-1].get("code_challenge_method") != "S256":
            return JSONResponse(
                {
                    "error": "invalid_request",
                    "error_description": "Missing parameter: code_challenge_method",
                },
                400,
            )
        return JSONResponse({**CODES, **(codes or {}), "expires_in": 60, "interval": 1})

    async def token(request: Request) -> Response:
        seen.append(await form_of(request))
        if busy and len(seen) == 2:
            return Response(status_code=429, headers={"retry-after": busy})
        if busy and len(seen) == 3:
            return JSONResponse({"error": "authorization_pending"}, 400)
        try:
            pkce.verify(seen[-1].get("code_verifier"), seen[0].get("code_challenge"))
        except OAuthError as error:
            return JSONResponse({"error": error.code}, 400)
        return JSONResponse({"access_token": "a", "token_type": "Bearer"})

    routes = [
        Route("/.well-known/oauth-authorization-server", describe),
        Route("/device", device, methods=["POST"]),
        Route("/token", token, methods=["POST"]),
    ]
    with LoopbackServer(Starlette(routes=routes)) as server:  # type: ignore[arg-type]  # plain ASGI
        yield f"http://localhost:{server.port}"


def sign_in(issuer: str, sleep: Callable[[float], None] = lambda _seconds: None) -> Document:
    """Sign in as a public client; nobody has to wait."""
    server = AuthorizationServer(issuer, Clocks())
    wanted = Wanted(PublicClient("a"), "orders:read")
    return by_device(server, wanted, show=lambda _page, _code: None, sleep=sleep)


def test_a_device_proves_that_it_began_the_sign_in_where_a_server_demands_it() -> None:
    seen: list[Form] = []
    with devices(S256, seen, demands_proof=True) as issuer:
        assert sign_in(issuer)["access_token"] == "a"
    assert "code_verifier" not in seen[0]
    assert "code_challenge" not in seen[1]


def test_every_sign_in_has_a_proof_key_of_its_own() -> None:
    first: list[Form] = []
    second: list[Form] = []
    for seen in (first, second):
        with devices(S256, seen) as issuer:
            sign_in(issuer)
    assert first[0]["code_challenge"] != second[0]["code_challenge"]


@pytest.mark.parametrize(
    "named", [{}, {"code_challenge_methods_supported": ["plain"]}], ids=["none", "plain"]
)
def test_a_server_that_names_no_such_method_gets_no_proof_key(named: Document) -> None:
    seen: list[Form] = []
    with devices(named, seen) as issuer:
        assert sign_in(issuer)["access_token"] == "a"
    assert not any(name.startswith("code_") for form in seen for name in form)
    with (
        devices(named, seen, demands_proof=True) as issuer,
        pytest.raises(Refused, match="code_challenge_method"),
    ):
        sign_in(issuer)


@pytest.mark.parametrize(
    ("busy", "waits"),
    [("", [1]), ("0", [1, 2, 2]), ("30", [1, 30, 2]), ("86400", [1, 60, 2])],
    ids=["never", "for no time", "for a while", "for a day"],
)
def test_a_server_that_has_no_time_is_left_alone_for_as_long_as_it_says(
    busy: str, waits: list[float]
) -> None:
    slept: list[float] = []
    with devices(S256, [], busy=busy) as issuer:
        assert sign_in(issuer, slept.append)["access_token"] == "a"
    assert slept == waits


@pytest.mark.parametrize(
    ("given", "is_shown"),
    [
        pytest.param({}, True, id="what any server gives"),
        pytest.param({"user_code": "AB\x1b[2J"}, False, id="a code that a terminal obeys"),
        pytest.param(
            {"verification_uri": "https://a.example\x1b]0;x\x07"},
            False,
            id="an address that a terminal obeys",
        ),
        pytest.param(
            {"verification_uri_complete": "https://a.example\nABCE"}, False, id="an address with another line"
        ),
        pytest.param({"user_code": 1234}, False, id="a code that is no text"),
        pytest.param({"device_code": None}, False, id="nothing to ask for the token with"),
    ],
)
def test_a_code_is_shown_as_it_is_or_not_at_all(given: Document, is_shown: bool) -> None:
    shown: list[tuple[str, str]] = []
    with devices({}, [], codes=given) as issuer:
        server, wanted = AuthorizationServer(issuer, Clocks()), Wanted(PublicClient("a"))
        with nullcontext() if is_shown else pytest.raises(Unreachable, match="without a code for the device"):
            by_device(
                server,
                wanted,
                show=lambda page, code: shown.append((page, code)),
                sleep=lambda _seconds: None,
            )
    assert shown == ([("https://auth.example.com", "ABCD")] if is_shown else [])
