"""Sessions of the protocol of MCP: no way into another person's (MC-53), and no limit to the scopes of its first call."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from fastmcp import FastMCP
from fastmcp.server.auth import require_scopes
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver.exceptions import ToolError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from tests.guard.mcp_servers import forecast

from watchword.guard.fastmcp import WatchwordAuth
from watchword.guard.guard import Guard
from watchword.guard.mcp_sdk import protected
from watchword.guard.sessions import MemoryStore, SessionMiddleware
from watchword.testing.kit import Auth

RESOURCE = "https://api.example.com/mcp"
HEADERS = {"accept": "application/json, text/event-stream", "sec-fetch-site": "same-origin"}
BEGIN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "page", "version": "1"},
    },
}
CALL = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "forecast", "arguments": {"city": "Oslo"}},
}


async def sign_in(request: Request) -> Response:
    request.session.sign_in(request.path_params["who"])  # type: ignore[attr-defined]  # ours, not Starlette's
    return Response()


async def test_nobody_calls_a_tool_in_the_protocol_session_that_another_person_began(auth: Auth) -> None:
    server = MCPServer("weather")
    server.tool()(forecast)
    inner = server.streamable_http_app(host="api.example.com")
    guard = auth.guard(Guard, audience=RESOURCE, sessions=("weather:read",))
    weather = protected(inner, guard, resource=RESOURCE, scopes=("weather:read",))
    pages = Starlette(routes=[Route("/sign-in/{who}", sign_in), Mount("/", weather)])
    app = SessionMiddleware(pages, MemoryStore())

    def browser() -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app),  # type: ignore[arg-type]  # plain ASGI
            base_url="https://api.example.com",
            headers=HEADERS,
        )

    async with server.session_manager.run(), browser() as ada, browser() as bob, browser() as nobody:
        await ada.get("/sign-in/ada")
        await bob.get("/sign-in/bob")
        begun = await ada.post("/mcp", json=BEGIN)
        in_hers = {"mcp-session-id": begun.headers["mcp-session-id"]}
        assert "Sunny in Oslo, nobody." in (await ada.post("/mcp", json=CALL, headers=in_hers)).text
        assert (await bob.post("/mcp", json=BEGIN)).status_code == 200, "he may have one of his own"
        assert (await bob.post("/mcp", json=CALL, headers=in_hers)).status_code == 404
        token = auth.token("weather:read", audience=RESOURCE)
        assert (await nobody.post("/mcp", json=CALL, headers=in_hers | token.headers)).status_code == 404
        assert (await nobody.post("/mcp", json=CALL, headers=in_hers)).status_code == 401


def by_the_sdk(auth: Auth) -> tuple[Any, AbstractAsyncContextManager[Any]]:
    server = MCPServer("weather")

    @server.tool()
    def warn() -> str:
        caller = get_access_token()
        if caller is None or "weather:warn" not in caller.scopes:
            raise ToolError("This needs the scope weather:warn.")
        return "Storm."

    app = server.streamable_http_app(host="api.example.com")
    guard = auth.guard(Guard, audience=RESOURCE)
    return protected(app, guard, resource=RESOURCE, scopes=("weather:read",)), server.session_manager.run()


def by_fastmcp(auth: Auth) -> tuple[Any, AbstractAsyncContextManager[Any]]:
    provider = WatchwordAuth(auth.app, base_url="https://api.example.com", scopes=("weather:read",))
    server = FastMCP("weather", auth=provider)
    server.tool(lambda: "Storm.", name="warn", auth=require_scopes("weather:warn"))
    app = server.http_app()
    return app, app.router.lifespan_context(app)


@pytest.mark.parametrize("make", [by_the_sdk, by_fastmcp])
async def test_a_tool_with_a_scope_of_its_own_is_called_in_a_session_that_began_without_it(
    auth: Auth, make: Callable[[Auth], tuple[Any, AbstractAsyncContextManager[Any]]]
) -> None:
    app, running = make(auth)
    transport = httpx.ASGITransport(app=app)
    read, warn = (
        auth.token(scope, audience=RESOURCE) for scope in ("weather:read", "weather:read weather:warn")
    )
    call = CALL | {"params": {"name": "warn", "arguments": {}}}
    async with (
        running,
        httpx.AsyncClient(transport=transport, base_url="https://api.example.com", headers=HEADERS) as client,
    ):
        begun = await client.post("/mcp", json=BEGIN, headers=read.headers)
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        assert "Storm." in (await client.post("/mcp", json=call, headers=session | warn.headers)).text
        refused = await client.post("/mcp", json=call, headers=session | read.headers)
        assert refused.status_code == 200
        assert "Storm." not in refused.text
        assert '"isError":true' in refused.text
