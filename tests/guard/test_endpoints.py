"""Every kind of endpoint that a framework knows is guarded, functions and classes, asynchronous or not."""

import sys
from types import ModuleType
from typing import Any

import pytest
from tests.guard import example_apps
from tests.guard.example_apps import BASE, load

from watchword.testing.kit import Auth

ORDERS = ("orders:read",)
WRITTEN = ("/orders/ada@example.com", "/orders/ada%40example.com", "/orders/%C3%A9%20;x=1")


@pytest.mark.parametrize("path", ["/function", "/method", "/coroutine"])
def test_starlette_endpoints_of_every_kind_are_guarded(auth: Auth, path: str) -> None:
    from starlette.applications import Starlette
    from starlette.endpoints import HTTPEndpoint
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from watchword.guard.starlette import Guard

    guard = auth.guard(Guard, audience=BASE)

    @guard.require("orders:read")
    def function(request: Request) -> JSONResponse:
        return JSONResponse({"sub": request.state.principal.subject})

    class Orders(HTTPEndpoint):
        @guard.require("orders:read")
        def get(self, request: Request) -> JSONResponse:
            return JSONResponse({"sub": request.state.principal.subject})

    class Later(HTTPEndpoint):
        @guard.require("orders:read")
        async def get(self, request: Request) -> JSONResponse:
            return JSONResponse({"sub": request.state.principal.subject})

    routes = [Route("/function", function), Route("/method", Orders), Route("/coroutine", Later)]
    with example_apps.asgi(Starlette(routes=routes)) as call:
        token = auth.token(ORDERS, audience=BASE)
        assert call("GET", path, list(token.headers.items())).says("sub")
        assert call("GET", path, []).status == 401
    with pytest.raises(TypeError, match="guard the methods of Orders"):
        guard.require("orders:read")(Orders)


def _views(auth: Auth) -> dict[str, Any]:
    from django.http import JsonResponse
    from django.utils.decorators import method_decorator
    from django.views import View

    from watchword.guard.django import Guard

    guard = auth.guard(Guard, audience=BASE)

    class Plain(View):
        def get(self, request: Any) -> JsonResponse:
            return JsonResponse({"sub": request.principal.subject})

    class Later(View):
        async def get(self, request: Any) -> JsonResponse:
            return JsonResponse({"sub": request.principal.subject})

    require, whole = (
        guard.require("orders:read"),
        method_decorator(guard.require("orders:read"), name="dispatch"),
    )
    methods = method_decorator(guard.require("orders:read"), name="get")
    return {
        "a view": require(Plain.as_view()),
        "an asynchronous view": require(Later.as_view()),
        "a class": whole(type("A", (Plain,), {})).as_view(),
        "an asynchronous class": whole(type("B", (Later,), {})).as_view(),
        "a method": methods(type("C", (Plain,), {})).as_view(),
        "an asynchronous method": methods(type("D", (Later,), {})).as_view(),
        "twice": require(whole(type("E", (Later,), {})).as_view()),
    }


KINDS = (
    "a view",
    "an asynchronous view",
    "a class",
    "an asynchronous class",
    "a method",
    "an asynchronous method",
    "twice",
)


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
@pytest.mark.parametrize("kind", KINDS)
def test_django_class_based_views_are_guarded(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, kind: str, server: str
) -> None:
    load("drf_app")  # configures Django
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.test import override_settings
    from django.urls import path

    urls = ModuleType("urls_of_class_based_views")
    urls.urlpatterns = [path("orders/<path:name>", _without_name(_views(auth)[kind]))]  # type: ignore[attr-defined]  # what Django reads of a module
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    with override_settings(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"]):
        drive = (
            example_apps.asgi(get_asgi_application())
            if server == "asgi"
            else example_apps.wsgi(get_wsgi_application())
        )
        with drive as call:
            for written in WRITTEN:
                proven = auth.token(ORDERS, audience=BASE, dpop=True).proof("GET", BASE + written)
                assert call("GET", written, list(proven.items())).says("sub"), written
            assert call("GET", "/orders/1", []).status == 401
            weak = auth.token("profile", audience=BASE)
            assert call("GET", "/orders/1", list(weak.headers.items())).status == 403


def _without_name(view: Any) -> Any:
    from asgiref.sync import iscoroutinefunction

    async def later(request: Any, name: str) -> Any:
        return await view(request)

    return later if iscoroutinefunction(view) else lambda request, name: view(request)


def test_several_permissions_of_rest_framework_look_at_one_proof(auth: Auth) -> None:
    load("drf_app")  # configures Django
    from rest_framework.response import Response
    from rest_framework.test import APIRequestFactory
    from rest_framework.views import APIView

    from watchword.guard.drf import Guard

    guard = auth.guard(Guard, audience=BASE)

    class Show(APIView):
        permission_classes = (guard.require("orders:read"), guard.require("reports:read"))

        def get(self, request: Any) -> Response:
            return Response({"sub": request.principal.subject})

    def ask(scopes: str) -> int:
        proven = auth.token(scopes, audience=BASE, dpop=True).proof("GET", "https://testserver/")
        sent = {f"HTTP_{name.upper()}": value for name, value in proven.items()}
        return int(Show.as_view()(APIRequestFactory().get("/", secure=True, **sent)).status_code)

    assert ask("orders:read reports:read") == 200
    assert ask("orders:read") == 403


@pytest.mark.parametrize("path", ["/now", "/later"])
def test_ninja_without_its_handler_refuses_all_the_same(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    load("drf_app")  # configures Django
    from django import urls as django_urls
    from django.core.asgi import get_asgi_application
    from django.test import override_settings
    from ninja import NinjaAPI

    from watchword.guard.ninja import Guard

    guard, api = auth.guard(Guard, audience=BASE), NinjaAPI(urls_namespace=f"bare{path}")

    @api.get("/now", auth=guard.require("orders:read"))
    def now(request: Any) -> dict[str, str]:
        return {"sub": request.auth.subject}

    @api.get("/later", auth=guard.arequire("orders:read"))
    async def later(request: Any) -> dict[str, str]:
        return {"sub": request.auth.subject}

    urls = ModuleType("urls_of_a_bare_ninja")
    urls.urlpatterns = [django_urls.path("", api.urls)]  # type: ignore[attr-defined]  # what Django reads of a module
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    with (
        override_settings(ROOT_URLCONF=urls.__name__, ALLOWED_HOSTS=["*"]),
        example_apps.asgi(get_asgi_application()) as call,
    ):
        assert call("GET", path, list(auth.token(ORDERS, audience=BASE).headers.items())).says("sub")
        assert call("GET", path, []).status == 401
        assert call("GET", path, list(auth.token("profile", audience=BASE).headers.items())).status == 403


def test_the_openapi_document_of_ninja_names_one_scheme(auth: Auth) -> None:
    load("drf_app")  # configures Django
    from django.test import override_settings

    example = load("ninja_app")
    with override_settings(**example.SETTINGS):
        document = example.api.get_openapi_schema()
    assert document["components"]["securitySchemes"] == {"Watchword": {"type": "http", "scheme": "bearer"}}
    assert document["paths"]["/orders"]["get"]["security"] == [{"Watchword": []}]
    assert document["paths"]["/catalog"]["get"]["security"] == [{"Watchword": []}, {}], "optional"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_falcons_own_test_client_meets_the_guard_that_callers_meet(auth: Auth, asynchronous: bool) -> None:
    import falcon.asgi
    import falcon.testing

    from watchword.guard.falcon import Guard

    guard = auth.guard(Guard, audience=BASE)

    class Orders:
        @falcon.before(guard.require("orders:read"))
        def on_get(self, req: Any, resp: Any) -> None:
            resp.media = {"sub": req.context.principal.subject}

    class AsyncOrders:
        @falcon.before(guard.arequire("orders:read"))
        @falcon.before(guard.arequire())
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.media = {"sub": req.context.principal.subject}

    app: Any = falcon.asgi.App() if asynchronous else falcon.App()
    app.add_route("/orders", AsyncOrders() if asynchronous else Orders())
    client = falcon.testing.TestClient(app)

    def ask(scopes: str, **where: str) -> int:
        token = auth.token(scopes, audience=BASE)
        return int(client.simulate_get("/orders", headers=token.headers, **where).status_code)

    assert [ask("orders:read"), ask("profile")] == [200, 403]
    assert ask("orders:read", remote_addr="1.1.1.1", protocol="https") == 200
    assert ask("orders:read", remote_addr="1.1.1.1") == 400, "over plain HTTP, from a public address"
    assert client.simulate_get("/orders").status_code == 401


def test_ninjas_own_test_client_meets_the_guard_that_callers_meet(auth: Auth) -> None:
    load("drf_app")  # configures Django
    from ninja import NinjaAPI
    from ninja.testing import TestClient

    from watchword.guard.ninja import Guard

    guard, api = auth.guard(Guard, audience=BASE), NinjaAPI(urls_namespace="tested")
    guard.install(api)

    @api.get("/orders", auth=guard.require("orders:read"))
    def orders(request: Any) -> dict[str, str]:
        return {"sub": request.auth.subject}

    client, token = TestClient(api), auth.token(ORDERS, audience=BASE)
    assert client.get("/orders", headers=token.headers).status_code == 200
    assert client.get("/orders", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert client.get("/orders").status_code == 401


def test_a_whole_application_is_no_endpoint_and_its_guard_says_what_to_guard() -> None:
    from aiohttp import web
    from fastapi import FastAPI
    from flask import Flask
    from starlette.applications import Starlette
    from starlette.routing import Router

    from watchword.guard.aiohttp import Guard as AiohttpGuard
    from watchword.guard.flask import Guard as FlaskGuard
    from watchword.guard.starlette import Guard as StarletteGuard

    made: tuple[tuple[Any, Any, str], ...] = (
        (FlaskGuard, Flask("orders"), "under @app.before_request"),
        (StarletteGuard, Starlette(), "in GuardMiddleware"),
        (StarletteGuard, FastAPI(), "in GuardMiddleware"),
        (StarletteGuard, Router(), "in GuardMiddleware"),
        (AiohttpGuard, web.Application(), "@web.middleware"),
    )
    for guard, app, words in made:
        with pytest.raises(TypeError, match=f"{type(app).__name__} is a whole application: .*{words}"):
            guard("https://auth.example.com").require("orders:read")(app)
