"""The guard for FastAPI: a dependency that is also the security scheme of the OpenAPI document.

A WebSocket is refused before it is accepted.
"""

from collections.abc import Sequence
from typing import Any

from watchword.extras import needing
from watchword.guard import asgi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal

with needing("fastapi", "fastapi"):
    from fastapi import FastAPI, HTTPException, Security, WebSocketException
    from fastapi.openapi.models import HTTPBearer
    from fastapi.security.base import SecurityBase
    from starlette.requests import HTTPConnection

    from watchword.guard.starlette import metadata_route

__all__ = ["Guard", "Policy", "Principal"]


class _Requirement(SecurityBase):
    """A policy as a dependency."""

    def __init__(self, guard: BaseGuard, policy: Policy) -> None:
        self.model = HTTPBearer(description=f"An API token or OAuth access token of {guard.issuer}.")
        self.scheme_name = "Watchword"
        self._guard = guard
        self._policy = policy

    async def __call__(self, connection: HTTPConnection) -> Principal:
        try:
            return await asgi.admit(self._guard, connection.scope, self._policy)
        except Refused as refused:
            extensions = connection.scope.get("extensions") or {}
            if connection.scope["type"] == "websocket" and "websocket.http.response" not in extensions:
                raise WebSocketException(1008, refused.error or "unauthorized") from None
            raise HTTPException(refused.status, refused.document(), dict(refused.headers)) from None


class Guard(BaseGuard):
    """Accepts the credentials of one issuer in a FastAPI application."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Any:
        """Return the default of a parameter that receives the `Principal`: `who: Principal = guard.require("orders:read")`."""
        wanted = demanded(scopes, policy)
        return Security(_Requirement(self, wanted), scopes=[*wanted.scopes, *wanted.any_scopes])

    def publish(self, app: FastAPI, scopes: Sequence[str] = (), name: str = "") -> None:
        """Answer the metadata of the resource (RFC 9728), and name it in challenges; `scopes` are what basic use needs."""
        # In front: an application may have a route for every path.
        app.router.routes.insert(0, metadata_route(self, scopes, name))
