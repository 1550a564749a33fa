"""RFC 9728 and MCP authorization (2026-07-28): a guarded MCP server tells its clients where and how to get a token.

Owns an ASGI application around an MCP server that answers the resource's metadata and writes the challenges. Every challenge
carries the two hints that an unconfigured client needs: `resource_metadata` and `scope`. Knows no SDK: the objects that the MCP
Python SDK and FastMCP expect are made by `watchword.guard.mcp_sdk` and `watchword.guard.fastmcp`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from watchword.guard import asgi
from watchword.guard.asgi import Application, Receive, Scope, Send
from watchword.guard.guard import Guard
from watchword.guard.misuse import check_application, check_origins, check_scopes
from watchword.guard.policy import Policy, Refused
from watchword.guard.principal import Principal
from watchword.guard.resource import check_resource, metadata, metadata_address, served_path
from watchword.guard.trusted import Local

CORS = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"WWW-Authenticate, Mcp-Session-Id, DPoP-Nonce"),
)

__all__ = ["McpGuard", "Principal", "resource_guard"]

if not TYPE_CHECKING:  # type checkers would take every name for one that is there

    def __getattr__(name: str) -> object:
        if name in ("protected", "mcp_auth"):  # they need the SDK, of which this module knows nothing
            raise ImportError(
                f"write: from watchword.guard.mcp_sdk import {name} (for FastMCP, watchword.guard.fastmcp has WatchwordAuth)"
            )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def resource_guard(issuer: str | Local | Guard, resource: str) -> Guard:
    """Return the guard of an MCP server: only tokens that were issued for it are accepted (RFC 8707 §2)."""
    check_resource(resource)
    # Clients parse the address before they send it as `resource`, which normalises it as browsers do.
    check_origins("scheme and host of the resource", (resource.removesuffix(urlsplit(resource).path),))
    if isinstance(issuer, Guard):
        if issuer.audience != resource:
            raise ValueError(f"the guard's audience is {issuer.audience!r}, not the resource {resource!r}")
        issuer.resource_metadata = issuer.resource_metadata or metadata_address(resource)
        return issuer
    return Guard(issuer, audience=resource, resource_metadata=metadata_address(resource))


class McpGuard:
    """Wraps an MCP server, as an ASGI application, so that only callers with a token for it reach it.

    `app` is what `streamable_http_app()` or `http_app()` returned, `issuer` the authorization server's address or a guard,
    `resource` exactly the address that clients connect to, and `scopes` those that every call needs.
    """

    def __init__(
        self,
        app: Application,
        issuer: str | Local | Guard,
        *,
        resource: str,
        scopes: Sequence[str] = (),
        name: str = "",
    ) -> None:
        check_scopes("scopes", scopes)
        check_application(app)
        self._app = app
        self._has_cors = asgi.answers_other_origins(app)
        self.guard = resource_guard(issuer, resource)
        self._policy = Policy(scopes=tuple(scopes))
        self._path = served_path(resource)
        self._document = metadata(resource, self.guard.issuers, scopes, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == self._path:
            await self._answer_metadata(scope["method"], send)
        elif self._has_cors and _is_preflight(scope):
            # It carries no credential, and the CORS middleware answers it without calling the server.
            await self._app(scope, receive, send)
        else:
            await self._guarded(scope, receive, send)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            scope["principal"] = await asgi.admit(self.guard, scope, self._policy)
        except Refused as refused:
            await asgi.answer(self._hinted(refused), scope, send)
            return
        nonce = self.guard.fresh_nonce(scope["principal"])
        await self._app(scope, receive, send if nonce is None else asgi.with_nonce(send, nonce))

    def _hinted(self, refused: Refused) -> Refused:
        # MCP, scope selection: the challenge names the scopes that this server needs, whatever the error.
        needed = " ".join(self._policy.scopes)
        headers = [
            (name, f'{value}, scope="{needed}"')
            if name == "WWW-Authenticate" and needed and "scope=" not in value
            else (name, value)
            for name, value in refused.headers
        ]
        headers += [(name.decode(), value.decode()) for name, value in CORS]
        return Refused(refused.status, refused.error, refused.description, tuple(headers))

    async def _answer_metadata(self, method: str, send: Send) -> None:
        status = {"GET": 200, "HEAD": 200, "OPTIONS": 204}.get(method, 405)
        body = self._document if status == 200 else b""
        headers = [*CORS, (b"content-type", b"application/json"), (b"cache-control", b"max-age=300")]
        if status != 204:  # RFC 9110 §8.6
            headers.append((b"content-length", str(len(body)).encode()))
        if status != 200:
            headers += [(b"allow", b"GET, HEAD, OPTIONS"), (b"access-control-allow-headers", b"*")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


def _is_preflight(scope: Scope) -> bool:
    """Whether a request is a CORS preflight (Fetch Standard, CORS-preflight request)."""
    asked = {name for name, _ in scope["headers"]}
    return scope.get("method") == "OPTIONS" and {b"origin", b"access-control-request-method"} <= asked
