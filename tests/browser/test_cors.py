"""Scripts of another origin in a real Chromium: what they may send to a guarded API or MCP server, and what they may read of its answers."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest
from fastapi import FastAPI
from mcp.server import MCPServer
from playwright.sync_api import Browser, Page
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.fixtures.live import Live
from tests.fixtures.loopback import LoopbackServer
from tests.fixtures.servers import free_port
from tests.guard.mcp_calls import machine, token_for
from tests.guard.mcp_servers import by_fastmcp, by_sdk_hooks, by_wrapping

from watchword.guard import Policy
from watchword.guard.asgi import GuardMiddleware
from watchword.guard.fastapi import Guard, Principal
from watchword.guard.mcp_sdk import protected

OPEN: dict[str, Any] = {
    "allow_origins": ["*"],
    "allow_methods": ["GET", "POST", "DELETE"],
    "allow_headers": ["*"],
    "expose_headers": ["WWW-Authenticate", "Mcp-Session-Id", "DPoP-Nonce"],
}
FETCH = """async ([url, method, headers, body]) => {
    try {
        const answer = await fetch(url, {method, headers, body});
        return {
            status: answer.status,
            challenge: answer.headers.get("WWW-Authenticate"),
            session: answer.headers.get("Mcp-Session-Id"),
        };
    } catch (error) {
        return {status: 0};
    }
}"""
INITIALIZE = """{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25",
    "capabilities": {}, "clientInfo": {"name": "script", "version": "1"}}}"""


@pytest.fixture
def script(browser: Browser, application: tuple[str, list[str]]) -> Iterator[Page]:
    """A page of another origin, whose scripts call."""
    page = browser.new_page()
    page.goto(application[0])
    yield page
    page.close()


def fetch(page: Page, url: str, token: str | None, body: str | None = None) -> Mapping[str, Any]:
    """Let a script call; status 0 is what it gets when the browser keeps the answer from it."""
    headers = {"authorization": f"Bearer {token or 'not-a-token-at-all-but-a-word'}"}
    if body is not None:
        headers |= {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        headers["mcp-protocol-version"] = "2025-11-25"
    found: Mapping[str, Any] = page.evaluate(FETCH, [url, "POST" if body else "GET", headers, body])
    return found


def cors(app: Any) -> Any:
    """Put the middleware around an application, as docs/how-to/mcp.md shows it."""
    return CORSMiddleware(app, **OPEN)


def wrapped_around_cors(issuer: str, resource: str) -> Any:
    """The middleware inside of the guard."""
    return protected(cors(MCPServer("weather").streamable_http_app()), issuer, resource=resource)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda *given: cors(by_wrapping(*given)), id="wrapped"),
        pytest.param(lambda *given: cors(by_sdk_hooks(*given)), id="SDK hooks"),
        pytest.param(lambda *given: cors(by_fastmcp(*given)), id="FastMCP"),
        pytest.param(wrapped_around_cors, id="the middleware inside of the guard"),
    ],
)
def test_a_client_in_a_browser_reads_the_challenge_of_an_mcp_server_and_calls_it(
    live: Live, script: Page, made: Any
) -> None:
    port = free_port()
    resource = f"http://localhost:{port}/mcp"
    token = token_for(live, machine(live, resource), resource)
    with LoopbackServer(made(live.issuer, resource), port=port):
        refused = fetch(script, resource, None, INITIALIZE)
        assert refused["status"] == 401
        assert "resource_metadata=" in refused["challenge"]
        called = fetch(script, resource, token, INITIALIZE)
        assert called["status"] == 200
        assert called["session"], "without it the second call is lost"


def test_without_the_middleware_a_client_in_a_browser_gets_nothing(live: Live, script: Page) -> None:
    port = free_port()
    resource = f"http://localhost:{port}/mcp"
    token = token_for(live, machine(live, resource), resource)
    with LoopbackServer(by_wrapping(live.issuer, resource), port=port):
        assert fetch(script, resource, token, INITIALIZE)["status"] == 0


def fastapi_app(guard: Guard) -> Any:
    """Policies on endpoints, and the middleware of the application."""
    app = FastAPI()
    app.add_middleware(CORSMiddleware, **OPEN)

    @app.get("/orders")
    async def orders(who: Principal = guard.require("orders:read")) -> dict[str, str]:
        return {"sub": who.subject}

    return app


def starlette_app() -> Starlette:
    """An application that guards nothing itself."""
    return Starlette(routes=[Route("/orders", lambda request: JSONResponse({}))])


def cors_outside(guard: Guard) -> Any:
    """The order that works."""
    return cors(GuardMiddleware(cast(Any, starlette_app()), guard, Policy(scopes=("orders:read",))))


def cors_added_last(guard: Guard) -> Any:
    """The same by `add_middleware`, whose last is the outermost."""
    app = starlette_app()
    app.add_middleware(cast(Any, GuardMiddleware), guard=guard, policy=Policy(scopes=("orders:read",)))
    app.add_middleware(CORSMiddleware, **OPEN)
    return app


def cors_inside(guard: Guard) -> Any:
    """The order that fails."""
    return GuardMiddleware(cors(starlette_app()), guard, Policy(scopes=("orders:read",)))


def cors_of_what_is_guarded(guard: Guard) -> Any:
    """The order that fails, by `add_middleware` of the application that is guarded."""
    app = starlette_app()
    app.add_middleware(CORSMiddleware, **OPEN)
    return GuardMiddleware(cast(Any, app), guard, Policy(scopes=("orders:read",)))


def cors_added_first(guard: Guard) -> Any:
    """The order that fails, by `add_middleware`."""
    app = starlette_app()
    app.add_middleware(CORSMiddleware, **OPEN)
    app.add_middleware(cast(Any, GuardMiddleware), guard=guard, policy=Policy(scopes=("orders:read",)))
    return app


@contextmanager
def guarded(live: Live, made: Any) -> Iterator[tuple[str, str]]:
    """Serve an application behind a guard; yield its address and a token for it."""
    port = free_port()
    api = f"http://localhost:{port}"
    token = token_for(live, machine(live, api, "orders:read"), api, "orders:read")
    with LoopbackServer(made(Guard(live.issuer, audience=api)), port=port):
        yield f"{api}/orders", token


@pytest.mark.parametrize("made", [fastapi_app, cors_outside, cors_added_last])
def test_a_script_calls_a_guarded_api_and_reads_why_it_was_refused(
    live: Live, script: Page, made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with guarded(live, made) as (orders, token):
        refused = fetch(script, orders, None)
        assert refused["status"] == 401
        assert refused["challenge"].startswith("Bearer")
        assert fetch(script, orders, token)["status"] == 200
    assert not [record for record in caplog.records if "CORSMiddleware" in record.getMessage()]


@pytest.mark.parametrize("made", [cors_inside, cors_of_what_is_guarded, cors_added_first])
def test_a_guard_around_the_middleware_says_at_start_that_browsers_fail(
    live: Live, script: Page, made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "watchword.guard"), guarded(live, made) as (orders, token):
        assert "Put it outside" in caplog.text
        assert fetch(script, orders, token)["status"] == 0
