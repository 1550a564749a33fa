"""Sessions and states of the protocol of MCP: no way into another person's (MC-53), and no limit to the scopes of its first call."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from fastmcp import FastMCP
from fastmcp.server.auth import require_scopes
from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.request_state import RequestStateSecurity
from mcp_types import InputRequiredResult
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
VERSION = "2026-07-28"
MODERN = {"mcp-protocol-version": VERSION, "mcp-method": "tools/call", "mcp-name": "book"}
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "page", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


async def sign_in(request: Request) -> Response:
    request.session.sign_in(request.path_params["who"])  # type: ignore[attr-defined]  # ours, not Starlette's
    return Response()


def with_pages(weather: Any) -> Callable[[], httpx.AsyncClient]:
    """Put a sign-in by a cookie beside an MCP server; return what opens browsers there."""
    pages = Starlette(routes=[Route("/sign-in/{who}", sign_in), Mount("/", weather)])
    app = SessionMiddleware(pages, MemoryStore())
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]  # plain ASGI
    return lambda: httpx.AsyncClient(transport=transport, base_url="https://api.example.com", headers=HEADERS)


async def test_nobody_calls_a_tool_in_the_protocol_session_that_another_person_began(auth: Auth) -> None:
    server = MCPServer("weather")
    server.tool()(forecast)
    inner = server.streamable_http_app(host="api.example.com")
    guard = auth.guard(Guard, audience=RESOURCE, sessions=("weather:read",))
    browser = with_pages(protected(inner, guard, resource=RESOURCE, scopes=("weather:read",)))
    async with server.session_manager.run(), browser() as ada, browser() as bob, browser() as nobody:
        await ada.get("/sign-in/ada")
        await bob.get("/sign-in/bob")
        begun = await ada.post("/mcp", json=BEGIN)
        in_hers = {"mcp-session-id": begun.headers["mcp-session-id"]}
        assert "Sunny in Oslo, ada." in (await ada.post("/mcp", json=CALL, headers=in_hers)).text
        assert (await bob.post("/mcp", json=BEGIN)).status_code == 200, "he may have one of his own"
        assert (await bob.post("/mcp", json=CALL, headers=in_hers)).status_code == 404
        token = auth.token("weather:read", audience=RESOURCE)
        assert (await nobody.post("/mcp", json=CALL, headers=in_hers | token.headers)).status_code == 404
        assert (await nobody.post("/mcp", json=CALL, headers=in_hers)).status_code == 401


def booking(auth: Auth, **more: Any) -> tuple[MCPServer, Callable[[], httpx.AsyncClient]]:
    """Make a server with a tool of two rounds, and what opens browsers there."""
    server = MCPServer("weather", **more)

    @server.tool()
    def book(context: Context) -> str | InputRequiredResult:
        state = context.request_state
        return f"Booked: {state}." if state else InputRequiredResult(request_state="a seat at the window")

    inner = server.streamable_http_app(host="api.example.com", json_response=True)
    guard = auth.guard(Guard, audience=RESOURCE, sessions=("weather:read",))
    return server, with_pages(protected(inner, guard, resource=RESOURCE, scopes=("weather:read",)))


async def book(client: httpx.AsyncClient, **more: Any) -> Any:
    params = {"name": "book", "arguments": {}, "_meta": META} | more
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return (await client.post("/mcp", json=message, headers=MODERN)).json()


async def test_nobody_goes_on_with_a_call_that_another_person_began(auth: Auth) -> None:
    server, browser = booking(auth)
    async with server.session_manager.run(), browser() as ada, browser() as bob, browser() as eve:
        await ada.get("/sign-in/ada")
        await bob.get("/sign-in/bob")
        eve.headers.update(auth.token("weather:read", audience=RESOURCE).headers)
        state = (await book(ada))["result"]["requestState"]
        went_on = await book(ada, requestState=state)
        assert went_on["result"]["content"][0]["text"] == "Booked: a seat at the window."
        for other in (bob, eve):
            assert (await book(other))["result"]["requestState"], "they may begin one of their own"
            refused = await book(other, requestState=state)
            assert refused["error"]["message"] == "Invalid or expired requestState"


async def test_of_two_processes_with_one_key_each_goes_on_with_a_call_for_its_person_alone(
    auth: Auth,
) -> None:
    shared = RequestStateSecurity(keys=["a secret of both, long enough for it"])
    (one, first), (two, second) = (booking(auth, request_state_security=shared) for _ in range(2))
    async with one.session_manager.run(), two.session_manager.run(), first() as here, second() as there:
        here.headers.update((hers := auth.token("weather:read", audience=RESOURCE)).headers)
        state = (await book(here))["result"]["requestState"]
        await there.get("/sign-in/bob")
        refused = await book(there, requestState=state)
        assert refused["error"]["message"] == "Invalid or expired requestState"
        there.headers.update(hers.headers)
        went_on = await book(there, requestState=state)
        assert went_on["result"]["content"][0]["text"] == "Booked: a seat at the window."


def by_the_sdk(auth: Auth) -> tuple[Any, AbstractAsyncContextManager[Any]]:
    server = MCPServer("weather")

    @server.tool()
    def warn() -> str:
        caller = get_access_token()
        if caller is None or "weather:warn" not in caller.scopes:
            raise ToolError("This needs the scope weather:warn.")
        assert caller.token.startswith("eyJ"), "what it was called with, to be exchanged for another"
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
