"""Proofs of possession with nonces, on several nodes, and behind a proxy: what helps an honest client and nobody else."""

import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, basic, free_port, open_server

from watchword.app import App
from watchword.client import ClientCredentials, ClientSecret, HttpxAuth, TokenSource
from watchword.flows import client_registry
from watchword.flows.client_registry import ClientInput, Registered
from watchword.guard import Policy
from watchword.guard import asgi as guard_asgi
from watchword.guard.guard import Guard
from watchword.guard.policy import Refused
from watchword.guard.wsgi import GuardMiddleware as WsgiMiddleware
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.oauth import dpop
from watchword.settings import Settings
from watchword.testing.clock import Clock
from watchword.testing.loopback import LoopbackServer
from watchword.testing.worker import Worker

FORM = {"grant_type": "client_credentials"}
PATHS = ("/token", "/par", "/device_authorization")
API_KEY = bytes(range(32))


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """A server that demands nonces, on each kind of database."""
    options = {"database": store.address, "key_file": str(tmp_path / "key"), "dpop_nonce": "required"}
    async with open_server(tmp_path, **options) as opened:
        yield opened


def proof(server: Server, key: Key, path: str, token: str | None = None, **changes: object) -> dict[str, str]:
    """Return the header with a proof for a path, some claims changed or, when None, removed."""
    claims: dict[str, object] = {
        "jti": os.urandom(8).hex(),
        "htm": "POST",
        "htu": f"{server.settings.issuer}{path}",
        "iat": int(server.clock()),
    }
    if token is not None:
        claims["ath"] = jwk.b64encode(hashlib.sha256(token.encode()).digest())
    given = {name: value for name, value in (claims | changes).items() if value is not None}
    return {"dpop": jwt.encode_with_key(key, given, "dpop+jwt")}


async def everything(server: Server) -> Registered:
    """Register a client for every endpoint that takes proofs."""
    return await server.client(
        grant_types=["client_credentials", "authorization_code", "device_code"],
        redirect_uris=["https://app.example.com/cb"],
    )


async def send(server: Server, client: Registered, path: str, headers: dict[str, str]) -> httpx.Response:
    """Send what each of the endpoints wants, with a proof."""
    form = {
        "/token": FORM,
        "/par": {
            "response_type": "code",
            "redirect_uri": "https://app.example.com/cb",
            "code_challenge": "A" * 43,
            "code_challenge_method": "S256",
        },
        "/device_authorization": {"scope": "orders:read"},
    }[path]
    return await server.http.post(path, data=form, headers=headers | {"authorization": basic(client)})


@pytest.mark.parametrize("path", PATHS)
async def test_dp_50_a_missing_nonce_is_handed_out_and_then_accepted(server: Server, path: str) -> None:
    client, key = await everything(server), jwk.generate("ES256")
    refused = await send(server, client, path, proof(server, key, path))
    assert (refused.status_code, refused.json()["error"]) == (400, "use_dpop_nonce")
    nonce = refused.headers["dpop-nonce"]
    again = await send(server, client, path, proof(server, key, path, nonce=nonce))
    assert again.status_code in (200, 201), again.text
    assert dpop.is_fresh_nonce(
        server.runtime.keyring.secret("dpop nonces"), again.headers["dpop-nonce"], int(server.clock())
    ), "a fresh one comes with every answer, before the old one ends"


async def test_dp_50_nonces_that_are_stale_invented_or_of_another_server_start_no_loop(
    server: Server,
) -> None:
    client, key = await everything(server), jwk.generate("ES256")
    old = (await send(server, client, "/token", proof(server, key, "/token"))).headers["dpop-nonce"]
    server.clock.advance(240)
    answer = await send(server, client, "/token", proof(server, key, "/token", nonce=old))
    assert answer.status_code == 200, "good for five minutes"
    fresh = answer.headers["dpop-nonce"]
    assert fresh != old, "the next one is at hand before that"
    server.clock.advance(120)
    others = dpop.make_nonce(os.urandom(32), int(server.clock()))
    for bad in (old, others, fresh + "\n", "", "x" * 5000, fresh[:-1] + "A"):
        refused = await send(server, client, "/token", proof(server, key, "/token", nonce=bad))
        assert (refused.status_code, refused.json()["error"]) == (400, "use_dpop_nonce"), bad[:60]
        given = refused.headers["dpop-nonce"]
        retried = await send(server, client, "/token", proof(server, key, "/token", nonce=given))
        assert retried.status_code == 200, "one retry is enough"
    number = await send(server, client, "/token", proof(server, key, "/token", nonce=1))
    assert number.json()["error"] == "invalid_dpop_proof"


async def test_dp_50_a_nonce_of_one_node_is_good_on_every_other(server: Server, tmp_path: Path) -> None:
    client, key = await everything(server), jwk.generate("ES256")
    given = (await send(server, client, "/token", proof(server, key, "/token"))).headers["dpop-nonce"]
    options = {"database": server.settings.database, "key_file": server.settings.key_file}
    async with open_server(tmp_path, **options, dpop_nonce="required") as other:
        elsewhere = await send(other, client, "/token", proof(other, key, "/token", nonce=given))
        assert elsewhere.status_code == 200


async def test_dp_50_a_resource_of_the_server_answers_401_with_a_challenge(server: Server) -> None:
    key = jwk.generate("ES256")
    token = (await server.token(scope="watchword:clients:read", jkt=key.thumbprint)).secret
    path = "/api/v1/clients"

    async def ask(**changes: object) -> httpx.Response:
        sent = proof(server, key, path, token, htm="GET", **changes)
        return await server.http.get(path, headers={"authorization": f"DPoP {token}", **sent})

    refused = await ask()
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith('DPoP error="use_dpop_nonce"')
    nonce = refused.headers["dpop-nonce"]
    assert (await ask(nonce=nonce)).status_code == 200
    wrong = await ask(nonce=nonce, htu="https://evil.example/")
    assert wrong.status_code == 401
    assert wrong.headers["www-authenticate"].startswith('DPoP error="invalid_dpop_proof"')


async def test_dp_51_a_proof_used_on_one_node_is_refused_on_every_other(store: Store, tmp_path: Path) -> None:
    options: dict[str, Any] = {"database": store.address, "key_file": str(tmp_path / "key")}
    key = jwk.generate("ES256")
    async with open_server(tmp_path, **options) as one, open_server(tmp_path, **options) as other:
        client = await one.client()
        first, second = proof(one, key, "/token"), proof(one, key, "/token")
        assert (await send(one, client, "/token", first)).status_code == 200
        assert (await send(other, client, "/token", second)).status_code == 200
        for node, sent in ((other, first), (one, second), (one, first)):
            refused = await send(node, client, "/token", sent)
            assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")


@pytest.mark.parametrize(
    ("htu", "accepted"),
    [
        ("http://localhost/token", True),
        ("HTTP://LOCALHOST/token", True),
        ("http://localhost:80/token", True),
        ("http://localhost/token?a=b#c", True),
        ("http://localhost/%74oken", True),
        ("https://localhost/token", False),
        ("http://localhost:8000/token", False),
        ("http://localhost/token/", False),
        ("http://localhost//token", False),
        ("http://localhost/x/../token", False),
        ("http://localhost/TOKEN", False),
        ("http://localhost.evil.example/token", False),
        ("http://user@localhost/token", False),
        ("/token", False),
        ("http://[::1/token", False),
        ("http://localhost\n/token", False),
        (7, False),
    ],
    ids=str,
)
async def test_dp_52_the_address_in_a_proof_is_normalised_and_nothing_else(
    tmp_path: Path, htu: object, accepted: bool
) -> None:
    async with open_server(tmp_path) as server:
        client, key = await everything(server), jwk.generate("ES256")
        answer = await send(server, client, "/token", proof(server, key, "/token", htu=htu))
        assert (answer.status_code == 200) is accepted, answer.text
        assert accepted or answer.json()["error"] == "invalid_dpop_proof"


async def test_dp_52_behind_a_proxy_the_public_address_counts_whatever_headers_say(tmp_path: Path) -> None:
    options = {"issuer": "https://auth.example.com/tenant", "behind_tls_proxy": True}
    async with open_server(tmp_path, **options) as server:
        client, key = await everything(server), jwk.generate("ES256")
        headers = {
            "authorization": basic(client),
            "x-forwarded-host": "evil.example",
            "host": "10.0.0.7:8000",
        }
        inside = "http://10.0.0.7:8000/tenant/token"
        for htu, status in (
            ("https://auth.example.com/tenant/token", 200),
            ("https://auth.example.com:443/tenant/token", 200),
            (inside, 400),
            ("https://evil.example/tenant/token", 400),
        ):
            sent = proof(server, key, "/token", htu=htu)
            answer = await server.http.post(inside, data=FORM, headers=headers | sent)
            assert answer.status_code == status, (htu, answer.text)


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
