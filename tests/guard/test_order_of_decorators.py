"""A guard above the decorator by which a framework takes a view: it guards all the same, or the program does not start."""

import functools
from types import SimpleNamespace
from typing import Any

import pytest
from tests.guard import example_apps
from tests.guard.example_apps import BASE

from watchword.testing.kit import Auth

ORDERS = ("orders:read",)


def _flask_orders(auth: Auth) -> Any:
    """Return an application whose views are guarded above their routes, and so after Flask took them."""
    from flask import Blueprint, Flask, g

    from watchword.guard.flask import Guard

    guard = auth.guard(Guard, audience=BASE)
    app, part = Flask("orders"), Blueprint("part", "part")

    def logged(view: Any) -> Any:
        return functools.wraps(view)(lambda *args, **named: view(*args, **named))

    @guard.require("orders:read")
    @app.get("/orders")
    @app.get("/again")
    def orders() -> dict[str, str]:
        return {"sub": g.principal.subject}

    @guard.require("orders:read")
    @part.get("/part")
    async def of_a_part() -> dict[str, str]:
        return {"sub": g.principal.subject}

    @guard.require("orders:read")
    @logged
    @app.get("/logged")
    def between() -> dict[str, str]:
        return {"sub": g.principal.subject}

    @guard.require("orders:write")
    @app.get("/both")
    @guard.require("orders:read")
    def both() -> dict[str, str]:
        return {"sub": g.principal.subject}

    app.register_blueprint(part)
    return app


def test_a_view_of_flask_is_guarded_whichever_decorator_is_above(auth: Auth) -> None:
    token = auth.token(ORDERS, audience=BASE)
    more = auth.token((*ORDERS, "orders:write"), audience=BASE)
    with example_apps.wsgi(_flask_orders(auth)) as call:
        for path in ("/orders", "/again", "/part", "/logged"):
            assert call("GET", path, []).status == 401, path
            assert call("GET", path, list(auth.token((), audience=BASE).headers.items())).status == 403, path
            assert call("GET", path, list(token.headers.items())).status == 200, path
        assert call("GET", "/both", list(token.headers.items())).status == 403
        assert call("GET", "/both", list(more.headers.items())).status == 200
        assert call("OPTIONS", "/orders", []).status == 200, "as below a route"
        assert call("GET", "/nowhere", []).status == 404


def test_a_view_that_another_decorator_made_of_a_guarded_one_stays_what_it_is(auth: Auth) -> None:
    from flask import Flask

    from watchword.guard.flask import Guard

    guard, app = auth.guard(Guard, audience=BASE), Flask("orders")

    @guard.require("orders:read")
    def orders() -> str:
        return "orders"

    @app.get("/orders")
    @functools.wraps(orders)
    def shut() -> tuple[str, int]:
        return "nobody", 409

    with example_apps.wsgi(app) as call:
        token = auth.token(ORDERS, audience=BASE)
        assert call("GET", "/orders", list(token.headers.items())).status == 409


def test_a_view_that_an_extension_registers_within_a_function_of_its_own_is_guarded_by_all_that_is_above(
    auth: Auth,
) -> None:
    from flask import Flask, g

    from watchword.guard.flask import Guard

    guard, app = auth.guard(Guard, audience=BASE), Flask("orders")

    def checked(
        path: str,
    ) -> Any:  # as OpenAPI has it: it registers what reads the parameters, and gives back the view
        def taken(view: Any) -> Any:
            app.get(path)(functools.wraps(view)(lambda: view(number=7)))
            return view

        return taken

    @guard.require("orders:read")
    @checked("/above")
    def above(number: int) -> dict[str, object]:
        return {"sub": g.principal.subject, "number": number}

    @guard.require("orders:write")
    @guard.require("orders:read")
    @checked("/twice")
    def twice(number: int) -> dict[str, object]:
        return {"number": number}

    @guard.require("orders:write")
    @checked("/both")
    @guard.require("orders:read")
    def both(number: int) -> dict[str, object]:
        return {"number": number}

    token, write = (auth.token(scopes, audience=BASE) for scopes in (ORDERS, ("orders:write",)))
    more = auth.token((*ORDERS, "orders:write"), audience=BASE)
    with example_apps.wsgi(app) as call:
        for _ in range(2):
            for path, good in (("/above", token), ("/twice", more), ("/both", more)):
                assert call("GET", path, []).status == 401, path
                assert call("GET", path, list(good.headers.items())).says("number") == 7, path
            for path, less in (
                ("/above", write),
                ("/twice", write),
                ("/twice", token),
                ("/both", token),
                ("/both", write),
            ):
                assert call("GET", path, list(less.headers.items())).status == 403, path


def test_a_guard_above_a_decorator_that_gives_nothing_back_is_refused_when_the_program_starts(
    auth: Auth,
) -> None:
    from watchword.guard import aiohttp, django, flask, starlette

    example_apps.load("drf_app")  # which configures Django for the process
    kept: list[Any] = []
    taken = kept.append  # as extensions for WebSockets have it

    for framework in (flask, django, starlette, aiohttp):
        with pytest.raises(TypeError, match=r"put @guard\.require below what registers the view"):

            @auth.guard(framework.Guard).require("orders:read")
            @taken
            def feed() -> str: ...


def test_a_method_that_flask_has_taken_is_guarded_and_that_of_another_object_stays_open(auth: Auth) -> None:
    from flask import Flask

    from watchword.guard.flask import Guard

    guard, app = auth.guard(Guard, audience=BASE), Flask("orders")

    class Shop:
        def show(self) -> str:
            return "orders"

    guard.require("orders:read")(app.get("/above", endpoint="above")(Shop().show))
    app.get("/below", endpoint="below")(guard.require("orders:read")(Shop().show))
    app.get("/open", endpoint="open")(Shop().show)
    token = list(auth.token(ORDERS, audience=BASE).headers.items())
    with example_apps.wsgi(app) as call:
        for path in ("/above", "/below"):
            assert call("GET", path, token).status == 200, path
            assert call("GET", path, []).status == 401, path
        assert call("GET", "/open", []).status == 200


def test_what_flask_runs_before_the_requests_of_a_blueprint_guards_it_whichever_decorator_is_above(
    auth: Auth,
) -> None:
    from flask import Blueprint, Flask, g

    from watchword.guard.flask import Guard

    guard, app = auth.guard(Guard, audience=BASE), Flask("orders")
    below, above = Blueprint("below", "below"), Blueprint("above", "above")

    @below.before_request
    @guard.require("orders:read")
    def guarded() -> None:
        """Let the request go on."""

    @guard.require("orders:write")
    @above.before_request
    @guard.require("orders:read")
    def taken() -> None:
        """Let the request go on."""

    for part in (below, above):
        part.add_url_rule(f"/{part.name}", "orders", lambda: {"sub": g.principal.subject})
        app.register_blueprint(part)
    app.add_url_rule("/open", "open", lambda: "hello")
    token, more = (auth.token(scopes, audience=BASE) for scopes in (ORDERS, (*ORDERS, "orders:write")))
    with example_apps.wsgi(app) as call:
        for path, good in (("/below", token), ("/above", more)):
            assert call("GET", path, []).status == 401, path
            assert call("GET", path, list(good.headers.items())).status == 200, path
        assert call("GET", "/above", list(token.headers.items())).status == 403
        assert call("GET", "/open", []).status == 200


def test_a_handler_of_aiohttp_that_a_route_table_has_taken_is_refused_when_the_program_starts(
    auth: Auth,
) -> None:
    from aiohttp import web

    from watchword.guard.aiohttp import Guard

    guard, routes = auth.guard(Guard, audience=BASE), web.RouteTableDef()

    @routes.get("/orders")
    @guard.require("orders:read")
    async def orders(_: web.Request) -> web.Response:
        return web.Response()

    with pytest.raises(ValueError, match=r"put @guard\.require below @routes\.get: show"):

        @guard.require("orders:read")
        @routes.get("/open")
        async def show(_: web.Request) -> web.Response:
            return web.Response()


def test_a_handler_that_aiohttp_has_taken_is_found_through_other_decorators_and_wherever_the_table_is(
    auth: Auth,
) -> None:
    from aiohttp import web

    from watchword.guard.aiohttp import Guard

    guard, held = auth.guard(Guard, audience=BASE), SimpleNamespace(routes=web.RouteTableDef())

    def logged(handler: Any) -> Any:
        return functools.wraps(handler)(lambda request: handler(request))

    @held.routes.get("/orders")
    @logged
    @guard.require("orders:read")
    async def orders(_: web.Request) -> web.Response:
        return web.Response()

    async def show(_: web.Request) -> web.Response:
        return web.Response()

    with pytest.raises(ValueError, match=r"put @guard\.require below @routes\.get: show"):
        guard.require("orders:read")(held.routes.get("/held")(show))

    routes = web.RouteTableDef()
    with pytest.raises(ValueError, match=r"put @guard\.require below @routes\.get: show"):
        guard.require("orders:read")(logged(routes.get("/logged")(show)))


def test_an_endpoint_that_fastapi_has_taken_is_refused_by_the_guard_of_starlette(auth: Auth) -> None:
    from fastapi import APIRouter, FastAPI, Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from watchword.guard.starlette import Guard

    guard, app, router = auth.guard(Guard, audience=BASE), FastAPI(), APIRouter()

    async def show(request: Request) -> JSONResponse:
        return JSONResponse({})

    app.router.routes += [Route("/open", show), Route("/orders", guard.require("orders:read")(show))]
    with example_apps.asgi(app) as call:
        token = auth.token(ORDERS, audience=BASE)
        assert call("GET", "/orders", list(token.headers.items())).status == 200
        assert call("GET", "/orders", []).status == 401
        assert call("GET", "/open", []).status == 200, "which shows the same and is meant to be open"

    for taker in (app, router):
        with pytest.raises(ValueError, match=r"use the Guard of watchword\.guard\.fastapi: taken was"):

            @guard.require("orders:read")
            @taker.get("/taken")
            async def taken(request: Request) -> None: ...


def test_a_guard_above_an_operation_of_ninja_is_refused_when_the_program_starts(auth: Auth) -> None:
    example_apps.load("drf_app")  # which configures the process
    from django.http import HttpRequest
    from ninja import NinjaAPI, Router

    from watchword.guard.django import Guard
    from watchword.guard.ninja import Guard as NinjaGuard

    guard, of_ninja = auth.guard(Guard, audience=BASE), auth.guard(NinjaGuard, audience=BASE)
    api, router = NinjaAPI(urls_namespace="order"), Router()

    @api.get("/below")
    @guard.require("orders:read")
    def below(request: HttpRequest) -> str:
        return "orders"

    for taker in (api, router):
        with pytest.raises(
            ValueError, match=r"put @guard\.require below @api\.get.*: taken was taken unguarded"
        ):

            @guard.require("orders:read")
            @taker.get("/taken")
            def taken(request: HttpRequest) -> str: ...

    for require in (of_ninja.require, of_ninja.arequire, of_ninja.optional, of_ninja.aoptional):
        with pytest.raises(ValueError, match=r"is a value for auth=.*not a decorator"):

            @require("orders:read")
            @api.get("/decorated")
            async def decorated(request: HttpRequest) -> str: ...
