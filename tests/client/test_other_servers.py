"""Servers of other makes: what they answer within the rules, or a little beside them, and what stands between them and us."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from tests.client.conftest import Foreign
from tests.client.ways import READ
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.servers import free_port

from watchword.client import (
    ClientCredentials,
    ClientSecret,
    FileStore,
    HttpxAuth,
    MemoryStore,
    PublicClient,
    RefreshToken,
    SignInNeeded,
    TokenExchange,
    TokenSource,
    Unreachable,
)
from watchword.client.doctor import examine
from watchword.client.doctor.web import Web
from watchword.client.grants import Grant
from watchword.client.store import Store
from watchword.testing.clock import Clock

LIFE = 60  # seconds that the issuer's tokens live
API = "https://api.example.com"


@pytest.mark.parametrize("kept", ["memory", "file"])
def test_a_refresh_token_for_which_no_other_was_given_is_used_again(
    foreign: Foreign, tmp_path: Path, kept: str
) -> None:
    """RFC 6749 §6: a new one may be given; most servers give none to a client with a secret."""
    clock = Clock()
    store: Store = FileStore(tmp_path / "token.json") if kept == "file" else MemoryStore()
    source = TokenSource(
        foreign.issuer, PublicClient("a"), RefreshToken("first"), api=API, clock=clock, store=store
    )
    assert source.token() == "token-1"
    clock.advance(LIFE)
    assert source.token() == "token-2"
    foreign.answer = {
        "access_token": "token",
        "token_type": "Bearer",
        "expires_in": LIFE,
        "refresh_token": "next",
    }
    clock.advance(LIFE)
    assert source.token() == "token"
    foreign.answer = None
    clock.advance(LIFE)
    assert source.token() == "token-4"
    clock.advance(LIFE)
    assert source.token() == "token-5", "and again, though the grant was made with another"
    assert [form["refresh_token"] for form in foreign.forms] == ["first", "first", "first", "next", "next"]


def test_where_a_refresh_token_is_refused_the_one_before_it_is_not_sent_again(foreign: Foreign) -> None:
    """A server may take that for the use of a stolen one."""
    clock = Clock()
    source = TokenSource(foreign.issuer, PublicClient("a"), RefreshToken("first"), api=API, clock=clock)
    foreign.answer = {
        "access_token": "a",
        "token_type": "Bearer",
        "expires_in": LIFE,
        "refresh_token": "next",
    }
    assert source.token() == "a"
    clock.advance(LIFE)
    foreign.status, foreign.answer = 400, {"error": "invalid_grant"}
    with pytest.raises(SignInNeeded):
        source.token()
    assert [form["refresh_token"] for form in foreign.forms] == ["first", "next"]


@pytest.mark.parametrize(
    "token", ["a.token~of-theirs", "", "two words", "a\nb", "tok\x7fen", "t\u00f6ken", 5, None], ids=repr
)
def test_a_token_that_no_header_can_carry_is_none(foreign: Foreign, token: object) -> None:
    source = TokenSource(foreign.issuer, PublicClient("a"), RefreshToken("first"), api=API)
    foreign.answer = {"access_token": token, "token_type": "Bearer", "expires_in": LIFE}
    if token == "a.token~of-theirs":
        assert source.present("GET", API) == {"authorization": f"Bearer {token}"}
    else:
        with pytest.raises(Unreachable, match="without an access token"):
            source.present("GET", API)


@pytest.mark.parametrize("dpop", [False, True], ids=["bearer", "DPoP"])
@pytest.mark.parametrize("kind", ["Bearer", "bEARER", "DPoP", "dpop", "mac", "", None, 1], ids=repr)
def test_a_token_of_another_type_than_was_asked_for_is_not_sent(
    foreign: Foreign, dpop: bool, kind: object
) -> None:
    """RFC 9449 §5: a server that knows nothing of DPoP gives a token that is bound to no key."""
    source = TokenSource(foreign.issuer, PublicClient("a"), RefreshToken("first"), api=API, dpop=dpop)
    foreign.answer = {"access_token": "token", "token_type": kind, "expires_in": LIFE}
    wanted = "DPoP" if dpop else "Bearer"
    if isinstance(kind, str) and kind.lower() == wanted.lower():
        assert source.present("GET", API)["authorization"] == f"{wanted} token"
    else:
        with pytest.raises(Unreachable, match="a token of another type"):
            source.present("GET", API)


AUDIENCE = {"audience": "https://api.example.com", "organization": "org_1"}
GRANTS: dict[str, Grant] = {
    "client_credentials": ClientCredentials("orders:read", parameters=AUDIENCE),
    "refresh_token": RefreshToken("first", parameters=AUDIENCE),
    "urn:ietf:params:oauth:grant-type:token-exchange": TokenExchange(
        lambda: "subject", parameters={"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}
    ),
}


@pytest.mark.parametrize("kind", GRANTS)
def test_a_server_is_told_what_it_wants_to_know_beside_the_protocol(foreign: Foreign, kind: str) -> None:
    """RFC 6749 §8.2; Auth0 issues tokens for an API to those alone who name it as `audience`."""
    clock, grant = Clock(), GRANTS[kind]
    source = TokenSource(foreign.issuer, ClientSecret("a", "b", "post"), grant, api=API, clock=clock)
    foreign.answer = {"access_token": "a", "token_type": "Bearer", "expires_in": LIFE, "refresh_token": "b"}
    source.token()
    clock.advance(LIFE)
    source.token()
    assert [form["grant_type"] for form in foreign.forms] == [kind, "refresh_token"]
    for form in foreign.forms:
        assert form.items() >= dict(grant.targets()).items()
        assert form.keys().isdisjoint(("resource",))


def test_tokens_that_were_asked_for_with_other_parameters_are_told_apart_in_a_store(foreign: Foreign) -> None:
    store = MemoryStore()

    def token(parameters: dict[str, str]) -> str:
        grant = ClientCredentials("orders:read", parameters=parameters)
        return TokenSource(foreign.issuer, ClientSecret("a", "b"), grant, api=API, store=store).token()

    assert token({"audience": "one", "organization": "x"}) == "token-1"
    assert token({"organization": "x", "audience": "one"}) == "token-1"
    assert token({"audience": "two"}) == "token-2"
    assert token({}) == "token-3"
    assert "two" not in repr(ClientCredentials(parameters={"audience": "two"}))


@pytest.mark.parametrize("lifetime", [LIFE, float(LIFE), str(LIFE)], ids=["number", "fraction", "text"])
def test_a_lifetime_counts_however_a_server_writes_it(foreign: Foreign, lifetime: object) -> None:
    clock = Clock()
    source = TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=API, clock=clock)
    foreign.answer = {"access_token": "early", "token_type": "Bearer", "expires_in": lifetime}
    assert source.token() == "early"
    clock.advance(LIFE / 2)
    foreign.answer |= {"access_token": "late"}
    assert source.token() == "early"
    clock.advance(LIFE / 2)
    assert source.token() == "late"


@pytest.mark.parametrize("lifetime", [True, None, "soon", "9" * 5000, [], 1e300])
def test_a_lifetime_that_is_none_costs_no_token(foreign: Foreign, lifetime: object) -> None:
    clock = Clock()
    source = TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=API, clock=clock)
    foreign.answer = {"access_token": "a", "token_type": "Bearer", "expires_in": lifetime}
    assert source.token() == "a"
    clock.advance(LIFE)
    assert source.token() == "a"
    assert len(foreign.forms) == 1


class Dated(httpx.HTTPTransport):
    """Brings every answer with a Date of its own."""

    def __init__(self, date: str) -> None:
        super().__init__()
        self.date = date

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as the server does."""
        answer = super().handle_request(request)
        answer.headers["date"] = self.date
        return answer


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 01 Jan 2024 00:00:00 GMT",
        "Mon, 01 Jan 2024 00:00:00 99999999999999",
        "Mon, 01 Jan 2024 00:00:00 9999999999999999999999999",
        "yesterday",
    ],
)
def test_no_date_of_an_answer_keeps_it_from_being_read(foreign: Foreign, date: str) -> None:
    http = httpx.Client(transport=Dated(date))
    source = TokenSource(foreign.issuer, PublicClient("a"), READ, api=foreign.issuer, dpop=True, http=http)
    with httpx.Client(auth=HttpxAuth(source), transport=Dated(date)) as client:
        assert client.post(f"{foreign.issuer}/token").status_code == 200
    assert examine(foreign.issuer, Web(http)).kind == "authorization server"


def nowhere(*_: object, **__: object) -> NoReturn:
    """Resolve no name."""
    raise socket.gaierror("Name or service not known")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A proxy that the environment names for every address, and what it was asked for."""
    seen: list[str] = []

    async def refuse(request: Request) -> Response:
        seen.append(str(request.url))
        return Response(status_code=502)

    app = Starlette(routes=[Route("/{path:path}", refuse, methods=["GET", "POST", "OPTIONS"])])
    with LoopbackServer(app) as server:  # type: ignore[arg-type]  # plain ASGI
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://localhost:{server.port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield seen


def test_what_is_for_this_machine_goes_through_no_proxy(foreign: Foreign, proxy: list[str]) -> None:
    assert httpx.get("http://auth.example.com").status_code == 502
    assert len(proxy) == 1, "which hears of what other programs send in the clear"
    assert TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=API).token() == "token-1"
    assert examine(foreign.issuer).kind == "authorization server"
    assert len(proxy) == 1


@pytest.mark.parametrize(
    "host", ["127.0.0.2", "127.255.0.9", "web.localhost", "localhost.", "internal.example.com"]
)
def test_the_doctor_goes_through_no_proxy_to_any_name_of_this_machine(
    proxy: list[str], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    address = f"http://{host}:{free_port()}"
    assert httpx.get(address).status_code == 502, "as other programs go"
    if host == "internal.example.com":  # nor to what the environment excepts
        assert examine(address).broken
        assert len(proxy) > 1
        monkeypatch.setenv("NO_PROXY", ".example.com")
        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    proxy.clear()
    assert examine(address).broken
    assert not proxy


@pytest.mark.parametrize(
    ("named", "said"), [("socks5://localhost:1", "socksio"), ("ftp://localhost:1", "scheme")]
)
def test_a_proxy_that_cannot_be_used_is_named(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch, named: str, said: str
) -> None:
    for name in ("ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, named)
    with pytest.raises(Unreachable, match=f"the proxy .*{said}"):
        TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=API).token()
    with pytest.raises(ValueError, match=f"the proxy .*{said}"):
        examine(foreign.issuer)


def test_certificates_that_cannot_be_read_are_named(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = TokenSource(foreign.issuer, ClientSecret("a", "b"), READ, api=API)
    with monkeypatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
        with pytest.raises(Unreachable, match=r"the certificates .*No such file"):
            source.token()
        with pytest.raises(ValueError, match=r"the certificates .*No such file"):
            examine(foreign.issuer)
    assert source.token() == "token-1"
