"""The guard for Falcon, WSGI and ASGI: hooks for responders."""

from collections.abc import Awaitable, Callable
from typing import Any

from falcon import HTTPError

from watchword.guard import asgi, wsgi
from watchword.guard.guard import Guard as BaseGuard
from watchword.guard.policy import Policy, Refused, demanded
from watchword.guard.principal import Principal

__all__ = ["Guard", "Policy", "Principal"]

Hook = Callable[[Any, Any, Any, dict[str, Any]], None]
AsyncHook = Callable[[Any, Any, Any, dict[str, Any]], Awaitable[None]]


class Refusal(HTTPError):
    """A refusal in Falcon's words."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.status, headers=dict(refused.headers))
        self._document = refused.document()

    def to_dict(self, obj_type: type[Any] = dict) -> Any:
        """Return the body of the answer."""
        return obj_type(self._document)


class Guard(BaseGuard):
    """Accepts the credentials of one issuer in a Falcon application."""

    def require(self, *scopes: str, policy: Policy | None = None) -> Hook:
        """Return a hook for `@falcon.before` of `falcon.App`; the caller is `req.context.principal`."""
        wanted = demanded(scopes, policy)

        def hook(req: Any, resp: Any, resource: Any, params: dict[str, Any]) -> None:
            try:
                req.context.principal = self.authenticate_sync(wsgi.presented(req.env), wanted)
            except Refused as refused:
                raise Refusal(refused) from None

        return hook

    def arequire(self, *scopes: str, policy: Policy | None = None) -> AsyncHook:
        """Return a hook for `@falcon.before` of `falcon.asgi.App`; the caller is `req.context.principal`."""
        wanted = demanded(scopes, policy)

        async def hook(req: Any, resp: Any, resource: Any, params: dict[str, Any]) -> None:
            try:
                req.context.principal = await self.authenticate(asgi.presented(req.scope), wanted)
            except Refused as refused:
                raise Refusal(refused) from None

        return hook
