"""MCP servers that people reach by their sessions: the session of the protocol is no way into another person's (MC-53)."""

import httpx
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from tests.guard.mcp_servers import forecast

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
