"""Where MCP servers are: paths that end with a slash or hold escapes, and several servers in one application."""

import pytest
from fastmcp import FastMCP
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.fixtures.live import Live
from tests.fixtures.servers import free_port
from tests.guard.mcp_calls import connected, credentials_of, machine
from tests.guard.mcp_servers import SCOPES, forecast, forecast_by_fastmcp

from watchword.guard.fastmcp import WatchwordAuth
from watchword.guard.mcp_sdk import protected
from watchword.testing.loopback import LoopbackServer


async def calls_a_tool(live: Live, resource: str) -> None:
    """Let the SDK's client find its way from an address to the answer of a tool."""
    client = machine(live, resource)
    async with connected(resource, credentials_of(live, resource, client)) as session:
        result = await session.call_tool("forecast", {"city": "Paris"})
    assert result.content[0].text == f"Sunny in Paris, {client.client.client_id}."  # type: ignore[union-attr]  # a text


@pytest.mark.parametrize("below", ["", "/weather"])
@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/"])
async def test_a_path_of_fastmcp_may_end_with_a_slash(live: Live, below: str, path: str) -> None:
    origin = f"http://localhost:{(port := free_port())}"
    auth = WatchwordAuth(live.issuer, base_url=f"{origin}{below}", scopes=SCOPES)
    server = FastMCP("weather", auth=auth)
    server.tool(forecast_by_fastmcp, name="forecast")
    inner = server.http_app(path=path)
    routes = [*auth.get_well_known_routes(path), Mount(below, app=inner)]
    with LoopbackServer(Starlette(routes=routes, lifespan=inner.lifespan), port=port):  # type: ignore[arg-type]  # plain ASGI
        await calls_a_tool(live, f"{origin}{below}{path}".rstrip("/"))


async def test_an_address_may_hold_escapes(live: Live) -> None:
    resource = f"http://localhost:{(port := free_port())}/my%20weather/mcp"
    server = MCPServer("weather")
    server.tool()(forecast)
    inner = server.streamable_http_app(streamable_http_path="/my weather/mcp")
    with LoopbackServer(protected(inner, live.issuer, resource=resource, scopes=SCOPES), port=port):  # type: ignore[arg-type]  # plain ASGI
        await calls_a_tool(live, resource)
