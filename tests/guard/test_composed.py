"""Guards in what frameworks put together of parts: classes, routers, mounted applications. Each part is as guarded as it stands there."""

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.guard import example_apps
from tests.guard.example_apps import BASE, Headers

from watchword.flows import api_tokens
from watchword.guard import Policy
from watchword.testing.kit import Auth

READ, WRITE = "orders:read", "orders:write"


def bearer(auth: Auth, *scopes: str) -> Headers:
    """Return the headers of a token for the API."""
    return list(auth.token(scopes, audience=BASE).headers.items())


def test_a_scope_that_fastapi_is_told_is_demanded_though_a_router_is_content_with_another(auth: Auth) -> None:
    from fastapi import APIRouter, FastAPI, Security

    from watchword.guard.fastapi import Guard, Principal

    guard, app = auth.guard(Guard, audience=BASE), FastAPI()
    either = guard.require(policy=Policy(any_scopes=(READ, WRITE)))
    router = APIRouter(dependencies=[either])

    @router.get("/read")
    def read() -> str:
        return "orders"

    @router.get("/write")
    def write(who: Principal = Security(either, scopes=[WRITE])) -> str:
        return who.subject

    app.include_router(router)
    with example_apps.asgi(app) as call:
        reader, writer = bearer(auth, READ), bearer(auth, WRITE)
        assert [call("GET", path, writer).status for path in ("/read", "/write")] == [200, 200]
        assert call("GET", "/read", reader).status == 200
        refused = call("GET", "/write", reader)
        assert refused.status == 403
        assert WRITE in str(refused.challenge)


def test_a_class_of_views_that_flask_has_taken_is_refused_when_the_program_starts(auth: Auth) -> None:
    from flask import Flask
    from flask.views import MethodView

    from watchword.guard.flask import Guard

    guard, app = auth.guard(Guard, audience=BASE), Flask("orders")

    def route(path: str) -> Callable[[Any], Any]:  # as extensions of Flask have it
        def taken(views: Any) -> Any:
            app.add_url_rule(path, view_func=views.as_view(path))
            return views

        return taken

    @route("/orders")
    class Orders(MethodView):
        decorators = (guard.require(READ),)

        def get(self) -> str:
            return "orders"

    with pytest.raises(TypeError, match=r"guard by `decorators = .*` the views of Above, not the class"):

        @guard.require(READ)
        @route("/above")
        class Above(MethodView): ...

    with example_apps.wsgi(app) as call:
        assert call("GET", "/orders", bearer(auth, READ)).status == 200
        assert call("GET", "/orders", []).status == 401


def test_a_class_of_views_is_no_view_of_django(auth: Auth) -> None:
    example_apps.load("drf_app")  # which configures the process
    from django.views import View

    from watchword.guard.django import Guard

    with pytest.raises(TypeError, match=r"guard by `method_decorator.*` the views of Orders, not the class"):

        @auth.guard(Guard).require(READ)
        class Orders(View): ...


def for_path(auth: Auth, path: str) -> Headers:
    """Return the headers of a token that is limited to a path."""
    wanted = api_tokens.TokenInput(name="a part", scope=READ, resource=BASE, path=path)
    made = api_tokens.create(auth.runtime, wanted, owner=("user", auth.user().id), actor="test")
    return [("authorization", f"Bearer {auth.worker.run(made).secret}")]


def _of_litestar(auth: Auth) -> Any:
    from litestar import Litestar, asgi

    from watchword.guard.litestar import Guard

    guards = [auth.guard(Guard, audience=BASE).require(READ)]
    return Litestar(
        [asgi("/shop", is_mount=True, copy_scope=True, guards=guards)(PlainTextResponse("orders"))]
    )


def _in_litestar(auth: Auth) -> Any:
    from litestar import Litestar, asgi

    from watchword.guard import Guard
    from watchword.guard.asgi import GuardMiddleware

    shop = GuardMiddleware(PlainTextResponse("orders"), auth.guard(Guard, audience=BASE))
    return Litestar([asgi("/shop", is_mount=True, copy_scope=True)(shop)])


def _in_starlette(auth: Auth) -> Any:
    from watchword.guard.starlette import Guard

    @auth.guard(Guard, audience=BASE).require(READ)
    def orders(_: Request) -> PlainTextResponse:
        return PlainTextResponse("orders")

    return Starlette(routes=[Mount("/shop", routes=[Route("/{path:path}", orders)])])


@pytest.mark.parametrize("make", [_of_litestar, _in_litestar, _in_starlette])
def test_a_token_for_a_path_is_for_the_path_that_was_sent_wherever_a_part_is_mounted(
    auth: Auth, make: Callable[[Auth], Any]
) -> None:
    with example_apps.asgi(make(auth)) as call:
        for path in ("/shop/orders/7", "/shop/orders/7%208?sort=up"):
            for good in ("/shop", "/shop/orders"):
                assert call("GET", path, for_path(auth, good)).status == 200, (path, good)
            for of_others in ("/orders", "/shop/orders/70"):
                assert call("GET", path, for_path(auth, of_others)).status == 401, (path, of_others)


def test_a_prefix_in_the_middle_of_a_path_leads_no_token_for_a_path_elsewhere(auth: Auth) -> None:
    app = _of_litestar(auth)

    async def proxied(
        scope: Any, receive: Any, send: Any
    ) -> None:  # as by a server that leaves the path as it came
        await app(scope | {"root_path": "/api"}, receive, send)

    with example_apps.asgi(proxied) as call:
        for path in ("/shop/orders", "/public/api/shop/orders"):
            assert call("GET", path, for_path(auth, "/shop")).status == 200, path
            assert call("GET", path, for_path(auth, "/public")).status == 401, path


def _at_prefix(app: Any) -> Any:
    """Return an application as a server with a `root_path` calls it."""

    async def called(scope: Any, receive: Any, send: Any) -> None:
        scope = scope | {"root_path": "/shop", "path": f"/shop{scope['path']}"}
        await app(scope | {"raw_path": scope["path"].encode()}, receive, send)

    return called


def _public_parts(auth: Auth) -> dict[str, Any]:
    from werkzeug.middleware.dispatcher import DispatcherMiddleware
    from werkzeug.wrappers import Response

    from watchword.guard import Guard, asgi, wsgi

    guard, public = auth.guard(Guard, audience=BASE), ("/healthz", "/über")
    part = asgi.GuardMiddleware(
        Starlette(routes=[Route("/{path}", lambda _: PlainTextResponse("orders"))]), guard, exclude=public
    )
    of_wsgi = wsgi.GuardMiddleware(Response("orders"), guard, exclude=public)
    return {
        "a server's prefix": (example_apps.asgi(_at_prefix(part)), ""),
        "a mount": (example_apps.asgi(Starlette(routes=[Mount("/shop", part)])), "/shop"),
        "a mount of WSGI": (example_apps.wsgi(DispatcherMiddleware(Response(), {"/shop": of_wsgi})), "/shop"),
    }


@pytest.mark.parametrize("where", ["a server's prefix", "a mount", "a mount of WSGI"])
def test_a_public_path_is_the_one_that_the_application_has_below_whatever_prefix(
    auth: Auth, where: str
) -> None:
    driven, prefix = _public_parts(auth)[where]
    with driven as call:
        assert [call("GET", f"{prefix}{path}", []).status for path in ("/healthz", "/%C3%BCber")] == [
            200,
            200,
        ]
        assert call("GET", f"{prefix}/orders", bearer(auth, READ)).status == 200
        for path in ("/orders", "/healthz/", "/healthz/../orders", "//healthz", "/shop/healthz"):
            assert call("GET", f"{prefix}{path}", []).status == 401, path


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_public_path_of_django_is_the_one_of_its_patterns(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    example_apps.load("drf_app")  # which configures the process
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.test import override_settings
    from django.urls import path

    from watchword.guard.django import Guard

    root, guard = ModuleType("below_a_prefix"), auth.guard(Guard, audience=BASE)
    vars(root).update(
        guarded=guard.middleware(exclude=("/healthz",)),
        urlpatterns=[path(name, lambda _: HttpResponse("orders")) for name in ("healthz", "orders")],
    )
    monkeypatch.setitem(sys.modules, root.__name__, root)
    settings = {
        "ROOT_URLCONF": root.__name__,
        "ALLOWED_HOSTS": ["*"],
        "MIDDLEWARE": [f"{root.__name__}.guarded"],
    }
    with override_settings(**settings):
        driven: Any = (
            example_apps.asgi(_at_prefix(ASGIHandler()))
            if asynchronous
            else example_apps.wsgi(_below_script_name(WSGIHandler()))
        )
        with driven as call:
            assert call("GET", "/healthz", []).status == 200
            assert call("GET", "/orders", bearer(auth, READ)).status == 200
            assert call("GET", "/orders", []).status == 401


def _below_script_name(app: Any) -> Any:
    return lambda environ, start: app(environ | {"SCRIPT_NAME": "/shop"}, start)


def test_several_resources_of_one_application_publish_their_metadata(auth: Auth) -> None:
    from fastapi import FastAPI
    from flask import Flask

    from watchword.guard import fastapi, flask

    resources = [f"{BASE}/shop", f"{BASE}/stock.v2", f"{BASE}/stock_v2"]
    by_fastapi, by_flask = FastAPI(), Flask("orders")
    for resource in resources:
        auth.guard(fastapi.Guard, audience=resource).publish(by_fastapi)
        auth.guard(flask.Guard, audience=resource).publish(by_flask)
    for serve, app in ((example_apps.asgi, by_fastapi), (example_apps.wsgi, by_flask)):
        with serve(app) as call:
            paths = [f"/.well-known/oauth-protected-resource{one.removeprefix(BASE)}" for one in resources]
            assert [call("GET", path, []).says("resource") for path in paths] == resources


def _within_aiohttp(auth: Auth) -> Any:
    from aiohttp import web

    from watchword.guard.aiohttp import PRINCIPAL, Guard

    guard = auth.guard(Guard, audience=BASE)

    @web.middleware
    @guard.require(READ)
    async def protect(request: web.Request, handler: Any) -> web.StreamResponse:
        answer: web.StreamResponse = await handler(request)
        return answer

    async def show(request: web.Request) -> web.Response:
        return web.json_response({"sub": request[PRINCIPAL].subject})

    def make() -> web.Application:
        app, part = web.Application(middlewares=[protect]), web.Application()
        part.router.add_get("/orders", show)
        app.add_subapp("/shop", part)
        guard.publish(app)
        return app

    return example_apps.aiohttp(make)


def _within_falcon(auth: Auth) -> Any:
    import falcon

    from watchword.guard.falcon import Guard

    guard = auth.guard(Guard, audience=BASE)
    admit = guard.require(READ)

    class Protect:
        def process_resource(self, req: Any, resp: Any, resource: Any, params: Any) -> None:
            admit(req, resp, resource, params)

    class Show:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.media = {"sub": req.context.principal.subject}

    app = falcon.App(middleware=[Protect()])
    app.add_route("/shop/orders", Show())
    guard.publish(app)
    return example_apps.wsgi(app)


def _within_falcon_on_asgi(auth: Auth) -> Any:
    import falcon.asgi

    from watchword.guard.falcon import Guard

    guard = auth.guard(Guard, audience=BASE)
    admit = guard.arequire(READ)

    class Protect:
        async def process_resource(self, req: Any, resp: Any, resource: Any, params: Any) -> None:
            await admit(req, resp, resource, params)

    class Show:
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.media = {"sub": req.context.principal.subject}

    app = falcon.asgi.App(middleware=[Protect()])
    app.add_route("/shop/orders", Show())
    guard.publish(app)
    return example_apps.asgi(app)


@pytest.mark.parametrize("serve", [_within_aiohttp, _within_falcon, _within_falcon_on_asgi])
def test_a_frameworks_own_middleware_guards_every_path_but_the_metadata(
    auth: Auth, serve: Callable[[Auth], Any]
) -> None:
    with serve(auth) as call:
        assert call("GET", "/shop/orders", bearer(auth, READ)).status == 200
        assert call("GET", "/shop/orders", bearer(auth, WRITE)).status == 403
        assert call("GET", "/shop/orders", []).status == 401
        assert call("GET", "/.well-known/oauth-protected-resource", []).says("resource") == BASE


def test_a_middleware_without_a_name_may_stand_inside_of_a_guard(caplog: pytest.LogCaptureFixture) -> None:
    from watchword.guard import Guard
    from watchword.guard.asgi import GuardMiddleware

    for inner, warnings in ((functools.partial(GZipMiddleware, minimum_size=10), 0), (CORSMiddleware, 1)):
        app = Starlette()
        app.add_middleware(inner)
        caplog.clear()
        assert GuardMiddleware(app, Guard("https://auth.example.com"))
        assert len(caplog.records) == warnings


class Round:
    """An application whose attribute `app` leads back to it, through another."""

    def __init__(self, app: Any = None) -> None:
        self.app = app or Round(self)

    async def __call__(self, *_: Any) -> None:
        """Answer nothing."""


class MadeUp:
    """An application that has whatever attribute is asked for, each another one."""

    user_middleware = ()

    def __getattr__(self, name: str) -> "MadeUp":
        return MadeUp()

    async def __call__(self, *_: Any) -> None:
        """Answer nothing."""


@pytest.mark.parametrize("made", [Round, MadeUp])
def test_an_application_that_leads_nowhere_is_guarded_all_the_same(
    made: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    from watchword.guard import Guard
    from watchword.guard.asgi import GuardMiddleware

    guard = Guard("https://auth.example.com", audience=BASE)
    GuardMiddleware(CORSMiddleware(Round()), guard)
    assert "Put it outside" in caplog.text, "the honest variant"
    caplog.clear()
    GuardMiddleware(made(), guard)
    assert caplog.text == ""
