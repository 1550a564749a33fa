"""The guard for Falcon, WSGI and ASGI: hooks for responders."""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from watchword.extras import needing
from watchword.guard import asgi, resource, wsgi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal
from watchword.guard.resource import Metadata

with needing("falcon", "falcon"):
    import falcon.asgi
    from falcon import HTTPError, HTTPMethodNotAllowed, HTTPRouteNotFound

__all__ = ["Guard", "Policy", "Principal"]

# A route takes no space and no empty part, and braces are those of a field.
_NO_ROUTE = re.compile(r"[\s{}]|//")

Hook = Callable[[Any, Any, Any, dict[str, Any]], None]
AsyncHook = Callable[[Any, Any, Any, dict[str, Any]], Awaitable[None]]


class Refusal(HTTPError):
    """A refusal as a Falcon error."""

    def __init__(self, refused: Refused) -> None:
        self._document = refused.document()
        # Title and description are what XML shows, and error serializers of the application.
        super().__init__(
            refused.status,
            title=self._document["error"],
            description=refused.description,
            headers=dict(refused.fields()),
        )

    def to_dict(self, obj_type: type[Any] = dict) -> Any:
        """Return the body of the answer."""
        return obj_type(self._document)


class Guard(BaseGuard):
    """A guard for a Falcon application; `watchword.guard.Guard` describes its options."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Hook:
        """Return a hook for `@falcon.before` in a `falcon.App`; the caller is in `req.context.principal`.

        If a middleware's `process_resource` calls it, it guards every resource except the metadata, whose readers have no token yet.
        """
        return self._hook(demanded(scopes, policy))

    def optional(self, *scopes: str, policy: Policy | None = None) -> Hook:
        """Return a hook as `require` does, which also lets in requests without any credential: their principal is None."""
        return self._hook(demanded(scopes, policy, "optional"), optional=True)

    def _hook(self, wanted: Policy, *, optional: bool = False) -> Hook:
        def hook(req: Any, resp: Any, resource: Any, params: dict[str, Any]) -> None:
            if isinstance(req, falcon.asgi.Request):
                raise TypeError(
                    "for falcon.asgi.App use arequire or aoptional: require and optional are for falcon.App"
                )
            if isinstance(resource, _Show):
                return
            try:
                req.context.principal = wsgi.admit(self, req.env, wanted, optional)
            except Refused as refused:
                raise Refusal(refused) from None

        return hook

    def arequire(self, *scopes: str, policy: Policy | None = None) -> AsyncHook:
        """Return the same as `require` for a `falcon.asgi.App`."""
        return self._async_hook(demanded(scopes, policy))

    def aoptional(self, *scopes: str, policy: Policy | None = None) -> AsyncHook:
        """Return the same as `optional` for a `falcon.asgi.App`."""
        return self._async_hook(demanded(scopes, policy, "aoptional"), optional=True)

    def _async_hook(self, wanted: Policy, *, optional: bool = False) -> AsyncHook:
        async def admit(req: Any, resource: Any) -> None:
            if isinstance(resource, _Show):
                return
            try:
                req.context.principal = await asgi.admit(self, _scope(req), wanted, optional)
            except Refused as refused:
                raise Refusal(refused) from None

        def hook(req: Any, resp: Any, resource: Any, params: dict[str, Any]) -> Awaitable[None]:
            # `falcon.App` awaits no hook: an asynchronous one would have let everybody in.
            if not isinstance(req, falcon.asgi.Request):
                raise TypeError(
                    "for falcon.App use require or optional: arequire and aoptional are for falcon.asgi.App"
                )
            return admit(req, resource)

        return hook

    def demand(self, principal: Principal | None, policy: Policy) -> Principal:
        """Return the caller of a responder if it satisfies one more policy; raise HTTPError with the answer that `require` gives."""
        try:
            return super().demand(principal, policy)
        except Refused as refused:
            raise Refusal(refused) from None

    def publish(self, app: Any, scopes: Sequence[str] = (), name: str = "") -> None:
        """Serve the resource's metadata (RFC 9728) and name its address in challenges; `scopes` are those that basic use needs."""
        metadata = Metadata(self, scopes, name)
        show = (_AsyncShow if isinstance(app, falcon.asgi.App) else _Show)(metadata)
        if _NO_ROUTE.search(metadata.path):
            app.add_sink(show.drain, re.compile(rf"{re.escape(metadata.path)}\Z"))
        else:
            app.add_route(metadata.path, show)


def _scope(req: Any) -> asgi.Scope:
    """Return the scope of a request, its iterators replaced: Falcon's test client puts some there, and Falcon has consumed them."""
    scope: asgi.Scope = req.scope
    if isinstance(scope["headers"], Iterator):
        scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in req.headers.items()]
    if isinstance(scope.get("client"), Iterator):
        scope["client"] = (req.remote_addr, 0)
    return scope


class _Show:
    """The responder of the metadata for `falcon.App`."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def on_get(self, _req: Any, resp: Any) -> None:
        resp.data, resp.content_type = self._metadata.body(), resource.CONTENT_TYPE
        resp.set_headers(resource.HEADERS)

    def drain(self, req: Any, resp: Any) -> Any:
        """Answer as a route would."""
        if req.method not in ("GET", "OPTIONS"):
            raise HTTPMethodNotAllowed(("GET", "OPTIONS"))
        resp.set_header("Allow", "GET, OPTIONS")
        if req.method == "GET":
            _Show.on_get(self, req, resp)


class _AsyncShow(_Show):
    """The responder of the metadata for `falcon.asgi.App`."""

    async def on_get(self, req: Any, resp: Any) -> None:  # type: ignore[override]  # Falcon tells the two kinds of app apart
        super().on_get(req, resp)

    async def drain(self, req: Any, resp: Any, ws: Any = None) -> None:
        """Answer as a route would, which is no WebSocket's."""
        if ws is not None:
            raise HTTPRouteNotFound()
        super().drain(req, resp)
