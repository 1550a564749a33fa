"""What the adapters owe their own frameworks: guards on several levels, and the address as the caller wrote it."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.guard import example_apps
from tests.guard.example_apps import BASE, Call

from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.guard import Guard as PlainGuard
from watchword.guard import Policy
from watchword.guard.asgi import GuardMiddleware as AsgiMiddleware
from watchword.guard.wsgi import GuardMiddleware as WsgiMiddleware
from watchword.testing.kit import Auth

ORDERS = ("orders:read",)
WRITTEN = (
    "/orders/ada@example.com",
    "/orders/ada%40example.com",
    "/orders/a:b+c!$&'()*",
    "/orders/%C3%A9%20;x=1",
)

# One endpoint per framework, at /orders/<anything>, guarded twice: for the whole, and for itself.


def _guards(auth: Auth, kind: Any, count: int) -> tuple[Any, Any]:
    """Return the guard of the whole and the guard of the endpoint, one and the same or two of the same server."""
    made = [auth.guard(kind, audience=BASE) for _ in range(count)]
    return made[0], made[-1]


def _starlette(auth: Auth, count: int = 1) -> tuple[Callable[[Any], Any], Any]:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from watchword.guard.starlette import Guard

    whole, own = _guards(auth, Guard, count)

    @own.require("orders:read")
    def show(request: Request) -> JSONResponse:
        return JSONResponse({"sub": request.state.principal.subject})

    middleware = [Middleware(AsgiMiddleware, guard=whole)]
    return example_apps.asgi, Starlette(routes=[Route("/orders/{name:path}", show)], middleware=middleware)


def _fastapi(auth: Auth, count: int = 1) -> tuple[Callable[[Any], Any], Any]:
    from fastapi import FastAPI

    from watchword.guard.fastapi import Guard, Principal

    whole, own = _guards(auth, Guard, count)
    app = FastAPI(dependencies=[whole.require()])

    @app.get("/orders/{name:path}")
    def show(name: str, who: Principal = own.require("orders:read")) -> dict[str, str]:
        return {"sub": who.subject}

    return example_apps.asgi, app


def _litestar(auth: Auth, count: int = 1) -> tuple[Callable[[Any], Any], Any]:
    from litestar import Litestar, Request, get

    from watchword.guard.litestar import Guard

    whole, own = _guards(auth, Guard, count)

    @get("/orders/{name:path}", guards=[own.require("orders:read")], sync_to_thread=False)
    def show(request: Request[Any, Any, Any]) -> dict[str, str]:
        return {"sub": request.state.principal.subject}

    return example_apps.asgi, Litestar([show], guards=[whole.require()], openapi_config=None)


def _flask(auth: Auth, count: int = 1) -> tuple[Callable[[Any], Any], Any]:
    from flask import Flask, g

    from watchword.guard.flask import Guard

    whole, own = _guards(auth, Guard, count)
    app = Flask("orders")

    @app.get("/orders/<path:name>")
    @own.require("orders:read")
    def show(name: str) -> dict[str, str]:
        return {"sub": g.principal.subject}

    app.wsgi_app = WsgiMiddleware(app.wsgi_app, whole)  # type: ignore[method-assign]  # as Flask says to wrap it
    return example_apps.wsgi, app


def _falcon(auth: Auth, count: int = 1) -> tuple[Callable[[Any], Any], Any]:
    import falcon

    from watchword.guard.falcon import Guard

    whole, own = _guards(auth, Guard, count)

    @falcon.before(whole.require())
    class Show:
        @falcon.before(own.require("orders:read"))
        def on_get(self, req: Any, resp: Any, name: str) -> None:
            resp.media = {"sub": req.context.principal.subject}

    app = falcon.App()
    app.add_route("/orders/{name}", Show())
    return example_apps.wsgi, app


def _aiohttp(auth: Auth, count: int = 1) -> tuple[Callable[[Any], Any], Any]:
    from aiohttp import web

    from watchword.guard.aiohttp import PRINCIPAL, Guard

    whole, own = _guards(auth, Guard, count)

    @whole.require()
    @own.require("orders:read")
    async def show(request: web.Request) -> web.Response:
        return web.json_response({"sub": request[PRINCIPAL].subject})

    def make() -> web.Application:
        app = web.Application()
        app.router.add_get("/orders/{name}", show)
        return app

    return example_apps.aiohttp, make


FRAMEWORKS = {
    "starlette": _starlette,
    "fastapi": _fastapi,
    "litestar": _litestar,
    "flask": _flask,
    "falcon": _falcon,
    "aiohttp": _aiohttp,
}


@pytest.mark.parametrize("guards", [1, 2], ids=["one guard", "two guards"])
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_proof_is_good_for_every_look_at_one_request_and_for_the_address_as_it_was_written(
    auth: Auth, name: str, guards: int
) -> None:
    drive, app = FRAMEWORKS[name](auth, guards)
    with drive(app) as call:
        for path in WRITTEN:
            proven = auth.token(ORDERS, audience=BASE, dpop=True).proof("GET", BASE + path)
            answer = call("GET", f"{path}?page=2", list(proven.items()))
            assert answer.status == 200, (path, answer.body)
            assert call("GET", path, list(proven.items())).status == 401, "and used up with the request"
            other = auth.token(ORDERS, audience=BASE, dpop=True).proof("GET", f"{BASE}/orders/grace")
            assert call("GET", path, list(other.items())).status == 401
        weak = auth.token("profile", audience=BASE)
        assert call("GET", WRITTEN[0], list(weak.headers.items())).status == 403, "each policy counts"


def test_a_hook_of_the_other_kind_of_falcon_application_lets_nobody_in(auth: Auth) -> None:
    import falcon
    import falcon.asgi

    from watchword.guard.falcon import Guard

    guard = auth.guard(Guard, audience=BASE)

    def at_once(self: object, req: Any, resp: Any) -> None:
        resp.media = {"sub": req.context.principal.subject if "principal" in req.context else "nobody"}

    async def later(self: object, req: Any, resp: Any) -> None:
        at_once(self, req, resp)

    token = list(auth.token(ORDERS, audience=BASE).headers.items())
    for app, drive, responder, right, wrong in (
        (falcon.App(), example_apps.wsgi, at_once, guard.require(), guard.arequire()),
        (falcon.asgi.App(), example_apps.asgi, later, guard.arequire(), guard.require()),
    ):
        for path, hook in (("/right", right), ("/wrong", wrong)):
            app.add_route(path, type("Show", (), {"on_get": falcon.before(hook)(responder)})())
        with drive(app) as call:
            assert (call("GET", "/right", token).status, call("GET", "/right", []).status) == (200, 401)
            assert call("GET", "/wrong", []).status == 500


def test_what_one_guard_let_in_is_nothing_to_another(auth: Auth) -> None:
    _, app = _starlette(auth)
    reports = auth.guard(audience="https://reports.test")
    token = list(auth.token(ORDERS, audience=BASE).headers.items())
    with example_apps.asgi(app) as call:
        assert call("GET", "/orders/1", token).status == 200
    with example_apps.asgi(AsgiMiddleware(AsgiMiddleware(app, reports), auth.guard(audience=BASE))) as call:
        assert call("GET", "/orders/1", token).status == 401


@pytest.mark.parametrize("guards", [1, 2], ids=["one guard", "two guards"])
def test_a_limited_token_is_counted_once_with_each_request(auth: Auth, guards: int) -> None:
    drive, app = _fastapi(auth, guards)
    wanted = TokenInput(name="twice", scope="orders:read", resource=BASE, quota=2)
    made = api_tokens.create(auth.runtime, wanted, owner=("user", auth.user().id), actor="test")
    token = auth.worker.run(made).secret
    with drive(app) as call:
        headers = [("authorization", f"Bearer {token}")]
        assert [call("GET", "/orders/1", headers).status for _ in range(3)] == [200, 200, 401]


def test_aiohttp_keeps_the_caller_under_a_typed_key_that_its_plain_name_finds_without_a_warning(
    auth: Auth,
) -> None:
    from aiohttp import web

    from watchword.guard.aiohttp import PRINCIPAL, Guard

    @auth.guard(Guard, audience=BASE).require()
    async def show(request: web.Request) -> web.Response:
        who = request[PRINCIPAL]
        found = [request["principal"] is who, "principal" in request, "nobody" in request, len(request)]
        return web.json_response({"sub": who.subject, "found": found})

    def make() -> web.Application:
        app = web.Application()
        app.router.add_get("/orders", show)
        return app

    with warnings.catch_warnings(), example_apps.aiohttp(make) as call:
        warnings.simplefilter("error")
        web.BaseRequest._seen_str_keys.clear()  # aiohttp warns once of each name
        proven = auth.token(ORDERS, audience=BASE, dpop=True).proof("GET", f"{BASE}/orders")
        answer = call("GET", "/orders", list(proven.items()))
    assert (answer.status, answer.says("found")) == (200, [True, True, False, 2])


def test_what_one_request_used_up_is_used_up_for_a_request_that_the_application_makes_of_it(
    auth: Auth,
) -> None:
    guard, other = (auth.guard(audience=BASE) for _ in range(2))
    inner = AsgiMiddleware(_asgi_app, other)
    headers = auth.token(ORDERS, audience=BASE, dpop=True).proof("GET", f"{BASE}/orders")

    async def forwarding(scope: Any, receive: Any, send: Any) -> None:
        again = {name: scope[name] for name in ("type", "method", "path", "scheme", "headers", "client")}
        await inner(again, receive, send)

    with example_apps.asgi(AsgiMiddleware(inner, guard)) as call:
        assert call("GET", "/orders", list(headers.items())).status == 200
    fresh = auth.token(ORDERS, audience=BASE, dpop=True).proof("GET", f"{BASE}/orders")
    with example_apps.asgi(AsgiMiddleware(forwarding, guard)) as call:
        assert call("GET", "/orders", list(fresh.items())).status == 401, "a request of its own"


def test_a_request_that_an_application_makes_of_another_is_looked_at_with_its_own_credentials(
    auth: Auth,
) -> None:
    guard = auth.guard(audience=BASE)
    inner = AsgiMiddleware(_asgi_app, guard)

    async def batch(scope: Any, receive: Any, send: Any) -> None:
        strangers = [
            (b"host", b"localhost:8001"),
            (b"authorization", b"DPoP wwa_garbled"),
            (b"dpop", b"none"),
        ]
        await inner(scope | {"headers": strangers}, receive, send)

    headers = auth.token(ORDERS, audience=BASE, dpop=True).proof("GET", f"{BASE}/orders")
    with example_apps.asgi(AsgiMiddleware(batch, guard)) as call:
        assert call("GET", "/orders", list(headers.items())).status == 401


# What stands between caller and application

PREFIX = "/shop"


def _with_root_path(app: Any) -> Any:
    async def prefixed(scope: Any, receive: Any, send: Any) -> None:
        await app(scope | {"root_path": PREFIX}, receive, send)

    return prefixed


def _with_script_name(app: Any) -> Any:
    return lambda environ, start: app(environ | {"SCRIPT_NAME": PREFIX}, start)


async def _asgi_app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


def _wsgi_app(environ: Any, start: Any) -> list[bytes]:
    start("200 OK", [])
    return [b"{}"]


@pytest.fixture(params=["root_path", "SCRIPT_NAME", "api_address", "api_address without a proxy that strips"])
def behind_proxy(request: pytest.FixtureRequest, auth: Auth) -> Iterator[Call]:
    """An application that callers reach below /shop, by each way in which it may learn that."""
    policy, how = Policy(scopes=ORDERS), request.param
    guard = auth.guard(audience=BASE, api_address=BASE + PREFIX if how.startswith("api_address") else None)
    asgi, wsgi = AsgiMiddleware(_asgi_app, guard, policy), WsgiMiddleware(_wsgi_app, guard, policy)
    drives = {
        "root_path": example_apps.asgi(_with_root_path(asgi)),
        "SCRIPT_NAME": example_apps.wsgi(_with_script_name(wsgi)),
        "api_address": example_apps.asgi(asgi),
    }
    with drives[how.partition(" ")[0]] as call:
        strips = "without" not in how
        yield lambda method, path, headers: call(method, path if strips else PREFIX + path, headers)


@pytest.mark.parametrize("path", ["/orders", "/orders/a@b%2Fc"])
def test_dp_52_a_prefix_that_a_proxy_takes_away_is_part_of_the_address(
    behind_proxy: Call, auth: Auth, path: str
) -> None:
    def ask(address: str) -> int:
        proven = auth.token(ORDERS, audience=BASE, dpop=True).proof("GET", address)
        return behind_proxy("GET", path, list(proven.items())).status

    assert ask(BASE + PREFIX + path) == 200
    assert ask(BASE + path) == 401
    assert ask(f"{BASE}/other{path}") == 401


def test_an_applications_own_guard_keeps_its_address_and_its_nonces_in_a_test(auth: Auth) -> None:
    own = PlainGuard(
        "https://auth.example.com", audience=BASE, dpop_nonce_key=bytes(32), api_address=BASE + PREFIX
    )
    auth.guard(own)
    with example_apps.asgi(AsgiMiddleware(_asgi_app, own)) as call:
        token = auth.token(ORDERS, audience=BASE, dpop=True)
        asked = call("GET", "/orders", list(token.proof("GET", f"{BASE}{PREFIX}/orders").items()))
        assert (asked.status, "dpop-nonce" in asked.headers) == (401, True)


def test_the_metadata_are_found_beside_a_route_for_every_path(auth: Auth) -> None:
    from fastapi import FastAPI

    from watchword.guard.fastapi import Guard

    app, guard = FastAPI(), auth.guard(Guard, audience=BASE)

    @app.get("/{path:path}")
    async def everything(path: str) -> dict[str, str]:
        return {"path": path}

    guard.publish(app, ORDERS)
    with example_apps.asgi(app) as call:
        assert call("GET", "/x", []).says("path") == "x"
        assert call("GET", "/.well-known/oauth-protected-resource", []).says("resource") == BASE


def test_the_metadata_are_found_where_the_address_holds_escapes(auth: Auth) -> None:
    from fastapi import FastAPI
    from flask import Flask

    from watchword.guard import fastapi, flask, wsgi

    resource, path = f"{BASE}/caf%C3%A9", "/.well-known/oauth-protected-resource/caf%C3%A9"
    on_asgi, on_wsgi = FastAPI(), Flask("orders")
    auth.guard(fastapi.Guard, audience=resource).publish(on_asgi)
    auth.guard(flask.Guard, audience=resource).publish(on_wsgi)
    in_front = wsgi.MetadataMiddleware(Flask("nothing"), auth.guard(audience=resource))
    with example_apps.asgi(on_asgi) as call:
        assert call("GET", path, []).says("resource") == resource
    for application in (on_wsgi, in_front):
        with example_apps.wsgi(application) as call:
            assert call("GET", path, []).says("resource") == resource


@pytest.mark.parametrize(
    "escaped", ["caf%C3%A9", "my%20orders", "my//orders", "a%7Bb%7D", "%7Bb:c%7D", "%7B%7D"]
)
@pytest.mark.parametrize("on_asgi", [False, True], ids=["WSGI", "ASGI"])
def test_falcon_has_metadata_that_none_of_its_routes_could_hold(
    auth: Auth, escaped: str, on_asgi: bool
) -> None:
    import falcon.asgi

    from watchword.guard.falcon import Guard

    app = falcon.asgi.App() if on_asgi else falcon.App()
    for resource in (f"{BASE}/{escaped}", f"{BASE}/{escaped}2"):
        auth.guard(Guard, audience=resource).publish(app)
    path = f"/.well-known/oauth-protected-resource/{escaped}"
    with (example_apps.asgi if on_asgi else example_apps.wsgi)(app) as call:
        for more in ("", "2"):
            assert call("GET", path + more, []).says("resource") == f"{BASE}/{escaped}{more}"
        assert call("OPTIONS", path, []).headers["allow"].startswith("GET")
        assert call("POST", path, []).status == 405
        assert call("GET", f"{path}3", []).status == 404
