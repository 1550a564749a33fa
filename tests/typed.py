"""What type checkers see of the public interface; `make check` has mypy read this, and nothing runs it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, assert_type

import aiohttp.web
import fastapi
import flask
import starlette.endpoints
import starlette.requests
import starlette.responses
import starlette.websockets

import watchword.client
import watchword.guard.mcp
from watchword.flows.clients.client_registry import Registered
from watchword.guard import Guard, Policy, Presented, Principal
from watchword.guard import aiohttp as for_aiohttp
from watchword.guard import django as for_django
from watchword.guard import fastapi as for_fastapi
from watchword.guard import flask as for_flask
from watchword.guard import grpc as for_grpc
from watchword.guard import starlette as for_starlette
from watchword.testing.credentials import Token
from watchword.testing.kit import Auth

ISSUER = "https://auth.example.com"
Request = starlette.requests.Request
Response = starlette.responses.Response


def starlette_endpoints_keep_what_they_take(guard: for_starlette.Guard) -> None:
    @guard.require("orders:read")
    async def asynchronous(request: Request) -> Response:
        return Response()

    @guard.require("orders:read")
    def synchronous(request: Request) -> Response:
        return Response()

    class Chat(starlette.endpoints.WebSocketEndpoint):
        @guard.require("orders:read")
        async def on_connect(self, websocket: starlette.websockets.WebSocket) -> None:
            await websocket.accept()

    class Orders(starlette.endpoints.HTTPEndpoint):
        @guard.require("orders:read")
        async def get(self, request: Request) -> Response:
            return Response()

    async def call(request: Request) -> None:
        assert_type(await asynchronous(request), Response)
        assert_type(await synchronous(request), Response)
        await asynchronous("no request")  # type: ignore[arg-type]  # it takes a request


def flask_views_keep_what_they_take(guard: for_flask.Guard, app: flask.Flask) -> None:
    @app.get("/orders/<int:number>")
    @guard.require("orders:read")
    def order(number: int) -> dict[str, int]:
        return {"number": number}

    assert_type(order(3), dict[str, int])
    order("three")  # type: ignore[arg-type]  # it takes a number


def django_views_keep_what_they_take(guard: for_django.Guard) -> None:
    @guard.require("orders:read")
    def order(request: object, number: int) -> bytes:
        return b""

    @guard.require("orders:read")
    async def order_later(request: object, number: int) -> bytes:
        return b""

    assert_type(order(object(), 3), bytes)
    order(object(), "three")  # type: ignore[arg-type]  # it takes a number

    async def call() -> None:
        assert_type(await order_later(object(), number=3), bytes)


def aiohttp_handlers_keep_what_they_take(guard: for_aiohttp.Guard) -> None:
    @guard.require("orders:read")
    async def orders(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(text=request[for_aiohttp.PRINCIPAL].subject)

    class Orders(aiohttp.web.View):
        @guard.require("orders:read")
        async def get(self) -> aiohttp.web.Response:
            return aiohttp.web.Response()

    kept: Callable[[aiohttp.web.Request], Awaitable[aiohttp.web.StreamResponse]] = orders
    aiohttp.web.Application().router.add_get("/orders", kept)

    async def call() -> None:
        await orders("no request")  # type: ignore[arg-type]  # it takes a request


def fastapi_parameters_receive_a_caller_and_nothing_else(
    guard: for_fastapi.Guard, app: fastapi.FastAPI
) -> None:
    @app.get("/orders", dependencies=[guard.require("orders:read")])
    def orders(
        who: Principal = guard.require("orders:read"),
        same: Principal = fastapi.Depends(guard.require("orders:read")),
        again: Principal = fastapi.Security(guard.require(), scopes=["orders:read"]),
        maybe: Principal | None = guard.optional("orders:read"),
        perhaps: Principal | None = fastapi.Depends(guard.optional()),
    ) -> str:
        return who.subject

    def annotated(
        who: Annotated[Principal, guard.require("orders:read")],
        same: Annotated[Principal, fastapi.Depends(guard.require("orders:read"))],
        maybe: Annotated[Principal | None, guard.optional()],
    ) -> str:
        return who.subject + (maybe.subject if maybe else "")

    fastapi.APIRouter(dependencies=[guard.require(), fastapi.Depends(guard.optional())])

    def not_called(who: Principal = guard.require) -> None: ...  # type: ignore[assignment]  # without parentheses
    def a_name(who: str = guard.require()) -> None: ...  # type: ignore[assignment]  # it is no subject
    def nobody(who: Principal = guard.optional()) -> None: ...  # type: ignore[assignment]  # there may be none
    def a_list(who: Principal = guard.require(["orders:read"])) -> None: ...  # type: ignore[arg-type]  # each by itself
    def keyword(who: Principal = guard.require(scopes="orders:read")) -> None: ...  # type: ignore[call-arg]  # no name


async def a_caller_may_be_missing_only_where_it_is_optional(
    guard: Guard, request: aiohttp.web.Request
) -> None:
    assert_type(await guard.authenticate(Presented()), Principal)
    assert_type(await guard.authenticate_optional(Presented()), Principal | None)
    assert_type(guard.authenticate_sync(Presented()), Principal)
    assert_type(guard.authenticate_optional_sync(Presented()), Principal | None)
    assert_type(guard.demand(guard.authenticate_optional_sync(Presented()), Policy()), Principal)
    assert_type(request[for_aiohttp.PRINCIPAL], Principal)
    assert_type(for_grpc.principal(), Principal)
    assert_type(for_grpc.optional_principal(), Principal | None)


def names_that_are_elsewhere_are_errors() -> None:
    watchword.Guard  # type: ignore[attr-defined]  # noqa: B018  it is in watchword.guard
    Guard(ISSUER).require  # type: ignore[attr-defined]  # noqa: B018  a framework's Guard has it
    watchword.guard.mcp.protected  # type: ignore[attr-defined]  # noqa: B018  it is in watchword.guard.mcp_sdk
    watchword.client.RequestsAuth  # type: ignore[attr-defined]  # noqa: B018  it is in a module of its own


def the_testing_kit_says_what_it_gives_and_takes(auth: Auth, mine: for_fastapi.Guard) -> None:
    assert_type(auth.guard(), Guard)
    assert_type(auth.guard(None, audience="https://api.example.com"), Guard)
    assert_type(auth.guard(mine), for_fastapi.Guard)
    assert_type(auth.guard(for_fastapi.Guard, audience="https://api.example.com"), for_fastapi.Guard)
    auth.guard(mine, audience="https://api.example.com")  # type: ignore[call-overload]  # a guard keeps its options
    client: Registered = auth.client(name="orders", redirect_uris=["https://shop.example.com/callback"])
    auth.client(scopes="orders:read")  # type: ignore[call-arg]  # it is `scope`
    auth.client(redirect_uris="https://shop.example.com")  # type: ignore[arg-type]  # a list of them
    assert_type(auth.token("orders:read", client=client, kind="opaque", lifetime=60, dpop=True), Token)
    auth.token("orders:read", lifetme=60)  # type: ignore[call-arg]  # misspelt
    auth.expired("orders:read", kind="jwtt")  # type: ignore[arg-type]  # no such kind
    auth.wrong_audience("orders:read", audience="https://api.example.com")  # type: ignore[call-arg]  # it has the wrong one
