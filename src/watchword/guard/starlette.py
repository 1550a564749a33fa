"""The guard for Starlette: a decorator for endpoints, HTTP and WebSocket alike."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from watchword.guard import asgi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal

__all__ = ["Guard", "Policy", "Principal"]

Endpoint = Callable[[Any], Awaitable[Any]]


class Guard(BaseGuard):
    """Accepts the credentials of one issuer in a Starlette application."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Callable[[Endpoint], Endpoint]:
        """Guard an endpoint; the caller is `request.state.principal`, or `websocket.state.principal`."""
        wanted = demanded(scopes, policy)

        def guard(endpoint: Endpoint) -> Endpoint:
            @functools.wraps(endpoint)
            async def guarded(connection: Request | WebSocket) -> Any:
                try:
                    principal = await self.authenticate(asgi.presented(connection.scope), wanted)
                except Refused as refused:
                    return await _answer(refused, connection)
                connection.state.principal = principal
                return await endpoint(connection)

            return guarded

        return guard


async def _answer(refused: Refused, connection: Request | WebSocket) -> JSONResponse | None:
    if not isinstance(connection, WebSocket):
        return JSONResponse(refused.document(), refused.status, dict(refused.headers))
    await asgi.answer(refused, connection.scope, connection.send)
    return None
