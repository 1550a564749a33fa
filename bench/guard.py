"""What the guard costs: JWTs beside PyJWT and joserfc, a guarded ASGI endpoint beside an unguarded one, and how late a revocation is.

Every cost is CPU time of a block of calls divided by their number; blocks of the things compared take turns, and ratios are taken
within one round.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt

from bench import watchword_server
from bench.conversations import Server
from bench.report import Goal
from watchword.app import App
from watchword.flows import api_tokens, minting
from watchword.flows.api_tokens import TokenInput
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.runtime import Runtime
from watchword.guard import Guard, Policy, Refused
from watchword.guard.asgi import Application, GuardMiddleware, Receive, Scope, Send
from watchword.guard.presented import Presented
from watchword.guard.verifier import Verifier
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.settings import Settings
from watchword.testing.kit import open_auth
from watchword.testing.worker import Worker

ISSUER = "http://127.0.0.1:8000"
NAMES = {
    "token known": "API token, seen before, guard in the server's process",
    "token fresh": "API token, first time, guard in the server's process",
    "jwt known": "JWT access token, seen before, guard",
    "jwt fresh": "JWT access token, first time, guard",
    "jose": "ES256 JWT with its claims, `watchword.jose`",
    "pyjwt": "ES256 JWT with its claims, PyJWT, key in hand",
    "pyjwt issuer": "ES256 JWT with its claims, PyJWT, key chosen by `PyJWKClient`",
    "joserfc": "ES256 JWT with its claims, joserfc, key in hand",
    "signature": "of that, OpenSSL's verification of the signature",
    "asgi": "request to an ASGI endpoint, unguarded",
    "asgi jwt": "request to an ASGI endpoint, guarded, JWT seen before",
    "asgi token": "request to an ASGI endpoint, guarded, API token seen before, server in the process",
}
POLICY = Policy(scopes=("read",))
Taken = dict[str, list[float]]


def measure(rounds: int, calls: int) -> Taken:
    """Return microseconds for each of NAMES, one figure a round."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(directory, rounds, calls))


async def _measure(directory: str, rounds: int, calls: int) -> Taken:
    app = App(Settings(database=str(Path(directory) / "bench.db"), issuer=ISSUER, jobs=False))
    runtime = await app.open()
    try:
        taken: Taken = {name: [] for name in NAMES}
        for number in range(rounds + 1):
            one: Taken = {name: [] for name in NAMES}
            await _api_tokens(app, runtime, calls, one)
            await _access_tokens(runtime, calls, one)
            for name, values in one.items():  # the first round warms up
                taken[name] += values if number else []
        return taken
    finally:
        await app.close()


async def _api_tokens(app: App, runtime: Runtime, calls: int, taken: Taken) -> None:
    given = TokenInput(name="bench", scope="read")
    owner = ("application", "application:bench")
    made = [
        (await api_tokens.create(runtime, given, owner=owner, actor="bench")).secret for _ in range(calls)
    ]
    guard = Guard(app)
    taken["token fresh"].append(await _time(guard, _presented(made)))
    taken["token known"].append(await _time(guard, [*_presented(made[:1])] * calls * 20))
    taken["asgi token"].append(await _requests(GuardMiddleware(_hello, guard, POLICY), made[0], calls))
    await guard.close()


async def _access_tokens(runtime: Runtime, calls: int, taken: Taken) -> None:
    tokens = await _jwts(runtime, calls)
    key = await runtime.keyring.signing_key("ES256")
    for name, decode in {**_libraries(key, runtime.now()), "signature": _signature(key, tokens)}.items():
        started = time.process_time()
        for token in tokens:
            decode(token)
        taken[name].append((time.process_time() - started) / calls * 1e6)
    guard = await with_keys(runtime)
    taken["jwt fresh"].append(await _time(guard, _presented(tokens)))
    taken["jwt known"].append(await _time(guard, [*_presented(tokens[:1])] * calls * 20))
    taken["asgi"].append(await _requests(_hello, tokens[0], calls))
    taken["asgi jwt"].append(await _requests(GuardMiddleware(_hello, guard, POLICY), tokens[0], calls))


async def with_keys(runtime: Runtime) -> Guard:
    """Return a guard that knows the issuer's keys and that nothing has ended, as it does after its first request."""
    guard = Guard(ISSUER)
    verifier = guard._only
    assert isinstance(verifier, Verifier)
    verifier._keys.adopt(await runtime.keyring.verification_keys())
    verifier._ended.offered, verifier._ended.trusted_until = True, float("inf")
    return guard


def _presented(tokens: Sequence[str]) -> list[Presented]:
    return [Presented(authorization=(f"Bearer {token}",), address="192.0.2.1") for token in tokens]


async def _time(guard: Guard, prepared: list[Presented]) -> float:
    authenticate: Callable[[Presented], Awaitable[object]] = guard.authenticate
    started = time.process_time()
    for request in prepared:
        await authenticate(request)
    return (time.process_time() - started) / len(prepared) * 1e6


async def _hello(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def _requests(app: Application, token: str, calls: int) -> float:
    """Send requests as a server would hand them over, with the headers that a client of an API sends."""
    headers = [
        (b"host", b"api.example.com"), (b"user-agent", b"python-httpx/0.28"), (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, deflate"), (b"connection", b"keep-alive"),
        (b"authorization", b"Bearer " + token.encode()),
    ]  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200

    scopes: Iterator[Any] = (
        {
            "type": "http", "method": "GET", "path": "/orders", "raw_path": b"/orders", "query_string": b"",
            "scheme": "https", "headers": headers, "client": ("192.0.2.1", 50_000), "server": ("192.0.2.2", 443),
        }
        for _ in range(calls * 20)
    )  # fmt: skip
    prepared = list(scopes)
    started = time.process_time()
    for scope in prepared:
        await app(scope, receive, send)
    return (time.process_time() - started) / len(prepared) * 1e6


async def _jwts(runtime: Runtime, calls: int) -> list[str]:
    registered = await client_registry.register(runtime, ClientInput(name="bench"), actor="bench")
    client = registered.client
    grant = minting.AccessGrant(client, client.client_id, ("read",), (ISSUER,), 600)
    return [(await minting.mint(runtime, grant, runtime.now())).token for _ in range(calls)]


def _libraries(key: Key, now: int) -> Mapping[str, Callable[[str], object]]:
    public = key.public
    assert isinstance(public, EllipticCurvePublicKey)
    document: dict[str, str | list[str]] = dict(jwk.public_document(key))
    other = joserfc_jwk.ECKey.import_key(document)
    published = pyjwt.PyJWKClient(f"{ISSUER}/jwks", lifespan=3600)
    assert published.jwk_set_cache is not None
    published.jwk_set_cache.put({"keys": [document]})  # as after its first request
    registry = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": ISSUER}
    )
    return {
        "jose": lambda token: jwt.decode(
            token, [key], algorithms=("ES256",), typ="at+jwt", issuer=ISSUER, audience=ISSUER, now=now
        ),
        "pyjwt": lambda token: pyjwt.decode(
            token, public, algorithms=["ES256"], issuer=ISSUER, audience=ISSUER
        ),
        "pyjwt issuer": lambda token: pyjwt.decode(
            token,
            published.get_signing_key_from_jwt(token),
            algorithms=["ES256"],
            issuer=ISSUER,
            audience=ISSUER,
        ),
        "joserfc": lambda token: registry.validate(
            joserfc_jwt.decode(token, other, algorithms=["ES256"]).claims
        ),
    }


def _signature(key: Key, tokens: Sequence[str]) -> Callable[[str], object]:
    """Return what verifies nothing but the signature of each token, which was taken apart before."""
    public = key.public
    assert isinstance(public, EllipticCurvePublicKey)
    apart = {}
    for token in tokens:
        data, _, last = token.rpartition(".")
        raw = jwk.b64decode(last)
        apart[token] = (
            encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")),
            data.encode(),
        )
    method = ECDSA(SHA256())
    return lambda token: public.verify(*apart[token], method)


def goals(taken: Taken) -> list[Goal]:
    """Return what was aimed at, each value from one round."""

    def ratio(slow: str, fast: str) -> list[float]:
        return [one / other for one, other in zip(taken[slow], taken[fast], strict=True)]

    added = [guarded - plain for guarded, plain in zip(taken["asgi jwt"], taken["asgi"], strict=True)]
    return [
        Goal(NAMES["token known"], taken["token known"], 2, "µs", at_most=True),
        Goal(NAMES["token fresh"], taken["token fresh"], 40, "µs", at_most=True),
        Goal(NAMES["jwt known"], taken["jwt known"], 2, "µs", at_most=True),
        Goal(
            "fresh ES256 JWT, guard against PyJWT with PyJWKClient", ratio("pyjwt issuer", "jwt fresh"), 1.4
        ),
        Goal("fresh ES256 JWT, guard against PyJWT, key in hand", ratio("pyjwt", "jwt fresh"), 1.4),
        Goal("fresh ES256 JWT, guard against joserfc, key in hand", ratio("joserfc", "jwt fresh"), 1.8),
        Goal("what the guard adds to an ASGI request with a known token", added, 5, "µs", at_most=True),
    ]


def set_up(times: int) -> list[float]:
    """Return milliseconds of CPU until the testing kit's server is there for one test, after the first of a run."""
    taken = []
    with Worker() as worker:
        for _ in range(times + 1):
            started = time.process_time()
            with open_auth(worker) as auth:
                taken.append((time.process_time() - started) * 1e3)
                auth.token("orders:read")
    return taken[1:]


def waits(times: int) -> list[Goal]:
    """Return how long somebody waits for the guard: a test for its server, a revocation for its effect elsewhere."""
    return [
        Goal("testing kit: a server of its own for one test", set_up(times), 50, "ms", at_most=True),
        Goal("revoked JWT, until a guard elsewhere refuses it", lateness(times), 1000, "ms", at_most=True),
    ]


def lateness(times: int) -> list[float]:
    """Return milliseconds from the answer to a revocation until a guard that follows the feed of two workers refuses the JWT."""
    with watchword_server.running(variables={"WATCHWORD_WORKERS": "2"}) as server:
        return asyncio.run(_lateness(server.jwt, times))


async def _lateness(server: Server, times: int) -> list[float]:
    issuer = f"http://127.0.0.1:{server.port}"
    guard, taken = Guard(issuer, when_silent="refuse", silence=60), []
    credentials = {"authorization": f"Basic {server.credentials}"}
    async with httpx.AsyncClient(base_url=issuer, headers=credentials) as http:
        for _ in range(times):
            asked = await http.post("/token", data={"grant_type": "client_credentials"})
            token = asked.json()["access_token"]
            shown = Presented(authorization=(f"Bearer {token}",))
            await guard.authenticate(shown)
            await http.post("/revoke", data={"token": token})
            taken.append(await _until_refused(guard, shown))
    await guard.close()
    return taken


async def _until_refused(guard: Guard, shown: Presented) -> float:
    started = time.perf_counter()
    while True:
        try:
            await guard.authenticate(shown)
        except Refused:
            return (time.perf_counter() - started) * 1e3
        await asyncio.sleep(0.001)
