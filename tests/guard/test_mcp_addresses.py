"""Where MCP servers are: paths that end with a slash or hold escapes, and several servers in one application."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastmcp import FastMCP
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.fixtures.live import Live
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.servers import free_port
from tests.guard.mcp_calls import call, connected, credentials_of, machine, token_for
from tests.guard.mcp_servers import SCOPES, forecast, forecast_by_fastmcp

from watchword.guard.fastmcp import WatchwordAuth
from watchword.guard.mcp_sdk import protected

MANUAL = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "mcp.md").read_text("utf-8")


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


def of_the_manual(issuer: str, origin: str) -> dict[str, Any]:
    """Run the manual's program of several servers, with an issuer and an address of this test."""
    shown = re.search(r"## Several servers.*?```python\n(.*?)```", MANUAL, re.DOTALL)
    assert shown is not None
    program = shown[1].replace("https://auth.example.com", issuer).replace("https://api.example.com", origin)
    names: dict[str, Any] = {"MCPServer": MCPServer, "protected": protected}
    exec(compile(program.replace("api.example.com", "localhost"), "mcp.md", "exec"), names)
    return names


async def test_several_servers_of_one_application_have_tokens_of_their_own(live: Live) -> None:
    origin = f"http://localhost:{(port := free_port())}"
    manual = of_the_manual(live.issuer, origin)
    for server in manual["servers"].values():
        server.tool()(forecast)
    with LoopbackServer(manual["app"], port=port):
        for name in ("weather", "traffic"):
            client = live.client(scope=f"{name}:read", resources=[f"{origin}/{name}/mcp"])
            async with connected(
                f"{origin}/{name}/mcp", credentials_of(live, f"{origin}/{name}/mcp", client)
            ) as session:
                assert (await session.list_tools()).tools[0].name == "forecast"
        both = [f"{origin}/weather/mcp", f"{origin}/traffic/mcp"]
        client = live.client(scope="weather:read traffic:read", resources=both)
        token = token_for(live, client, both[0], "weather:read traffic:read")
        assert call(both[0], token).status_code not in (401, 403)
        assert call(both[1], token).status_code == 401
