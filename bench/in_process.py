"""What verification costs inside one process: the guard, the server's own look-up, and other JWT libraries beside ours.

Every figure is CPU time of a block of calls divided by their number; blocks of the things compared take turns.
"""

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt

from watchword.app import App
from watchword.flows import api_tokens, minting
from watchword.flows.api_tokens import TokenInput
from watchword.flows.runtime import Runtime
from watchword.guard import Guard
from watchword.guard.guard import Presented
from watchword.guard.issuer import Issuer
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key
from watchword.oauth.clients import Client
from watchword.settings import Settings

ISSUER = "http://127.0.0.1:8000"
NAMES = {
    "token known": "API token, seen before, guard in the server's process",
    "token fresh": "API token, first time, guard in the server's process",
    "jwt known": "JWT access token, seen before, guard",
    "jwt fresh": "JWT access token, first time, guard",
    "jose": "ES256 JWT with its claims, `watchword.jose`",
    "pyjwt": "ES256 JWT with its claims, PyJWT",
    "joserfc": "ES256 JWT with its claims, joserfc",
}


@dataclass(frozen=True, slots=True)
class Cost:
    """Microseconds of CPU for one call: the median of several blocks, and the extremes."""

    median: float
    low: float
    high: float


def measure(blocks: int, calls: int) -> dict[str, Cost]:
    """Return the cost of each of NAMES."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measure(directory, blocks, calls))


async def _measure(directory: str, blocks: int, calls: int) -> dict[str, Cost]:
    app = App(Settings(database=str(Path(directory) / "bench.db"), issuer=ISSUER, jobs=False))
    runtime = await app.open()
    try:
        taken: dict[str, list[float]] = {name: [] for name in NAMES}
        for _ in range(blocks):
            await _api_tokens(app, runtime, calls, taken)
            await _access_tokens(runtime, calls, taken)
        return {name: _cost(values) for name, values in taken.items()}
    finally:
        await app.close()


async def _api_tokens(app: App, runtime: Runtime, calls: int, taken: dict[str, list[float]]) -> None:
    given = TokenInput(name="bench", scope="read")
    owner = ("application", "application:bench")
    made = [
        (await api_tokens.create(runtime, given, owner=owner, actor="bench")).secret for _ in range(calls)
    ]
    guard = Guard(app)
    fresh = _presented(made)
    taken["token fresh"].append(await _time(guard, fresh))
    taken["token known"].append(await _time(guard, itertools.repeat(next(_presented(made)), calls * 20)))
    await guard.close()


async def _access_tokens(runtime: Runtime, calls: int, taken: dict[str, list[float]]) -> None:
    tokens = _jwts(runtime, calls)
    key = runtime.keyring.signing_key("ES256")
    for name, decode in _libraries(key, runtime.now()).items():
        started = time.process_time()
        for token in tokens:
            decode(token)
        taken[name].append((time.process_time() - started) / calls * 1e6)
    guard = Guard(ISSUER)
    guard._issuer = _KnownKeys(runtime)
    taken["jwt fresh"].append(await _time(guard, _presented(tokens)))
    taken["jwt known"].append(await _time(guard, itertools.repeat(next(_presented(tokens)), calls * 20)))


def _presented(tokens: list[str]) -> Iterator[Presented]:
    return (Presented(authorization=(f"Bearer {token}",), address="192.0.2.1") for token in tokens)


async def _time(guard: Guard, requests: Iterator[Presented]) -> float:
    authenticate: Callable[[Presented], Awaitable[object]] = guard.authenticate
    prepared = list(requests)
    started = time.process_time()
    for request in prepared:
        await authenticate(request)
    return (time.process_time() - started) / len(prepared) * 1e6


def _jwts(runtime: Runtime, calls: int) -> list[str]:
    client = Client(client_id="bench", name="bench", token_endpoint_auth_method="client_secret_basic")
    grant = minting.AccessGrant(client, "bench", ("read",), (ISSUER,), 600)
    return [minting.mint(runtime, grant, runtime.now()).token for _ in range(calls)]


def _libraries(key: Key, now: int) -> Mapping[str, Callable[[str], object]]:
    public = key.public
    assert isinstance(public, EllipticCurvePublicKey)
    other = joserfc_jwk.ECKey.import_key(dict(jwk.public_document(key)))
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
        "joserfc": lambda token: registry.validate(
            joserfc_jwt.decode(token, other, algorithms=["ES256"]).claims
        ),
    }


class _KnownKeys(Issuer):
    """The issuer with its keys fetched already: no server is asked."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(ISSUER)
        self._known = runtime.keyring.verification_keys()

    async def keys(self, kid: str | None) -> list[Key]:
        return self._known


def _cost(values: list[float]) -> Cost:
    return Cost(statistics.median(values), min(values), max(values))
