"""Ways to use a guard that come naturally: none of them leaves an API open, or half open."""

import asyncio
import contextlib
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from tests.guard import example_apps
from tests.guard.example_apps import BASE, Call, Headers

from watchword.guard import Policy
from watchword.testing.kit import Auth

READ = ("orders:read",)


def bearer(auth: Auth, scopes: Any = READ) -> Headers:
    """Return the headers of a token for the API."""
    return list(auth.token(scopes, audience=BASE).headers.items())


def test_the_guard_of_no_framework_says_where_require_is() -> None:
    from watchword.guard import Guard, Trusted
    from watchword.guard.flask import Guard as FlaskGuard

    with pytest.raises(ImportError, match="write: from watchword"):
        exec("from watchword import Guard")
    guard = Guard(Trusted("https://auth.example.com"))
    for name in ("require", "optional"):
        with pytest.raises(AttributeError, match=f"{name} is a method of your framework's Guard"):
            getattr(guard, name)
    with pytest.raises(AttributeError, match="no attribute 'requires'"):
        FlaskGuard("https://auth.example.com").requires  # type: ignore[attr-defined]  # noqa: B018  misspelt


def test_scopes_that_fastapi_is_told_by_security_are_demanded(auth: Auth) -> None:
    from fastapi import APIRouter, FastAPI, Security

    from watchword.guard.fastapi import Guard, Principal

    guard, app = auth.guard(Guard, audience=BASE), FastAPI()
    router = APIRouter(dependencies=[Security(guard.require(), scopes=["orders:write"])])

    def caller(who: Principal = guard.require("orders:read")) -> Principal:
        return who

    @app.get("/wrapped")
    def wrapped(who: Principal = Security(guard.require("orders:read"), scopes=["orders:write"])) -> str:
        return who.subject

    @app.get("/below")
    def below(who: Annotated[Principal, Security(caller, scopes=["orders:write"])]) -> str:
        return who.subject

    @router.get("/router")
    def routed() -> str:
        return "orders"

    any_of = guard.require(policy=Policy(any_scopes=("orders:read", "orders:write")))

    @app.get("/any")
    def one_of(who: Principal = any_of) -> str:
        return who.subject

    @app.get("/any-and")
    def one_of_and(who: Principal = Security(any_of, scopes=["orders:write"])) -> str:
        return who.subject

    app.include_router(router)
    both, less = bearer(auth, ("orders:read", "orders:write")), bearer(auth)
    with example_apps.asgi(app) as call:
        for path in ("/wrapped", "/below", "/router", "/any-and"):
            assert call("GET", path, both).status == 200, path
            refused = call("GET", path, less)
            assert refused.status == 403, path
            assert "orders:write" in str(refused.challenge)
            assert call("GET", path, []).status == 401, path
        assert call("GET", "/any", less).status == 200
        assert call("GET", "/any", bearer(auth, ())).status == 403


def _django_views(auth: Auth) -> ModuleType:
    """Return the root of a Django project whose views are cached outside and inside of the guard."""
    example_apps.load("drf_app")  # which configures the process
    from django.http import HttpRequest, HttpResponse
    from django.urls import path
    from django.views.decorators.cache import cache_page
    from ninja import NinjaAPI
    from ninja.decorators import decorate_view
    from rest_framework.request import Request
    from rest_framework.response import Response
    from rest_framework.views import APIView

    from watchword.guard.django import Guard
    from watchword.guard.drf import Guard as DrfGuard
    from watchword.guard.ninja import Guard as NinjaGuard

    guard, ninja = (auth.guard(kind, audience=BASE, sessions=READ) for kind in (Guard, NinjaGuard))
    permission = auth.guard(DrfGuard, audience=BASE, sessions=READ).require(*READ)
    api = NinjaAPI(urls_namespace="slips")

    def show(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.principal.subject)

    class Show(APIView):  # type: ignore[misc]  # the framework has no types
        permission_classes = (permission,)

        def get(self, request: Request) -> Response:
            return Response({})

    @api.get("/ninja", auth=ninja.require(*READ))
    @decorate_view(cache_page(600))
    def of_ninja(request: HttpRequest) -> str:
        return "orders"

    root = ModuleType("slips_of_django")
    vars(root)["urlpatterns"] = [
        path("plain", guard.require(*READ)(show)),
        path("outside", cache_page(600)(guard.require(*READ)(show))),
        path("inside", guard.require(*READ)(cache_page(600)(show))),
        path("drf", cache_page(600)(Show.as_view())),
        path("", api.urls),
    ]
    return root


CACHES = ("django.middleware.cache.UpdateCacheMiddleware", "django.middleware.cache.FetchFromCacheMiddleware")


@pytest.mark.parametrize("middlewares", [(), CACHES], ids=["one view", "the whole project"])
def test_a_cache_of_django_in_front_of_a_guard_answers_nobody_in_its_place(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, middlewares: tuple[str, ...]
) -> None:
    root = _django_views(auth)
    monkeypatch.setitem(sys.modules, root.__name__, root)
    from django.core.cache import cache
    from django.core.handlers.wsgi import WSGIHandler
    from django.test import override_settings

    settings = {"ROOT_URLCONF": root.__name__, "ALLOWED_HOSTS": ["*"], "MIDDLEWARE": list(middlewares)}
    with override_settings(**settings), example_apps.wsgi(WSGIHandler()) as call:
        # Django's own rule: it shares its keys with the project's
        inside = () if middlewares else ("/inside",)
        for path in ("/plain", "/outside", "/drf", "/ninja", *inside):
            cache.clear()
            token = auth.token(READ, audience=BASE)
            for headers in (list(auth.session().headers.items()), list(token.headers.items())):
                assert call("GET", path, headers).status == 200, path
                assert call("GET", path, []).status == 401, path
            auth.revoke(token)
            assert call("GET", path, list(token.headers.items())).status == 401, path
    cache.clear()


def test_a_method_of_grpc_aio_that_is_not_asynchronous_still_refuses_by_itself(auth: Auth) -> None:
    import grpc
    import grpc.aio

    from watchword.guard import Guard
    from watchword.guard.grpc import AsyncGuardInterceptor, principal

    alice = auth.user("alice")

    def check_owner(context: Any) -> None:
        if principal().subject != alice.id:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")

    def one(_: bytes, context: Any) -> bytes:
        check_owner(context)
        return b"orders"

    def stream(_: bytes, context: Any) -> Iterator[bytes]:
        check_owner(context)
        yield b"orders"

    handlers = {
        "One": grpc.unary_unary_rpc_method_handler(one),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    tokens = [auth.token(READ, audience=BASE, user=user) for user in (alice, auth.user("bob"))]

    async def outcomes() -> list[list[object]]:
        server = grpc.aio.server(interceptors=[AsyncGuardInterceptor(auth.guard(Guard, audience=BASE))])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Shop", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        told: list[list[object]] = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for given in (*tokens, None):
                sent = (("authorization", f"Bearer {given}"),) if given else ()
                called = channel.unary_unary("/shop.Shop/One")(b"", metadata=sent, timeout=10)
                streamed = channel.unary_stream("/shop.Shop/Stream")(b"", metadata=sent, timeout=10)
                with contextlib.suppress(grpc.RpcError):
                    assert [answer async for answer in streamed] == [b"orders"]
                told.append([await called.code(), await streamed.code()])
                challenge = dict(await called.trailing_metadata()).get("www-authenticate", "")
                assert challenge.startswith("Bearer") is (given is None)
        await server.stop(None)
        return told

    code = grpc.StatusCode
    assert asyncio.run(outcomes()) == [
        [code.OK] * 2,
        [code.PERMISSION_DENIED] * 2,
        [code.UNAUTHENTICATED] * 2,
    ]


METADATA = "/.well-known/oauth-protected-resource"


def _published(auth: Auth, framework: str) -> Any:
    """Return a WSGI or ASGI application that publishes its metadata behind a guard for all of it."""
    from fastapi import FastAPI
    from flask import Flask
    from litestar import Litestar, get

    from watchword.guard import asgi, fastapi, flask, litestar, wsgi

    if framework == "litestar":
        of_litestar = auth.guard(litestar.Guard, audience=BASE)

        @get("/orders", sync_to_thread=False)
        def orders() -> str:
            return "orders"

        handlers = [orders, of_litestar.metadata_handler(READ)]
        return Litestar(handlers, guards=[of_litestar.require(*READ)])
    if framework == "fastapi":
        of_fastapi, api = auth.guard(fastapi.Guard, audience=BASE), FastAPI()
        api.add_api_route("/orders", lambda: "orders")
        of_fastapi.publish(api, READ)
        api.add_middleware(asgi.GuardMiddleware, guard=of_fastapi)
        return api
    of_flask, app = auth.guard(flask.Guard, audience=BASE), Flask("orders")
    app.add_url_rule("/orders", "orders", lambda: "orders")
    of_flask.publish(app, READ)
    if framework == "wsgi":
        return wsgi.GuardMiddleware(app, of_flask)
    app.before_request(of_flask.require(*READ)(lambda: None))
    return app


@pytest.mark.parametrize("framework", ["litestar", "fastapi", "flask", "wsgi"])
def test_a_guard_for_everything_lets_callers_find_out_where_tokens_come_from(
    auth: Auth, framework: str
) -> None:
    drive = example_apps.wsgi if framework in ("flask", "wsgi") else example_apps.asgi
    with drive(_published(auth, framework)) as call:
        _check_metadata(call, bearer(auth))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_middleware_of_django_lets_callers_find_out_where_tokens_come_from(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    example_apps.load("drf_app")  # which configures the process
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.test import override_settings
    from django.urls import path

    from watchword.guard.django import Guard, metadata_path

    guard, root = auth.guard(Guard, audience=BASE), ModuleType("guarded_by_a_middleware")
    vars(root).update(
        guarded=guard.middleware(),
        urlpatterns=[path("orders", lambda _: HttpResponse("orders")), metadata_path(guard, READ)],
    )
    monkeypatch.setitem(sys.modules, root.__name__, root)
    settings = {
        "ROOT_URLCONF": root.__name__,
        "ALLOWED_HOSTS": ["*"],
        "MIDDLEWARE": [f"{root.__name__}.guarded"],
    }
    drive: Any = example_apps.asgi if asynchronous else example_apps.wsgi
    with override_settings(**settings), drive(ASGIHandler() if asynchronous else WSGIHandler()) as call:
        _check_metadata(call, bearer(auth))


def _check_metadata(call: Call, headers: Headers) -> None:
    assert call("GET", "/orders", headers).status == 200
    refused = call("GET", "/orders", [])
    assert refused.status == 401
    assert f"{BASE}{METADATA}" in str(refused.challenge)
    assert call("GET", METADATA, []).says("resource") == BASE
    for method, path in (("POST", METADATA), ("GET", f"{METADATA}/orders")):
        assert call(method, path, []).status in (401, 404, 405), (method, path)


def test_a_token_for_a_folder_reads_nothing_beside_it(auth: Auth, tmp_path: Path) -> None:
    from starlette.staticfiles import StaticFiles

    from watchword.flows import api_tokens
    from watchword.guard import Guard
    from watchword.guard.asgi import GuardMiddleware

    for name in ("public", "private"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "orders").write_text(name)
    wanted = api_tokens.TokenInput(name="a folder", scope="orders:read", resource=BASE, path="/public")
    made = api_tokens.create(auth.runtime, wanted, owner=("user", auth.user().id), actor="test")
    headers = [(b"authorization", f"Bearer {auth.worker.run(made).secret}".encode())]
    app = GuardMiddleware(StaticFiles(directory=tmp_path), auth.guard(Guard, audience=BASE))

    async def status(path: str) -> int:
        # As servers hand it over; clients of tests take the dots out.
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "headers": headers,
            "client": ("127.0.0.1", 1),
        }
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, asyncio.Event().wait, send)  # type: ignore[arg-type]  # there is nothing to receive
        found: int = sent[0]["status"]
        return found

    assert asyncio.run(status("/public/orders")) == 200
    for path in ("/private/orders", "/public/../private/orders", "/public/./../private/orders"):
        assert asyncio.run(status(path)) == 401, path


def test_what_flask_guards_during_a_test_stays_guarded_when_the_test_ends(auth: Auth) -> None:
    from flask import Flask

    from watchword.guard.flask import Guard
    from watchword.testing.connect import connected

    guard, app, other = Guard("https://auth.example.com", audience=BASE), Flask("orders"), Flask("other")
    other.add_url_rule("/open", "open", lambda: "hello")
    with connected(guard, auth.app, auth.clock):

        @guard.require("orders:read")
        @app.get("/orders")
        def orders() -> str:
            return "orders"

        @guard.require("orders:read")
        @app.get("/later")
        def later() -> str:
            return "orders"

        with example_apps.wsgi(app) as call:
            assert call("GET", "/orders", bearer(auth)).status == 200
    with example_apps.wsgi(app) as call, example_apps.wsgi(other) as ask:
        assert call("GET", "/orders", []).status == 401
        assert call("GET", "/later", []).status == 401
        assert ask("GET", "/open", []).status == 200


def test_a_session_that_the_application_keeps_counts_in_django_too(
    auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    example_apps.load("drf_app")  # which configures the process
    from django.core.handlers.asgi import ASGIHandler
    from django.http import HttpRequest, HttpResponse
    from django.test import override_settings
    from django.urls import path

    from watchword.guard.django import Guard
    from watchword.guard.sessions import MemoryStore, Record, SessionMiddleware

    guard, root = auth.guard(Guard, audience=BASE, sessions=READ), ModuleType("sessions_in_django")

    async def show(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.principal.subject)

    vars(root)["urlpatterns"] = [path("orders", guard.require(*READ)(show))]
    monkeypatch.setitem(sys.modules, root.__name__, root)
    store, now = MemoryStore(), auth.clock()
    record = Record("alice", {}, now, now)
    asyncio.run(store.add(hashlib.sha256(b"secret").digest(), record, now + 600))
    settings = {"ROOT_URLCONF": root.__name__, "ALLOWED_HOSTS": ["*"], "MIDDLEWARE": []}
    app = SessionMiddleware(ASGIHandler(), store, clock=auth.clock)
    cookie, elsewhere = ("cookie", "__Host-session=secret"), ("sec-fetch-site", "cross-site")
    with override_settings(**settings), example_apps.asgi(app) as call:
        assert call("GET", "/orders", [cookie]).body == b"alice"
        for headers in ([("cookie", "__Host-session=other")], [cookie, elsewhere], []):
            assert call("GET", "/orders", headers).status == 401
        assert call("POST", "/orders", [cookie, elsewhere]).status == 403
