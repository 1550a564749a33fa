"""Endpoints at which a credential is optional: who counts as anonymous where browsers, sockets and whole applications are concerned.

`test_conformance` has the credentials that callers present, in every framework.
"""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, cast

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from fastapi.security import APIKeyHeader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from tests.fixtures.rows import in_turn
from tests.guard import example_apps
from tests.guard.example_apps import BASE

from watchword.flows import sessions
from watchword.guard import Guard as AnyGuard
from watchword.guard import Policy
from watchword.guard.asgi import GuardMiddleware
from watchword.guard.django import Guard as DjangoGuard
from watchword.guard.fastapi import Guard as FastAPIGuard
from watchword.guard.fastapi import Principal
from watchword.guard.grpc import GuardInterceptor, optional_principal, principal
from watchword.guard.sessions import MemoryStore, SessionMiddleware
from watchword.guard.starlette import Guard
from watchword.guard.wsgi import GuardMiddleware as WsgiMiddleware
from watchword.testing.kit import Auth

ISSUER = "https://auth.example.com"
TRUSTING = AnyGuard(ISSUER)
Headers = dict[str, str]
SAME, CROSS = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "cross-site"}
HTTPS = "https://api.test"


def api(auth: Auth) -> Starlette:
    """Return an API whose pages are for everybody, and know who is signed in."""
    guard: Guard = auth.guard(Guard, sessions=("orders:read",))

    async def show(request: Request) -> JSONResponse:
        who = request.state.principal
        return JSONResponse({"hello": who.subject if who else "world"})

    async def sign_in(request: Request) -> JSONResponse:
        request.session.sign_in("ada")
        return JSONResponse({})

    return Starlette(
        routes=[
            Route("/", guard.optional()(show), methods=["GET", "POST"]),
            Route("/reports", guard.optional("reports:read")(show)),
            Route("/sign-in", sign_in, methods=["POST"]),
        ]
    )


def browser(app: Any, base: str = HTTPS, address: str = "127.0.0.1") -> httpx.AsyncClient:
    """Return what sends requests to an application."""
    transport = httpx.ASGITransport(app=app, client=(address, 5000))
    return httpx.AsyncClient(transport=transport, base_url=base)


def _not_called(who: Principal | None = FastAPIGuard(ISSUER).optional) -> str:  # type: ignore[assignment]  # the mistake
    return who.subject if who else "world"


def _twice(cookie: str) -> str:
    return f"{cookie}; {cookie.partition('=')[0]}=x"


Sent = Callable[[str], Headers]


@in_turn(
    ("sent", "method", "path", "expected"),
    [
        pytest.param(lambda live: SAME, "GET", "/", "world", id="no cookie"),
        pytest.param(lambda live: SAME | {"cookie": live}, "GET", "/", "ada", id="a session"),
        pytest.param(lambda live: SAME | {"cookie": live}, "POST", "/", "ada", id="a session that changes something"),
        pytest.param(lambda live: SAME | {"cookie": live}, "GET", "/reports", 403, id="a session without the scope"),
        pytest.param(lambda live: SAME | {"cookie": live.partition("=")[0] + "=x"}, "GET", "/", "world", id="no such session"),
        pytest.param(lambda live: SAME | {"cookie": live.partition("=")[0]}, "GET", "/", "world", id="a malformed cookie"),
        pytest.param(lambda live: SAME | {"cookie": _twice(live)}, "GET", "/", "world", id="two cookies of the name"),
        pytest.param(lambda live: CROSS | {"cookie": live}, "GET", "/", "world", id="a link on another site"),
        pytest.param(lambda live: CROSS | {"cookie": "theme=dark"}, "POST", "/", "world", id="another site, with no session"),
        pytest.param(lambda live: CROSS | {"cookie": live}, "POST", "/", 401, id="another site that changes something"),
        pytest.param(lambda live: {"cookie": live}, "POST", "/", 401, id="a change from who knows where"),
        pytest.param(
            lambda live: SAME | {"cookie": live, "authorization": "Bearer wwa_" + "0" * 36}, "GET", "/", 401, id="a bad token beside it"
        ),
        pytest.param(
            lambda live: SAME | {"cookie": live, "authorization": "Basic eDp5"}, "GET", "/", 401, id="another scheme beside it"
        ),
    ],
)  # fmt: skip
async def test_a_browser_sees_a_public_page_whatever_has_become_of_its_session(
    auth: Auth, sent: Sent, method: str, path: str, expected: str | int
) -> None:
    signed_in = auth.session()
    async with browser(api(auth)) as http:
        answer = await http.request(method, path, headers=sent(signed_in.headers["cookie"]))
    if isinstance(expected, int):
        assert answer.status_code == expected
    else:
        subject = signed_in.user_id if expected == "ada" else expected
        assert (answer.status_code, answer.json()["hello"]) == (200, subject)


async def test_a_session_that_ended_or_travelled_in_the_clear_is_told_apart(auth: Auth) -> None:
    signed_in, guarded = auth.session(), api(auth)
    cookie = SAME | {"cookie": signed_in.headers["cookie"]}
    async with (
        browser(guarded) as http,
        browser(guarded, "http://api.test", "203.0.113.9") as in_the_clear,
    ):
        assert (await http.get("/", headers=cookie)).json()["hello"] == signed_in.user_id
        assert (await in_the_clear.get("/")).json()["hello"] == "world", "nothing was exposed"
        assert (await in_the_clear.get("/", headers=cookie)).status_code == 400
        auth.worker.run(sessions.end_all(auth.runtime, signed_in.user_id, actor="test"))
        assert (await http.get("/", headers=cookie)).json()["hello"] == "world"
        auth.worker.run(auth.app.close())
        assert (await http.get("/", headers=cookie)).status_code == 503, "it may be live"
        assert (await http.get("/")).json()["hello"] == "world"


async def test_a_session_of_the_application_itself_is_known_where_it_is_optional(auth: Auth) -> None:
    async with browser(SessionMiddleware(api(auth), MemoryStore())) as http:
        assert (await http.get("/", headers=SAME)).json()["hello"] == "world"
        await http.post("/sign-in", headers=SAME)
        assert (await http.get("/", headers=SAME)).json()["hello"] == "ada"
        assert (await http.get("/", headers=CROSS)).json()["hello"] == "world"
        assert (await http.post("/", headers=CROSS)).status_code == 403


def test_a_view_without_an_event_loop_knows_a_session_where_it_is_optional(auth: Auth) -> None:
    from flask import Flask, g

    from watchword.guard.flask import Guard

    guard, app = auth.guard(Guard, audience=BASE, sessions=("orders:read",)), Flask("pages")
    app.get("/")(guard.optional()(lambda: {"hello": g.principal.subject if g.principal else "world"}))
    signed_in = auth.session()
    with example_apps.wsgi(app) as call:
        assert call("GET", "/", list(signed_in.headers.items())).says("hello") == signed_in.user_id
        assert call("GET", "/", []).says("hello") == "world"
        assert call("GET", "/", [("cookie", "theme=dark")]).says("hello") == "world"


async def _feed(websocket: WebSocket, who: Principal | None) -> None:
    await websocket.accept()
    await websocket.send_text(who.subject if who else "world")


def _starlette_feed(auth: Auth) -> Any:
    guard = auth.guard(Guard, sessions=())

    async def feed(websocket: WebSocket) -> None:
        await _feed(websocket, websocket.state.principal)

    return Starlette(routes=[WebSocketRoute("/feed", guard.optional("orders:read")(feed))])


def _fastapi_feed(auth: Auth) -> Any:
    guard, app = auth.guard(FastAPIGuard, sessions=()), FastAPI()

    @app.websocket("/feed")
    async def feed(websocket: WebSocket, who: Principal | None = guard.optional("orders:read")) -> None:
        await _feed(websocket, who)

    return app


@pytest.mark.parametrize("make", [_starlette_feed, _fastapi_feed])
def test_a_websocket_opens_without_a_credential_where_it_is_optional_and_with_no_bad_one(
    auth: Auth, make: Callable[[Auth], Any]
) -> None:
    client, token = TestClient(make(auth)), auth.token("orders:read")
    for headers, is_known in ((token.headers, True), ({}, False), (CROSS, False)):
        with client.websocket_connect("/feed", headers=headers) as socket:
            assert (socket.receive_text() != "world") == is_known
    stolen = CROSS | auth.session().headers
    for headers in (auth.expired("orders:read").headers, auth.token("profile").headers, stolen):
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/feed", headers=headers),
        ):
            pass
        assert refused.value.status_code in (401, 403), headers


async def test_a_whole_application_can_let_anybody_in_and_an_endpoint_of_it_demand_a_caller(
    auth: Auth,
) -> None:
    guard: Guard = auth.guard(Guard, audience=BASE)

    async def show(request: Request) -> JSONResponse:
        who = request.scope["principal"]
        return JSONResponse({"hello": who.subject if who else "world"})

    routes = [Route("/", show), Route("/orders", guard.require("orders:read")(show))]
    app = GuardMiddleware(Starlette(routes=routes), guard, optional=True)  # type: ignore[arg-type]  # ASGI
    proven = auth.token("orders:read", audience=BASE, dpop=True)
    async with browser(app, BASE) as http:
        assert (await http.get("/")).json()["hello"] == "world"
        assert (await http.get("/", headers=auth.expired(audience=BASE).headers)).status_code == 401
        assert (await http.get("/orders")).status_code == 401
        once = await http.get("/orders", headers=proven.proof("GET", f"{BASE}/orders"))
        assert once.status_code == 200, "the proof counts for both"


SITE = {
    "ALLOWED_HOSTS": ["*"],
    "INSTALLED_APPS": ["django.contrib.contenttypes", "django.contrib.auth"],
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
}
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
def test_django_protects_a_view_from_forged_requests_where_nobody_presented_a_credential(
    auth: Auth, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    example_apps.load("drf_app")  # configures Django
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import JsonResponse
    from django.test import override_settings
    from django.urls import path
    from django.utils.decorators import method_decorator
    from django.views import View
    from django.views.decorators.csrf import csrf_exempt

    from watchword.guard.django import Guard

    guard = auth.guard(Guard, audience=BASE)

    def show(request: Any) -> JsonResponse:
        return JsonResponse({"hello": request.principal.subject if request.principal else "world"})

    async def later(request: Any) -> JsonResponse:
        return show(request)

    class Page(View):
        def post(self, request: Any) -> JsonResponse:
            return show(request)

    urls: Any = ModuleType("urls_of_optional")
    urls.urlpatterns = [
        path("view", guard.optional()(show)),
        path("later", guard.optional()(later)),
        path("class", method_decorator(guard.optional(), name="dispatch")(Page).as_view()),
        path("exempt", guard.optional()(csrf_exempt(show))),
        path("plain", show),
        path("plain/later", later),
    ]
    urls.guarded = guard.middleware(optional=True)
    monkeypatch.setitem(sys.modules, urls.__name__, urls)
    token = list(auth.token("orders:read", audience=BASE).headers.items())
    form = [("cookie", f"csrftoken={'a' * 32}"), ("x-csrftoken", "a" * 32)]
    site = SITE | {"ROOT_URLCONF": urls.__name__}
    views, plain, guarded = (
        ("/view", "/later", "/class"),
        ("/plain", "/plain/later"),
        f"{urls.__name__}.guarded",
    )
    for middleware, paths, forged in (
        ([CSRF], views, 403),
        ([], views, 200),
        ([CSRF, guarded], plain, 403),
        ([guarded, CSRF], plain, 403),
    ):
        with override_settings(**site, MIDDLEWARE=middleware):
            made = get_asgi_application() if server == "asgi" else get_wsgi_application()
            with (example_apps.asgi if server == "asgi" else example_apps.wsgi)(made) as call:
                for where in paths:
                    assert call("POST", where, token).says("hello") not in (None, "world"), where
                    assert call("POST", where, form).says("hello") == "world", where
                    assert call("POST", where, []).status == forged, where
                assert call("GET", paths[0], []).says("hello") == "world"
                assert call("POST", "/exempt", []).says("hello") == "world"


def test_an_openapi_document_says_where_a_credential_is_optional(auth: Auth) -> None:
    guard: FastAPIGuard = auth.guard(FastAPIGuard, audience=BASE)
    app, router = FastAPI(), APIRouter(dependencies=[guard.require("orders:read")])

    @app.get("/default")
    def default(who: Principal | None = guard.optional("orders:read")) -> str:
        return who.subject if who else "world"

    @app.get("/annotated")
    def annotated(who: Annotated[Principal | None, guard.optional("orders:read")]) -> str:
        return who.subject if who else "world"

    @app.get("/wrapped")
    def wrapped(who: Principal | None = Depends(guard.optional("orders:read"))) -> str:
        return who.subject if who else "world"

    @router.get("/both")
    def both(who: Principal | None = guard.optional("reports:read")) -> str:
        return who.subject if who else "world"

    app.include_router(router)
    guard.publish(app)
    assert app.openapi() == app.openapi()
    paths = app.openapi()["paths"]
    for path in ("/default", "/annotated", "/wrapped"):
        assert paths[path]["get"]["security"] == [{"Watchword": ["orders:read"]}, {}], path
        assert "401" in paths[path]["get"]["responses"], "a bad credential is refused"
        client = TestClient(app)
        assert client.get(path).json() == "world"
        assert client.get(path, headers=auth.token("profile", audience=BASE).headers).status_code == 403
    assert paths["/both"]["get"]["security"] == [{"Watchword": ["orders:read", "reports:read"]}]
    assert app.openapi()["components"]["securitySchemes"].keys() == {"Watchword"}


def test_an_operation_with_several_schemes_is_open_only_where_all_of_them_are_optional() -> None:
    ours, partners, app = FastAPIGuard(ISSUER), FastAPIGuard("https://partners.example"), FastAPI()
    partners.scheme = "Partners"
    key = Depends(APIKeyHeader(name="x-key"))
    for path, dependencies in (
        ("/all", [Depends(ours.optional()), Depends(partners.optional())]),
        ("/partners", [ours.require(), Depends(partners.optional())]),
        ("/key", [key, Depends(ours.optional())]),
    ):
        app.add_api_route(path, lambda: "hello", dependencies=dependencies)
    ours.document(app)
    partners.document(app)
    paths = app.openapi()["paths"]
    assert paths["/all"]["get"]["security"] == [{"Watchword": []}, {"Partners": []}, {}]
    assert {} not in paths["/partners"]["get"]["security"]
    assert {} not in paths["/key"]["get"]["security"], "the key is needed in any case"


async def nothing(*_: Any) -> None:
    """An application that is never called."""


@in_turn(
    ("misuse", "error", "says"),
    [
        (lambda: GuardMiddleware(nothing, TRUSTING, optional=cast(Any, "/catalog")), ValueError, "optional is True or False"),
        (lambda: WsgiMiddleware(cast(Any, nothing), TRUSTING, optional=cast(Any, "/")), ValueError, "optional is True or False"),
        (lambda: DjangoGuard(ISSUER).middleware(optional=cast(Any, "/")), ValueError, "optional is True or False"),
        (lambda: GuardInterceptor(TRUSTING, optional=cast(Any, "/a.B/C")), ValueError, "optional: name each"),
        (lambda: GuardInterceptor(TRUSTING, optional=("a.B/C",)), ValueError, "optional: full names"),
        (lambda: GuardInterceptor(TRUSTING, optional=("/a.B/C",), exclude=("/a.B/C",)), ValueError, "exclude: /a.B/C is guarded"),
        (lambda: Guard(ISSUER).optional(cast(Any, nothing)), ValueError, r"@guard.optional\(\), not @guard.optional above"),
        (lambda: Guard(ISSUER).optional(cast(Any, Policy())), ValueError, r"optional\(policy=…\)"),
        (lambda: Guard(ISSUER).optional(cast(Any, ["orders:read"])), ValueError, r'such as optional\("orders:read", "orders:write"\)'),
        (lambda: TRUSTING.demand(None, cast(Any, "orders:read")), ValueError, "policy: a Policy"),
        (lambda: FastAPI().get("/")(_not_called), TypeError, "with the parentheses"),
    ],
    ids=lambda row: "",
)  # fmt: skip
def test_a_mistake_with_optional_is_refused_when_the_program_starts(
    misuse: Callable[[], object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        misuse()


def test_a_method_of_grpc_that_is_not_guarded_has_no_caller_not_even_an_optional_one() -> None:
    for caller in (principal, optional_principal):
        with pytest.raises(LookupError, match="not guarded"):
            caller()
