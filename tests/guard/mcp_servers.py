"""One MCP server, guarded in each of the three ways."""

from urllib.parse import urlsplit

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_access_token as fastmcp_access_token
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token

from watchword.guard.fastmcp import WatchwordAuth
from watchword.guard.mcp_sdk import mcp_auth, protected
from watchword.http_server.exchange import Application

SCOPES = ("weather:read",)


def forecast(city: str) -> str:
    """Say how the weather will be."""
    caller = get_access_token()
    return f"Sunny in {city}, {caller.subject if caller else 'nobody'}."


def forecast_by_fastmcp(city: str) -> str:
    """Say how the weather will be."""
    caller = fastmcp_access_token()
    return f"Sunny in {city}, {caller.subject if caller else 'nobody'}."


def by_wrapping(issuer: str, resource: str) -> Application:
    """The SDK's application, wrapped."""
    server = MCPServer("weather")
    server.tool()(forecast)
    return protected(server.streamable_http_app(), issuer, resource=resource, scopes=SCOPES)  # type: ignore[return-value]  # plain ASGI


def by_sdk_hooks(issuer: str, resource: str) -> Application:
    """The SDK's application with the SDK's own hooks filled in."""
    server = MCPServer("weather", **mcp_auth(issuer, resource=resource, scopes=SCOPES))
    server.tool()(forecast)
    return server.streamable_http_app()  # type: ignore[return-value]  # plain ASGI


def by_fastmcp(issuer: str, resource: str) -> Application:
    """FastMCP with an auth provider."""
    parts = urlsplit(resource)
    auth = WatchwordAuth(issuer, base_url=f"{parts.scheme}://{parts.netloc}", scopes=SCOPES)
    server = FastMCP("weather", auth=auth)
    server.tool(forecast_by_fastmcp, name="forecast")
    return server.http_app()  # type: ignore[return-value]  # plain ASGI
