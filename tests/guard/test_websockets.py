"""WebSockets: refused before they are accepted, by the same rules, in every ASGI framework that has them."""

from collections.abc import Callable
from typing import Any

import falcon
import falcon.asgi
import pytest
from aiohttp import WSServerHandshakeError, web
from aiohttp.test_utils import TestClient as AiohttpClient
from aiohttp.test_utils import TestServer as AiohttpServer
from fastapi import FastAPI, WebSocket
from litestar import Litestar
from litestar import WebSocket as LitestarSocket
from litestar import websocket as litestar_websocket
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from watchword.guard import Guard, Policy, Principal
from watchword.guard.aiohttp import PRINCIPAL
from watchword.guard.aiohttp import Guard as AiohttpGuard
from watchword.guard.asgi import Application, GuardMiddleware, Receive, Scope, Send
from watchword.guard.falcon import Guard as FalconGuard
from watchword.guard.fastapi import Guard as FastAPIGuard
from watchword.guard.litestar import Guard as LitestarGuard
from watchword.guard.mcp import McpGuard
from watchword.guard.starlette import Guard as StarletteGuard
from watchword.testing.kit import Auth

SCOPE = "orders:read"


def plain(auth: Auth) -> Any:
    async def feed(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["principal"].subject})

    return GuardMiddleware(feed, auth.guard(Guard), Policy(scopes=(SCOPE,)))


def starlette(auth: Auth) -> Any:
    guard = auth.guard(StarletteGuard)

    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.state.principal.subject)

    return Starlette(routes=[WebSocketRoute("/feed", guard.require(SCOPE)(feed))])


def fastapi(auth: Auth) -> Any:
    guard = auth.guard(FastAPIGuard)
    app = FastAPI()

    @app.websocket("/feed")
    async def feed(websocket: WebSocket, who: Principal = guard.require(SCOPE)) -> None:
        await websocket.accept()
        await websocket.send_text(who.subject)

    return app


def litestar(auth: Auth) -> Any:
    guard = auth.guard(LitestarGuard)

    @litestar_websocket("/feed", guards=[guard.require(SCOPE)])
    async def feed(socket: LitestarSocket[Any, Any, Any]) -> None:
        await socket.accept()
        await socket.send_text(socket.state.principal.subject)

    return Litestar([feed])


def falcon_on_asgi(auth: Auth) -> Any:
    guard = auth.guard(FalconGuard)

    @falcon.before(guard.arequire(SCOPE))
    class Feed:
        async def on_websocket(self, req: Any, ws: Any) -> None:
            await ws.accept()
            await ws.send_text(req.context.principal.subject)

    app = falcon.asgi.App()
    app.add_route("/feed", Feed())
    return app


@pytest.mark.parametrize("make", [plain, starlette, fastapi, litestar, falcon_on_asgi])
@pytest.mark.parametrize("denial", [True, False], ids=["with a whole answer", "by closing"])
def test_a_websocket_is_refused_before_it_is_accepted(
    auth: Auth, make: Callable[[Auth], Any], denial: bool
) -> None:
    client = TestClient(make(auth) if denial else _without_denial(make(auth)))
    token = auth.token(SCOPE)
    with client.websocket_connect("/feed", headers=token.headers) as socket:
        assert socket.receive_text(), "the honest connection"
    wrong = (
        ("/feed", auth.token("profile").headers, 403),
        (f"/feed?access_token={token}", {}, 401),  # UI-02
    )
    for address, headers, status in wrong:
        with (
            pytest.raises((WebSocketDenialResponse, WebSocketDisconnect)) as refused,
            client.websocket_connect(address, headers=headers),
        ):
            pass
        if isinstance(refused.value, WebSocketDenialResponse):
            assert refused.value.status_code == status
            assert f'scope="{SCOPE}"' in refused.value.headers["www-authenticate"]
        else:
            assert refused.value.code in (1008, 3000 + status, 4000 + status)


async def test_aiohttp_answers_who_may_open_no_websocket(auth: Auth) -> None:
    guard = auth.guard(AiohttpGuard)

    @guard.require(SCOPE)
    async def feed(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(request[PRINCIPAL].subject)
        return socket

    app = web.Application()
    app.router.add_get("/feed", feed)
    async with AiohttpClient(AiohttpServer(app)) as client:
        async with client.ws_connect("/feed", headers=auth.token(SCOPE).headers) as socket:
            assert await socket.receive_str(), "the honest connection"
        for headers, status in ((auth.token("profile").headers, 403), ({}, 401)):
            with pytest.raises(WSServerHandshakeError) as refused:
                await client.ws_connect("/feed", headers=headers)
            assert refused.value.status == status


def test_a_websocket_to_the_metadata_of_an_mcp_server_is_refused_like_any_other(auth: Auth) -> None:
    async def feed(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": scope["principal"].subject})

    resource = "https://mcp.test/mcp"
    client: Any = TestClient(McpGuard(feed, auth.guard(Guard, audience=resource), resource=resource))  # type: ignore[arg-type]  # ASGI
    token = auth.token(SCOPE, audience=resource)
    with client.websocket_connect("/mcp", headers=token.headers) as socket:
        assert socket.receive_text()
    with (
        pytest.raises((WebSocketDenialResponse, WebSocketDisconnect)),
        client.websocket_connect("/.well-known/oauth-protected-resource/mcp"),
    ):
        pass


def _without_denial(app: Application) -> Application:
    async def older_server(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {}}, receive, send)

    return older_server
