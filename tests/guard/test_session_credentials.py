"""Sessions as credentials: one endpoint takes a person's session and a program's token, and no other site makes either act."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from tests.guard import example_apps
from tests.guard.example_apps import BASE, Call

from watchword.flows import sessions
from watchword.guard import Policy
from watchword.guard.sessions import MemoryStore, SessionMiddleware
from watchword.guard.starlette import Guard
from watchword.settings import ScopeText
from watchword.store import sessions as store
from watchword.store.sessions import Session
from watchword.testing.kit import Auth

SAME, CROSS = {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "cross-site"}
NONE: dict[str, str] = {}


def api(auth: Auth, **options: Any) -> Starlette:
    """Return an API that takes sessions for the scope `orders:read`."""
    guard: Guard = auth.guard(Guard, **{"sessions": ("orders:read",)} | options)

    async def show(request: Request) -> JSONResponse:
        who = request.state.principal
        return JSONResponse({"sub": who.subject, "kind": who.kind, "acr": who.acr})

    async def sign_in(request: Request) -> JSONResponse:
        request.session.sign_in("ada")
        return JSONResponse({})

    read = guard.require("orders:read")(show)
    strong = guard.require(policy=Policy(acr=("2",)))(show)
    tokens = guard.require(policy=Policy(kinds=("api_token", "access_token")))(show)
    return Starlette(
        routes=[
            Route("/orders", read, methods=["GET", "POST"]),
            Route("/strong", strong),
            Route("/reports", guard.require("reports:read")(show)),
            Route("/programs", tokens),
            Route("/sign-in", sign_in, methods=["POST"]),
        ]
    )


def browser(app: Any) -> httpx.AsyncClient:
    """Return what sends requests to an application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="https://api.test")


async def test_a_session_of_the_server_in_this_process_is_a_credential(auth: Auth) -> None:
    signed_in = auth.session()
    cookie = {"cookie": "theme=dark; " + signed_in.headers["cookie"]}
    async with browser(api(auth)) as http:
        answer = await http.get("/orders", headers=cookie)
        assert answer.json() == {"sub": signed_in.user_id, "kind": "session", "acr": "urn:watchword:aal1"}
        assert (await http.get("/strong", headers=cookie)).status_code == 401, "step-up (RFC 9470)"
        assert (await http.get("/reports", headers=cookie)).status_code == 403, "only the scopes of sessions"
        assert (await http.get("/programs", headers=cookie)).status_code == 403, "programs only"
        token = auth.token("orders:read")
        both = cookie | {"authorization": f"Bearer {token}"}
        assert (await http.get("/orders", headers=both)).json()["kind"] == "access_token"
        wrong = cookie | {"authorization": "Bearer wwa_" + "0" * 36}
        assert (await http.get("/orders", headers=wrong)).status_code == 401, (
            "a bad token is never made up for"
        )
    async with browser(api(auth, sessions=None)) as http:
        assert (await http.get("/orders", headers=cookie)).status_code == 401, (
            "only where sessions are wanted"
        )


async def test_a_session_that_an_api_accepts_keeps_the_address_it_was_last_used_from(auth: Auth) -> None:
    signed_in = auth.session()

    def kept() -> Session | None:
        reading = auth.runtime.database.read(store.get_session, signed_in.id, int(auth.clock()))
        return auth.worker.run(reading)

    before = kept()
    auth.clock.advance(sessions.TOUCH_INTERVAL)
    async with browser(api(auth)) as http:
        assert (await http.get("/orders", headers=signed_in.headers)).status_code == 200
    after = kept()
    assert before is not None
    assert after is not None
    assert after.last_seen_at == before.last_seen_at + sessions.TOUCH_INTERVAL, "it is in use"
    assert after.address == before.address != ""


@pytest.mark.parametrize("auth_settings", [{"scopes": {"orders:read": ScopeText(groups=("staff",))}}])
async def test_a_session_does_not_stand_for_a_scope_that_is_closed_to_its_person(auth: Auth) -> None:
    async with browser(api(auth)) as http:
        for groups, status in (((), 403), (("north",), 403), (("north", "staff"), 200)):
            cookie = auth.session(auth.user(groups=groups)).headers
            assert (await http.get("/orders", headers=cookie)).status_code == status, groups


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        pytest.param("GET", NONE, 200, id="reading, from a browser that says nothing"),
        pytest.param("GET", CROSS, 401, id="reading, by a script of another site"),
        pytest.param("POST", SAME, 200, id="changing, from the same origin"),
        pytest.param("POST", CROSS, 401, id="changing, from another site"),
        pytest.param("POST", {"sec-fetch-site": "same-site"}, 401, id="changing, from a sister site"),
        pytest.param("POST", {"origin": "https://api.test"}, 200, id="changing, from the same origin by an old browser"),
        pytest.param("POST", {"origin": "https://evil.example"}, 401, id="changing, from elsewhere by an old browser"),
        pytest.param("POST", {"origin": "null"}, 401, id="changing, from an origin that is hidden"),
        pytest.param("POST", NONE, 401, id="changing, without a word of where it comes from"),
    ],
)  # fmt: skip
async def test_a_session_counts_only_from_the_same_origin(
    auth: Auth, method: str, headers: dict[str, str], status: int
) -> None:
    signed_in = auth.session()
    cookie = signed_in.headers
    async with browser(api(auth)) as http:
        assert (await http.get("/orders", headers=cookie)).status_code == 200
        assert (await http.request(method, "/orders", headers=cookie | headers)).status_code == status


@pytest.mark.parametrize(
    ("headers", "welcome"),
    [
        pytest.param(SAME, True, id="from the same origin"),
        pytest.param({"origin": "https://api.test"}, True, id="from the same origin by an old browser"),
        pytest.param({"sec-fetch-site": "same-site"}, False, id="from a sister site, whose requests bring the cookie"),
        pytest.param(CROSS, False, id="from another site"),
        pytest.param({"origin": "https://sister.test"}, False, id="from elsewhere by an old browser"),
        pytest.param({"origin": "null"}, False, id="from an origin that is hidden"),
        pytest.param(NONE, False, id="without a word of where it comes from"),
    ],
)  # fmt: skip
def test_no_other_site_opens_a_websocket_by_a_session(
    auth: Auth, headers: dict[str, str], welcome: bool
) -> None:
    guard: Guard = auth.guard(Guard, sessions=("orders:read",))

    async def feed(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.state.principal.subject)

    app = Starlette(routes=[WebSocketRoute("/feed", guard.require("orders:read")(feed))])
    signed_in = auth.session()
    client = TestClient(app, base_url="https://api.test")
    sent = signed_in.headers | headers
    try:
        with client.websocket_connect("wss://api.test/feed", headers=sent) as socket:
            assert (welcome, socket.receive_text()) == (True, signed_in.user_id)
    except (WebSocketDenialResponse, WebSocketDisconnect):
        assert not welcome


async def test_storage_that_cannot_answer_is_no_fault_of_the_api(auth: Auth) -> None:
    headers, token = auth.session().headers, auth.token("orders:read")
    guarded = api(auth)
    async with browser(guarded) as http:
        assert (await http.get("/orders", headers=headers)).status_code == 200
        auth.worker.run(auth.app.close())
        for given in (headers, token.headers):
            answer = await http.get("/orders", headers=given)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


async def test_a_session_that_ended_is_no_credential_any_more(auth: Auth) -> None:
    signed_in = auth.session()
    cookie = signed_in.headers
    async with browser(api(auth)) as http:
        assert (await http.get("/orders", headers=cookie)).status_code == 200
        auth.worker.run(sessions.end_all(auth.runtime, signed_in.user_id, actor="test"))
        assert (await http.get("/orders", headers=cookie)).status_code == 401
        other = auth.session().headers
        assert (await http.get("/orders", headers=other)).status_code == 200
        twice = {"cookie": f"{other['cookie']}; {other['cookie'].partition('=')[0]}=x"}
        assert (await http.get("/orders", headers=twice)).status_code == 401


async def test_a_session_of_the_application_itself_is_a_credential(auth: Auth) -> None:
    async with browser(SessionMiddleware(api(auth), MemoryStore())) as http:
        assert (await http.get("/orders", headers=SAME)).status_code == 401
        await http.post("/sign-in", headers=SAME)
        assert (await http.get("/orders", headers=SAME)).json()["kind"] == "session"
        assert (await http.get("/orders", headers=SAME)).json()["sub"] == "ada"
        assert (await http.post("/orders", headers=CROSS)).status_code == 403


def _of_flask(auth: Auth) -> Any:
    from flask import Flask

    from watchword.guard.flask import Guard

    app = Flask("feed")
    app.get("/feed")(auth.guard(Guard, audience=BASE, sessions=("orders:read",)).require()(lambda: "feed"))
    return example_apps.wsgi(app)


@contextlib.contextmanager
def _of_django(auth: Auth) -> Iterator[Call]:
    example_apps.load("drf_app")  # which configures the process
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.test import override_settings
    from django.urls import path

    from watchword.guard.django import Guard

    guard = auth.guard(Guard, audience=BASE, sessions=("orders:read",))
    root = (path("feed", guard.require()(lambda _: HttpResponse("feed"))),)
    settings = {"ROOT_URLCONF": root, "ALLOWED_HOSTS": ["*"], "MIDDLEWARE": []}
    with override_settings(**settings), example_apps.wsgi(WSGIHandler()) as call:
        yield call


@pytest.mark.parametrize("make", [_of_flask, _of_django])
def test_no_other_site_opens_a_websocket_of_wsgi_by_a_session(
    auth: Auth, make: Callable[[Auth], Any]
) -> None:
    upgraded = [*auth.session().headers.items(), ("upgrade", "websocket")]
    with make(auth) as call:
        assert call("GET", "/feed", [*upgraded, ("origin", BASE)]).status == 200
        for sent in ([("origin", "https://evil.example")], [("sec-fetch-site", "cross-site")], []):
            assert call("GET", "/feed", [*upgraded, *sent]).status == 401, sent
