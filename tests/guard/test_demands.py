"""What an endpoint demands of its caller is answered where the guard stands elsewhere: before a blueprint, in a middleware, at a WebSocket.

`test_conformance` has the usual endpoints, in every framework.
"""

import sys
from types import ModuleType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.guard import example_apps
from tests.guard.example_apps import BASE, Call

from watchword.guard import Policy
from watchword.testing.kit import Auth

READ = Policy(scopes=("orders:read",))


def check_answers(auth: Auth, call: Call, path: str) -> None:
    """Check that a guarded path lets a caller with the scope in, and answers others as `require` does."""
    good, poor = (
        list(auth.token(scope, audience=BASE).headers.items()) for scope in ("orders:read", "profile")
    )
    assert call("GET", path, good).says("sub")
    for headers, status in ((poor, 403), ([], 401)):
        answer = call("GET", path, headers)
        kept = answer.headers.get("cache-control")
        assert (answer.status, 'scope="orders:read"' in str(answer.challenge), kept) == (
            status,
            True,
            "no-store",
        )


def test_a_view_of_flask_demands_where_its_blueprint_is_guarded(auth: Auth) -> None:
    from flask import Blueprint, Flask, g

    from watchword.guard.flask import Guard

    guard, app, shop = auth.guard(Guard, audience=BASE), Flask("shop"), Blueprint("shop", "shop")
    shop.before_request(guard.optional()(lambda: None))
    shop.get("/orders")(lambda: {"sub": guard.demand(g.principal, READ).subject})
    app.register_blueprint(shop)
    app.register_error_handler(Exception, lambda error: ("an accident", 500))
    with example_apps.wsgi(app) as call:
        check_answers(auth, call, "/orders")


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_a_view_of_django_demands_where_a_middleware_guards_it(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    example_apps.load("drf_app")  # configures Django
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.test import override_settings
    from django.urls import path

    from watchword.guard.django import Guard

    guard = auth.guard(Guard, audience=BASE)

    def show(request: Any) -> JsonResponse:
        return JsonResponse({"sub": guard.demand(request.principal, READ).subject})

    async def later(request: Any) -> JsonResponse:
        return show(request)

    def broken(request: Any) -> JsonResponse:
        raise RuntimeError("an accident")

    urls: Any = ModuleType("urls_of_demands")
    urls.urlpatterns = [path("view", show), path("later", later), path("broken", broken)]
    urls.guarded = guard.middleware(optional=True)
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    with override_settings(
        ROOT_URLCONF=urls.__name__, MIDDLEWARE=[f"{urls.__name__}.guarded"], ALLOWED_HOSTS=["*"]
    ):
        made = get_asgi_application() if server == "asgi" else get_wsgi_application()
        with (example_apps.asgi if server == "asgi" else example_apps.wsgi)(made) as call:
            check_answers(auth, call, "/view")
            check_answers(auth, call, "/later")
            assert call("GET", "/broken", []).status == 500


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_websocket_of_litestar_is_closed_as_require_would(auth: Auth, when: str) -> None:
    from litestar import Litestar
    from litestar import WebSocket as LitestarSocket
    from litestar import websocket as handler
    from litestar.exceptions import WebSocketDisconnect as Closed
    from litestar.testing import TestClient as LitestarClient

    from watchword.guard.litestar import Guard

    guard = auth.guard(Guard)

    @handler("/feed", guards=[guard.optional()])
    async def feed(socket: LitestarSocket[Any, Any, Any]) -> None:
        if when == "after":
            await socket.accept()
        guard.demand(socket.state.principal, READ)
        if when == "before":
            await socket.accept()
        await socket.send_text("orders")

    client = LitestarClient(Litestar([feed]))
    with client.websocket_connect("/feed", headers=auth.token("orders:read").headers) as opened:
        assert opened.receive_text() == "orders"
    for headers, code in ((auth.token("profile").headers, 4403), ({}, 4401)):
        with (
            pytest.raises(Closed) as refused,
            client.websocket_connect("/feed", headers=headers) as opened,
        ):
            opened.receive_text()
        assert refused.value.code == code


def test_a_websocket_of_starlette_that_was_accepted_is_closed(auth: Auth) -> None:
    from watchword.guard.starlette import Guard

    guard = auth.guard(Guard)

    @guard.optional()
    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        guard.demand(websocket.state.principal, READ)
        await websocket.send_text("orders")

    client = TestClient(Starlette(routes=[WebSocketRoute("/feed", feed)]))
    with client.websocket_connect("/feed", headers=auth.token("orders:read").headers) as socket:
        assert socket.receive_text() == "orders"
    with (
        client.websocket_connect("/feed", headers=auth.token("profile").headers) as socket,
        pytest.raises(WebSocketDisconnect) as refused,
    ):
        socket.receive_text()
    assert (refused.value.code, refused.value.reason) == (1008, "insufficient_scope")
