"""The guard for the MCP Python SDK: its own server classes, given a verifier and settings, or wrapped as a whole.

`protected` wraps the application and answers in full what the MCP authorization specification asks for. `mcp_auth` fills the
SDK's own hooks, for servers that are started by `server.run()`; the SDK then writes the challenges, without a `scope`.
"""

from collections.abc import Sequence
from typing import TypedDict

from watchword.extras import needing
from watchword.guard.asgi import Application, Receive, Scope, Send
from watchword.guard.guard import Guard, Presented
from watchword.guard.mcp import McpGuard, resource_guard
from watchword.guard.misuse import check_application, check_scopes
from watchword.guard.policy import Refused
from watchword.guard.principal import Principal
from watchword.guard.trusted import Local

with needing("mcp", "mcp"):
    from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
    from mcp.server.auth.provider import AccessToken
    from mcp.server.auth.settings import AuthSettings

__all__ = ["GuardVerifier", "McpAuth", "access_token", "mcp_auth", "protected"]


class McpAuth(TypedDict):
    """The two arguments that tell an `MCPServer` about its authorization server."""

    auth: AuthSettings
    token_verifier: "GuardVerifier"


class GuardVerifier:
    """The SDK's `TokenVerifier`, answered by a guard."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return a bearer token's claims, None when it is not valid; raise Refused when it is used too often or cannot be verified now."""
        presented = Presented(authorization=(f"Bearer {token}",), method="POST")
        try:
            principal = await self.guard.authenticate(presented)
        except Refused as refused:
            if refused.status == 429 or refused.status >= 500:
                raise  # not None: a client would throw a good token away
            return None
        return access_token(principal, token, self.guard.audience)


def access_token(principal: Principal, token: str, resource: str) -> AccessToken:
    """Return a caller as the SDK's `AccessToken`; it binds an MCP session to client, issuer and subject (MC-53)."""
    return AccessToken(
        token=token,
        client_id=principal.client_id or principal.subject,
        scopes=sorted(principal.scopes),
        expires_at=principal.expires_at,
        resource=resource,
        subject=principal.subject,
        claims={**principal.claims, "iss": principal.issuer},
    )


def mcp_auth(issuer: str | Local | Guard, *, resource: str, scopes: Sequence[str] = ()) -> McpAuth:
    """Return arguments for `MCPServer(name, **mcp_auth(…))`: it then accepts an issuer's tokens for this server."""
    check_scopes("scopes", scopes)
    guard = resource_guard(issuer, resource)
    # As strings: the model then keeps the addresses letter by letter, where a parsed one would gain a slash.
    settings = AuthSettings.model_validate(
        {
            "issuer_url": guard.issuer,
            "resource_server_url": resource,
            "required_scopes": list(scopes),
            "validate_token_resource": False,  # the guard has compared the audience
        }
    )
    return McpAuth(auth=settings, token_verifier=GuardVerifier(guard))


def protected(
    app: Application,
    issuer: str | Local | Guard,
    *,
    resource: str,
    scopes: Sequence[str] = (),
    name: str = "",
) -> McpGuard:
    """Wrap an MCP server so that only callers with a token for it reach it; tools read the token with the SDK's `get_access_token`."""
    check_application(app)
    return McpGuard(_WithUser(app, resource), issuer, resource=resource, scopes=scopes, name=name)


class _WithUser:
    """Tells the SDK who calls, in the way that its own middleware does."""

    def __init__(self, app: Application, resource: str) -> None:
        self.app = app
        self._with_context = AuthContextMiddleware(app)
        self._resource = resource

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = scope.get("principal")
        if not isinstance(principal, Principal):
            await self.app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        token = sent.decode("latin-1").partition(" ")[2].strip()
        # The SDK binds MCP sessions to the user of the scope, and the state of a call of several rounds (`requestState`) to that of the
        # context: a caller who is signed in by a cookie has to be both, with a token that is empty.
        scope["user"] = AuthenticatedUser(access_token(principal, token, self._resource))
        await self._with_context(scope, receive, send)
