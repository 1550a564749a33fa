"""The guard for Starlette: a decorator for endpoints, HTTP and WebSocket alike."""

import functools
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from types import CoroutineType, FrameType
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from watchword.extras import needing
from watchword.guard import asgi, order, resource
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.misuse import check_function, check_no_application
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

with needing("starlette", "starlette"):
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route, Router
    from starlette.websockets import WebSocket, WebSocketState

__all__ = ["Guard", "Policy", "Principal"]

Endpoint = Callable[..., Any]
P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """What guards an endpoint: one that takes the same, and is asynchronous."""

    @overload
    def __call__(
        self, endpoint: Callable[P, Awaitable[R]], /
    ) -> Callable[P, "CoroutineType[Any, Any, R]"]: ...
    @overload
    def __call__(self, endpoint: Callable[P, R], /) -> Callable[P, "CoroutineType[Any, Any, R]"]: ...


class Guard(BaseGuard):
    """A guard for a Starlette application; `watchword.guard.Guard` describes its options."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Decorator:
        """Guard an endpoint: a function or a method of an `HTTPEndpoint`, asynchronous or not.

        The caller is in `request.state.principal` or `websocket.state.principal`.
        """
        return self._decorator(demanded(scopes, policy))

    def optional(self, *scopes: str, policy: Policy | None = None) -> Decorator:
        """Guard an endpoint as `require` does, and also let in requests without any credential, whose principal is None."""
        return self._decorator(demanded(scopes, policy, "optional"), optional=True)

    def _decorator(self, wanted: Policy, *, optional: bool = False) -> Decorator:
        def guard(endpoint: Endpoint, /) -> Endpoint:
            check_no_application(
                endpoint,
                (Starlette, Router),
                "wrap it in GuardMiddleware of watchword.guard.asgi",
            )
            check_function(endpoint, "the methods of")
            _check_order(endpoint, sys._getframe(1))

            @functools.wraps(endpoint)
            async def guarded(*args: Any) -> Any:
                connection: Request | WebSocket = args[-1]
                try:
                    connection.state.principal = await asgi.admit(self, connection.scope, wanted, optional)
                    if inspect.iscoroutinefunction(endpoint):
                        return await endpoint(*args)
                    found = await run_in_threadpool(endpoint, *args)
                    return await found if inspect.isawaitable(found) else found
                except Refused as refused:
                    return await _answer(refused, connection)

            return guarded

        return guard

    def metadata_route(self, scopes: Sequence[str] = (), name: str = "") -> Route:
        """Serve the resource's metadata (RFC 9728) and name its address in challenges; `scopes` are those that basic use needs."""
        return metadata_route(self, scopes, name)


def metadata_route(guard: BaseGuard, scopes: Sequence[str], name: str) -> Route:
    """Return the route of a resource's metadata."""
    metadata = Metadata(guard, scopes, name)

    async def show(_: Request) -> Response:
        return Response(metadata.body(), 200, resource.HEADERS, resource.CONTENT_TYPE)

    return Route(metadata.path, show)


def _check_order(endpoint: Endpoint, where: FrameType) -> None:
    """Raise ValueError for an endpoint that FastAPI has registered already: it would be called unguarded."""
    routes = (route for one in order.near(where) if isinstance(one, Router) for route in one.routes)
    by_fastapi = (route for route in routes if type(route).__module__.startswith("fastapi."))
    if order.is_taken(endpoint, (getattr(route, "endpoint", None) for route in by_fastapi)):
        raise ValueError(f"use the Guard of watchword.guard.fastapi: {endpoint.__name__} was taken unguarded")


async def _answer(refused: Refused, connection: Request | WebSocket) -> JSONResponse | None:
    if not isinstance(connection, WebSocket):
        return JSONResponse(refused.document(), refused.status, dict(refused.fields()))
    if connection.application_state is WebSocketState.CONNECTED:  # refused by `demand`, after it was accepted
        await connection.close(1008, refused.error or "unauthorized")
        return None
    await asgi.answer(refused, connection.scope, connection.send)
    return None
