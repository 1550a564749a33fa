"""An API behind the guard, and issuers that behave in ways that the real server does not."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from tests.fixtures.live import Live
from tests.fixtures.loopback import LoopbackServer

from watchword.guard.starlette import Guard
from watchword.oauth import dpop
from watchword.oauth.errors import OAuthError

NONCE_KEY = bytes(range(32))


@dataclass(slots=True)
class Api:
    """A guarded API on a loopback port; `seen` is what it was presented with and `bodies` what with, `elsewhere` where it redirects to."""

    address: str = ""
    elsewhere: str = ""
    seen: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@pytest.fixture
def api(live: Live) -> Iterator[Api]:
    """An API that trusts the live server."""
    made = Api()
    guard = Guard(live.app, clock=live.clock)

    @guard.require("orders:read")
    async def orders(request: Request) -> Response:
        made.seen.append(dict(request.headers))
        body = (await request.body()).decode()
        return JSONResponse({"for": request.state.principal.subject, "body": body})

    async def away(_request: Request) -> Response:
        return RedirectResponse(made.elsewhere, 307)

    async def free(request: Request) -> Response:
        made.seen.append(dict(request.headers))
        return Response(status_code=401, headers={"www-authenticate": 'Bearer error="invalid_token"'})

    async def step_up(request: Request) -> Response:
        made.seen.append(dict(request.headers))
        challenge = 'Bearer error="insufficient_user_authentication", max_age="60"'
        return Response(status_code=401, headers={"www-authenticate": challenge})

    async def nonce(request: Request) -> Response:
        made.seen.append(dict(request.headers))
        made.bodies.append(await request.body())
        return demand_nonce(request, live.clock)

    methods = ["GET", "POST"]
    routes = [
        Route("/orders", orders, methods=methods),
        Route("/away", away, methods=methods),
        Route("/free", free, methods=methods),
        Route("/step-up", step_up, methods=methods),
        Route("/nonce", nonce, methods=methods),
    ]
    with LoopbackServer(Starlette(routes=routes)) as server:  # type: ignore[arg-type]  # plain ASGI
        made.address = f"http://localhost:{server.port}"
        yield made


def demand_nonce(request: Request, clock: Callable[[], float]) -> Response:
    """Answer a request with a proof that holds a nonce of ours; refuse any other with a fresh one (RFC 9449 §9)."""
    now = int(clock())
    try:
        dpop.check_proof(
            request.headers["dpop"],
            method=request.method,
            uri=str(request.url),
            now=now,
            access_token=request.headers["authorization"].partition(" ")[2],
            nonce_check=lambda found: dpop.is_fresh_nonce(NONCE_KEY, found, now),
        )
    except OAuthError as error:
        fresh = {
            "dpop-nonce": dpop.make_nonce(NONCE_KEY, now),
            "www-authenticate": f'DPoP error="{error.code}"',
        }
        return JSONResponse({"error": error.code}, 401, fresh)
    return JSONResponse({})


@dataclass(slots=True)
class Foreign:
    """An issuer that answers as it is told; `forms` is what clients sent it."""

    issuer: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    answer: Any = None
    status: int = 200
    needs_nonce: bool = False
    retry_after: str | None = None
    is_busy: bool = False  # for whoever asks for its metadata
    asked: int = 0
    forms: list[dict[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def foreign(live: Live) -> Iterator[Foreign]:
    """Another issuer on a loopback port."""
    made = Foreign()

    async def metadata(_request: Request) -> Response:
        made.asked += 1
        if made.is_busy:
            return Response("busy", made.status, {"retry-after": made.retry_after or "0"})
        return JSONResponse({"issuer": made.issuer, "token_endpoint": f"{made.issuer}/token"} | made.metadata)

    async def token(request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        made.forms.append(form)
        made.headers.append(dict(request.headers))
        now, answered = int(live.clock()), {"dpop-nonce": dpop.make_nonce(NONCE_KEY, int(live.clock()))}
        if made.needs_nonce:
            try:
                dpop.check_proof(
                    request.headers["dpop"],
                    method="POST",
                    uri=str(request.url),
                    now=now,
                    nonce_check=lambda found: dpop.is_fresh_nonce(NONCE_KEY, found, now),
                )
            except OAuthError as error:
                return JSONResponse({"error": error.code}, 400, answered)
        given = made.answer
        if given is None:
            kind = "DPoP" if "dpop" in request.headers else "Bearer"
            given = {"access_token": f"token-{len(made.forms)}", "token_type": kind, "expires_in": 60}
        body = given if isinstance(given, bytes) else json.dumps(given).encode()
        busy = {"retry-after": made.retry_after} if made.retry_after else {}
        return Response(body, made.status, busy, media_type="application/json")

    routes = [
        Route("/.well-known/oauth-authorization-server", metadata),
        Route("/token", token, methods=["POST"]),
    ]
    with LoopbackServer(Starlette(routes=routes)) as server:  # type: ignore[arg-type]  # plain ASGI
        made.issuer = f"http://localhost:{server.port}"
        yield made
