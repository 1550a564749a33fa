"""The guard for aiohttp's server: a decorator for handlers and middlewares."""

import functools
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from watchword.extras import needing
from watchword.guard import order, resource
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.guard import Presented
from watchword.guard.misuse import check_no_application, check_view
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

with needing("aiohttp", "aiohttp"):
    from aiohttp import web

__all__ = ["PRINCIPAL", "Guard", "Policy", "Principal"]

if TYPE_CHECKING or hasattr(web, "RequestKey"):

    class _PrincipalKey(web.RequestKey[Principal]):
        """Equal to the plain string as well, so `request["principal"]` works: aiohttp warns only when a string key is written."""

        def __hash__(self) -> int:
            return hash("principal")

        def __eq__(self, other: object) -> bool:
            return self is other or other == "principal"

    PRINCIPAL = _PrincipalKey("principal", Principal)
    NOTES = web.RequestKey[dict[Any, Any]]("notes")
else:  # before 3.14 aiohttp has string keys only
    PRINCIPAL = "principal"
    NOTES = "watchword.guard"

Handler = Callable[..., Awaitable[web.StreamResponse]]
H = TypeVar("H", bound=Handler)


class Guard(BaseGuard):
    """A guard for an aiohttp application; `watchword.guard.Guard` describes its options."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Callable[[H], H]:
        """Guard a handler, a method of a `View`, or a method that takes the request; the caller is in `request[PRINCIPAL]`.

        Put it below `@routes.get`, which registers the function that it receives. To guard an application or a sub-application, guard
        one of its middlewares (`@web.middleware`) in the same way.
        """
        return self._decorator(demanded(scopes, policy))

    def optional(self, *scopes: str, policy: Policy | None = None) -> Callable[[H], H]:
        """Guard a handler as `require` does, and also let in requests without any credential.

        Read the caller by `request.get(PRINCIPAL)`, which is None for those.
        """
        return self._decorator(demanded(scopes, policy, "optional"), optional=True)

    def _decorator(self, wanted: Policy, *, optional: bool = False) -> Callable[[H], H]:
        check = self.authenticate_optional if optional else self.authenticate

        def guard(handler: H) -> H:
            check_no_application(
                handler,
                (web.Application,),
                "guard one of its middlewares (@web.middleware)",
            )
            check_view(handler)
            _check_order(handler, sys._getframe(1))

            @functools.wraps(handler)
            async def guarded(*args: Any, **named: Any) -> web.StreamResponse:
                request = _request_of(args)
                if self.metadata is not None and self.metadata.is_asked(request.method, request.path):
                    return _document(self.metadata)  # below a middleware of the whole application
                try:
                    _keep(request, await check(presented(request), wanted))
                    return await handler(*args, **named)
                except Refused as refused:
                    return web.json_response(
                        refused.document(), status=refused.status, headers=dict(refused.fields())
                    )

            return cast(H, guarded)  # it takes what the handler takes

        return guard

    def publish(self, app: web.Application, scopes: Sequence[str] = (), name: str = "") -> None:
        """Serve the resource's metadata (RFC 9728) and name its address in challenges; `scopes` are those that basic use needs."""
        metadata = Metadata(self, scopes, name)

        async def show(_: web.Request) -> web.Response:
            return _document(metadata)

        app.router.add_get(metadata.path, show)


def _keep(request: web.Request, caller: Principal | None) -> None:
    # The key is of a Principal: it is left out where there is none.
    if caller is None:
        request.pop(PRINCIPAL, None)
    else:
        request[PRINCIPAL] = caller


def _request_of(given: tuple[Any, ...]) -> web.Request:
    """Return the request that a handler, a middleware, or a method of either is called with; a method of a `View` has it in `self`."""
    found = next((one for one in given if isinstance(one, web.Request)), None)
    return given[-1].request if found is None else found


def _document(metadata: Metadata) -> web.Response:
    return web.Response(body=metadata.body(), content_type=resource.CONTENT_TYPE, headers=resource.HEADERS)


def _check_order(handler: Handler, where: FrameType) -> None:
    """Raise ValueError for a handler that a route table registered before it was guarded: it would be called unguarded."""
    tables = (one for one in order.near(where) if isinstance(one, web.RouteTableDef))
    if order.is_taken(handler, (getattr(route, "handler", None) for table in tables for route in table)):
        raise ValueError(f"put @guard.require below @routes.get: {handler.__name__} was taken unguarded")


def presented(request: web.Request) -> Presented:
    """Return what a request presented."""
    return Presented(
        authorization=request.headers.getall("Authorization", ()),
        dpop=request.headers.getall("DPoP", ()),
        method=request.method,
        uri=f"{request.scheme}://{request.host}{request.rel_url.raw_path}",
        path=request.path,
        address=request.remote,
        secure=request.secure,
        certificate=_certificate(request),
        cookies=request.headers.getall("Cookie", ()),
        site=request.headers.get("Sec-Fetch-Site"),
        origin=request.headers.get("Origin"),
        websocket=request.headers.get("Upgrade", "").lower() == "websocket",
        kept=request.setdefault(NOTES, {}),
    )


def _certificate(request: web.Request) -> bytes | None:
    secured = request.get_extra_info("ssl_object")
    return secured.getpeercert(binary_form=True) if isinstance(secured, ssl.SSLObject) else None
