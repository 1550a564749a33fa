"""The guard for Litestar: guards of routes, HTTP and WebSocket alike."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from watchword.extras import needing
from watchword.guard import asgi, resource
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

with needing("litestar", "litestar"):
    from litestar import Response, get
    from litestar.connection import ASGIConnection
    from litestar.exceptions import HTTPException, WebSocketException
    from litestar.handlers import BaseRouteHandler, HTTPRouteHandler

__all__ = ["Guard", "Policy", "Principal"]

PUBLIC = "watchword_metadata"  # the route option that marks the metadata handler
RouteGuard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]


class Refusal(HTTPException, WebSocketException):
    """A refusal as Litestar's exception: it answers requests by the status and closes WebSockets with the code."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(
            refused.description,
            status_code=refused.status,
            headers=dict(refused.fields()),
            extra=dict(refused.document()),
        )
        self.code = 4000 + refused.status


class Guard(BaseGuard):
    """A guard for a Litestar application; `watchword.guard.Guard` describes its options."""

    def require(self, *scopes: str, policy: Policy | None = None) -> RouteGuard:
        """Return an entry for the `guards` of a handler, controller or application; the caller is in `request.state.principal`."""
        return self._route_guard(demanded(scopes, policy))

    def optional(self, *scopes: str, policy: Policy | None = None) -> RouteGuard:
        """Return an entry for `guards` as `require` does, which also lets in requests without any credential: their principal is None."""
        return self._route_guard(demanded(scopes, policy, "optional"), optional=True)

    def _route_guard(self, wanted: Policy, *, optional: bool = False) -> RouteGuard:
        async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
            # Under a guard of the whole application, too: clients read it to learn where they get a token.
            if handler.opt.get(PUBLIC):
                return
            try:
                connection.state.principal = await asgi.admit(
                    self, cast(asgi.Scope, connection.scope), wanted, optional
                )
            except Refused as refused:
                raise Refusal(refused) from None

        return guard

    def demand(self, principal: Principal | None, policy: Policy) -> Principal:
        """Return the caller of a handler if it satisfies one more policy; raise HTTPException with the answer that `require` gives."""
        try:
            return super().demand(principal, policy)
        except Refused as refused:
            raise Refusal(refused) from None

    def metadata_handler(self, scopes: Sequence[str] = (), name: str = "") -> HTTPRouteHandler:
        """Return a handler for the resource's metadata (RFC 9728) and name its address in challenges; `scopes` are those that basic use needs."""
        metadata = Metadata(self, scopes, name)

        @get(
            metadata.path,
            include_in_schema=False,
            opt={"exclude_from_auth": True, PUBLIC: True},
            sync_to_thread=False,
        )
        def show() -> Response[bytes]:
            return Response(metadata.body(), headers=resource.HEADERS, media_type=resource.CONTENT_TYPE)

        return show
