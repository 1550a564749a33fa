"""Nonces of APIs behind the guard: known to all their processes, handed out with every answer, and to our own client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.attacks.proofs import proof, server
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.servers import Server, free_port, open_server

from watchword.app import App
from watchword.client import ClientCredentials, ClientSecret, HttpxAuth, TokenSource
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.clients.client_registry import Registered
from watchword.guard import Policy
from watchword.guard import asgi as guard_asgi
from watchword.guard.guard import Guard
from watchword.guard.policy import Refused
from watchword.guard.wsgi import GuardMiddleware as WsgiMiddleware
from watchword.jose import jwk
from watchword.jose.jwk import Key
from watchword.oauth import dpop
from watchword.settings import Settings
from watchword.testing.clock import Clock
from watchword.testing.worker import Worker

__all__ = ["server"]


API_KEY = bytes(range(32))


# An API of its own, without our database


class Api:
    """A guarded API in several processes, as far as their memory goes: each guard knows nothing of the other."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.server = server
        self.guard = Guard(server.app, clock=server.clock, **options)

    async def ask(self, key: Key, token: str, uri: str = "http://api.test/orders", **changes: object) -> Any:
        """Present a bound token."""
        sent = proof(self.server, key, "", token, **{"htm": "GET", "htu": uri} | changes)
        shown = guard_asgi.presented(
            {
                "type": "http",
                "method": "GET",
                "scheme": "http",
                "path": "/orders",
                "raw_path": b"/orders",
                "headers": [
                    (b"host", b"api.test"),
                    (b"authorization", f"DPoP {token}".encode()),
                    (b"dpop", sent["dpop"].encode()),
                ],
                "client": ("127.0.0.1", 1),
            }
        )
        return await self.guard.authenticate(shown, Policy(scopes=("orders:read",)))


async def refusal(attempt: Any) -> tuple[str | None, dict[str, str]]:
    """Return the error of a refused attempt and the headers of the answer."""
    with pytest.raises(Refused) as caught:
        await attempt
    return caught.value.error, dict(caught.value.headers)


async def test_dp_50_processes_of_one_api_know_each_others_nonces_and_no_other_servers(
    tmp_path: Path,
) -> None:
    async with open_server(tmp_path) as server:
        key = jwk.generate("ES256")
        token = (await server.token(jkt=key.thumbprint)).secret
        one, other = Api(server, dpop_nonce_key=API_KEY), Api(server, dpop_nonce_key=API_KEY.hex())
        error, headers = await refusal(one.ask(key, token))
        assert error == "use_dpop_nonce"
        assert headers["WWW-Authenticate"].startswith('DPoP error="use_dpop_nonce"')
        principal = await other.ask(key, token, nonce=headers["DPoP-Nonce"])
        assert principal.jkt == key.thumbprint
        assert other.guard.fresh_nonce(principal) == headers["DPoP-Nonce"]
        strange = dpop.make_nonce(bytes(32), int(server.clock()))
        assert (await refusal(one.ask(key, token, nonce=strange)))[0] == "use_dpop_nonce"
        server.clock.advance(400)
        assert (await refusal(one.ask(key, token, nonce=headers["DPoP-Nonce"])))[0] == "use_dpop_nonce"
        unbound = await server.token()
        plain = await one.guard.authenticate(
            guard_asgi.Presented(authorization=(f"Bearer {unbound.secret}",))
        )
        assert one.guard.fresh_nonce(plain) is None, "who needs no proof needs no nonce"


async def test_an_api_may_say_which_algorithms_sign_proofs_and_its_challenges_say_so(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        any_of_ours, strict = Api(server), Api(server, dpop_algorithms=["ES256", "Ed25519"])
        for algorithm in ("RS256", "ES256", "EdDSA"):
            key = jwk.generate(algorithm)
            token = (await server.token(jkt=key.thumbprint)).secret
            assert (await any_of_ours.ask(key, token)).jkt == key.thumbprint
            if algorithm != "RS256":
                assert (await strict.ask(key, token)).jkt == key.thumbprint
                continue
            error, headers = await refusal(strict.ask(key, token))
            assert error == "invalid_dpop_proof"
            assert headers["WWW-Authenticate"].endswith('algs="ES256 EdDSA Ed25519"')
        bare = (await server.token(scope="introspect", jkt=key.thumbprint)).secret
        error, headers = await refusal(strict.ask(key, bare))
        assert error == "insufficient_scope"
        assert headers["WWW-Authenticate"].endswith('algs="ES256 EdDSA Ed25519"')


@pytest.mark.parametrize("key", ["short", "zz" * 32, b"x" * 31], ids=str)
def test_a_nonce_key_that_protects_nothing_is_refused_at_the_start(key: str | bytes) -> None:
    assert Guard("https://auth.example.com", dpop_nonce_key=API_KEY.hex())
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        Guard("https://auth.example.com", dpop_nonce_key=key)
    with pytest.raises(ValueError, match="api_address"):
        Guard("https://auth.example.com", api_address="api.example.com")


async def test_dp_52_an_api_behind_a_proxy_believes_its_own_address(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        key = jwk.generate("ES256")
        token = (await server.token(jkt=key.thumbprint)).secret
        api = Api(server, api_address="https://api.example.com")
        assert await api.ask(key, token, "https://API.example.com/orders?page=2")
        for uri in (
            "http://api.test/orders",
            "https://api.example.com/other",
            "https://api.example.com:8443/orders",
        ):
            assert (await refusal(api.ask(key, token, uri)))[0] == "invalid_dpop_proof", uri


async def test_middleware_hands_the_next_nonce_out_with_every_answer(tmp_path: Path) -> None:
    async def endpoint(_request: Request) -> Response:
        return JSONResponse({})

    async with open_server(tmp_path) as server:
        key = jwk.generate("ES256")
        token = (await server.token(jkt=key.thumbprint)).secret
        guard = Guard(server.app, clock=server.clock, dpop_nonce_key=API_KEY)
        app = guard_asgi.GuardMiddleware(Starlette(routes=[Route("/orders", endpoint)]), guard)  # type: ignore[arg-type]  # plain ASGI
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://api.test"
        ) as http:  # type: ignore[arg-type]  # plain ASGI
            headers = {"authorization": f"DPoP {token}"}
            uri = {"htm": "GET", "htu": "http://api.test/orders"}
            refused = await http.get("/orders", headers=headers | proof(server, key, "", token, **uri))
            assert refused.status_code == 401
            nonce = refused.headers["dpop-nonce"]
            answer = await http.get(
                "/orders", headers=headers | proof(server, key, "", token, nonce=nonce, **uri)
            )
            assert (answer.status_code, answer.headers["dpop-nonce"]) == (200, nonce)


# Our own client against our own nonces


@pytest.fixture
def strict(tmp_path: Path, auth_worker: Worker) -> Iterator[tuple[App, Registered, Clock]]:
    """A live server that demands nonces, and a client of it."""
    settings = Settings(
        issuer=f"http://localhost:{(port := free_port())}",
        database=str(tmp_path / "watchword.db"),
        jobs=False,
        dpop_nonce="required",
    )
    app = App(settings, clock := Clock(), durable=False)
    with LoopbackServer(app, port=port):
        assert app.runtime is not None
        given = ClientInput(name="reports", scope="orders:read", dpop_bound_access_tokens=True)
        made = auth_worker.run(client_registry.register(app.runtime, given, actor="test"))
        yield app, made, clock


# The servers' own Date is of the real clock, which the tests do not move.
UNDATED: dict[str, list[Any]] = {"response": [lambda response: response.headers.pop("date", None)]}


def test_dp_50_our_client_gets_along_with_the_nonces_of_server_and_api(
    strict: tuple[App, Registered, Clock],
) -> None:
    app, registered, clock = strict
    guard = Guard(app, clock=clock, dpop_nonce_key=API_KEY)
    asked: list[int] = []

    async def orders(_request: Request) -> Response:
        return JSONResponse({})

    guarded = guard_asgi.GuardMiddleware(Starlette(routes=[Route("/orders", orders)]), guard)  # type: ignore[arg-type]  # plain ASGI

    async def counted(scope: Any, receive: Any, send_: Any) -> None:
        if scope["type"] == "http":
            asked.append(1)
        await guarded(scope, receive, send_)

    with LoopbackServer(counted) as api:
        address = f"http://localhost:{api.port}"
        identity = ClientSecret(registered.client.client_id, registered.client_secret or "")
        reading = ClientCredentials("orders:read")
        http = httpx.Client(event_hooks=UNDATED)
        source = TokenSource(app.issuer, identity, reading, api=address, dpop=True, clock=clock, http=http)
        with httpx.Client(auth=HttpxAuth(source), event_hooks=UNDATED) as client:
            for _ in range(4):
                assert client.get(f"{address}/orders").status_code == 200
            assert len(asked) == 5, "the nonce was asked for once"
            for _ in range(4):
                clock.advance(100)
                assert client.get(f"{address}/orders").status_code == 200
            assert len(asked) == 9, "each answer brought the next nonce in time"
            clock.advance(400)
            assert client.get(f"{address}/orders").status_code == 200
            assert len(asked) == 11, "one more request after a long silence"


def test_wsgi_applications_hand_nonces_out_too(strict: tuple[App, Registered, Clock]) -> None:
    app, registered, clock = strict
    identity = ClientSecret(registered.client.client_id, registered.client_secret or "")
    api = "http://localhost"
    source = TokenSource(
        app.issuer, identity, ClientCredentials("orders:read"), api=api, dpop=True, clock=clock
    )
    guard = Guard(app.issuer, clock=clock, dpop_nonce_key=API_KEY)
    middleware = WsgiMiddleware(lambda _environ, start: start("200 OK", []) or [], guard)

    def ask() -> tuple[str, dict[str, str]]:
        sent = source.present("GET", f"{api}/orders")
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/orders", "wsgi.url_scheme": "http"}
        environ |= {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "REMOTE_ADDR": "127.0.0.1"}
        environ |= {"HTTP_AUTHORIZATION": sent["authorization"], "HTTP_DPOP": sent["dpop"]}
        answers: list[tuple[str, dict[str, str]]] = []
        middleware(environ, lambda status, headers, *_: answers.append((status, dict(headers))))
        source.heard(api, int(answers[0][0][:3]), httpx.Headers(answers[0][1]), sent["authorization"])
        return answers[0]

    assert ask()[0].startswith("401")
    for _ in range(3):
        status, headers = ask()
        assert status == "200 OK"
        assert headers["DPoP-Nonce"]
        clock.advance(100)
