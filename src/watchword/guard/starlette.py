"""The guard for Starlette: a decorator for endpoints."""

import functools
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from watchword.guard import asgi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused
from watchword.guard.principal import Principal

__all__ = ["Guard", "Policy", "Principal"]

Endpoint = Callable[[Request], Awaitable[Response]]


class Guard(BaseGuard):
    """Accepts the credentials of one issuer in a Starlette application."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Callable[[Endpoint], Endpoint]:
        """Guard an endpoint; the caller is `request.state.principal`."""
        wanted = policy or Policy(scopes=scopes)

        def guard(endpoint: Endpoint) -> Endpoint:
            @functools.wraps(endpoint)
            async def guarded(request: Request) -> Response:
                try:
                    principal = await self.authenticate(asgi.presented(request.scope), wanted)
                except Refused as refused:
                    return JSONResponse(refused.document(), refused.status, dict(refused.headers))
                request.state.principal = principal
                return await endpoint(request)

            return guarded

        return guard
