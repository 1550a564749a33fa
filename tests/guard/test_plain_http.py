"""The tripwire: a good token that came over unencrypted HTTP is refused, explained and reported; others report nothing."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from tests.fixtures.other_issuer import OtherIssuer, other
from tests.guard.example_apps import load

from watchword.app import App
from watchword.guard import Guard, Refused, asgi, django, wsgi
from watchword.guard.guard import Presented
from watchword.store.audit import events
from watchword.testing.kit import Auth

PUBLIC = "93.184.216.34"
__all__ = ["other"]


def shown(token: str, address: str | None = PUBLIC, *, secure: bool = False) -> Presented:
    """Return what a request presents."""
    return Presented(authorization=(f"Bearer {token}",), address=address, secure=secure)


def exposed(auth: Auth) -> list[str]:
    """Return the tokens that the server has heard of as exposed."""
    found = auth.runtime.database.read(events.list_events, limit=100, name="token.exposed")
    return [event.target for event in auth.worker.run(found)]


@pytest.fixture(params=["record", "revoke"])
def auth_settings(request: pytest.FixtureRequest) -> Mapping[str, object]:
    """The operator's policy."""
    return {"exposed_tokens": request.param}


@pytest.mark.parametrize("kind", ["jwt", "opaque", "api_token"])
async def test_a_token_in_the_clear_is_refused_and_reported_once(auth: Auth, kind: str) -> None:
    guard = auth.guard(Guard)
    token = auth.token("orders:read", kind=kind)
    assert await guard.authenticate(shown(token, secure=True)), "over https"
    assert await guard.authenticate(shown(token, "127.0.0.1")), "on this machine"
    assert exposed(auth) == []
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await guard.authenticate(shown(token))
    assert len(exposed(auth)) == 1
    if auth.app.settings.exposed_tokens == "revoke":
        assert refused.value.status == 401, "it is dead by now"
    else:
        assert (refused.value.status, refused.value.error) == (400, "invalid_request")
        assert "https" in refused.value.description
        assert guard.authenticate_sync(shown(token, secure=True)), "only noted"


async def test_a_session_in_the_clear_is_refused_and_reported(auth: Auth) -> None:
    """The server's own by whoever sends it, which no browser does with its `__Host-` cookie; and one that the application keeps."""
    guard, session = auth.guard(Guard, sessions=("orders:read",)), auth.session()

    def brought(secure: bool, address: str = PUBLIC) -> Presented:
        cookies = (session.headers["cookie"],)
        return Presented(cookies=cookies, address=address, secure=secure)

    assert (await guard.authenticate(brought(secure=True))).kind == "session", "over https"
    assert await guard.authenticate(brought(False, "127.0.0.1")), "on this machine"
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await guard.authenticate(brought(secure=False))
    ends = auth.app.settings.exposed_tokens == "revoke"
    assert refused.value.status == (401 if ends else 400), refused.value.description
    found = auth.runtime.database.read(events.list_events, limit=100, name="session.exposed")
    assert [event.target for event in auth.worker.run(found)] == [session.id]
    if not ends:
        assert guard.authenticate_sync(brought(secure=True)), "only noted"
    with pytest.raises(Refused) as own:
        guard.authenticate_sync(Presented(subject="ada", address=PUBLIC, secure=False))
    assert (own.value.status, "https" in own.value.description) == (400, True)
    assert guard.authenticate_sync(Presented(subject="ada", address=PUBLIC)).subject == "ada"


class Counted:
    """The server in this process, with a count of the sessions that were reported to it."""

    def __init__(self, app: App) -> None:
        self.app, self.reports = app, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.app, name)

    async def report_exposed_session(self, cookies: str) -> None:
        self.reports += 1
        await self.app.report_exposed_session(cookies)


async def test_a_session_that_comes_in_the_clear_again_and_again_costs_the_server_little(auth: Auth) -> None:
    """Whoever may sign in could otherwise have every node forget what it remembers, with each request."""
    cookie, token, server = auth.session().headers["cookie"], auth.token("orders:read"), Counted(auth.app)
    guard = Guard(server, audience="https://api.test", sessions=("orders:read",))
    for n in range(3):
        with pytest.raises(Refused):
            await guard.authenticate(Presented(cookies=(cookie, f"n={n}"), address=PUBLIC, secure=False))
    assert server.reports == 1
    await auth.app.report_exposed(token)
    version = auth.runtime.database.version()
    await auth.app.report_exposed(token)
    await auth.app.report_exposed_session(cookie)
    assert auth.runtime.database.version() == version


async def test_a_report_that_was_not_taken_is_made_again(other: OtherIssuer) -> None:
    reports = f"{other.issuer}/exposed"
    other.documents["/.well-known/openid-configuration"]["watchword_exposure_endpoint"] = reports
    other.documents["/exposed"] = {}
    guard = Guard(other.issuer, audience="https://api.example.com", revocation_feed=False)
    token = other.token()
    assert await guard.authenticate(shown(token, secure=True))
    for other.up, reported in ((False, 1), (True, 2), (True, 2)):
        with pytest.raises(Refused) as refused:
            await guard.authenticate(shown(token))
        assert (refused.value.status, other.asked["/exposed"]) == (400, reported)
    await guard.close()


@pytest.mark.parametrize("kind", ["jwt", "opaque", "api_token"])
async def test_a_token_for_another_api_is_as_exposed(auth: Auth, kind: str) -> None:
    guard, token = auth.guard(Guard), auth.wrong_audience("orders:read", kind=kind)
    with pytest.raises(Refused) as elsewhere:
        await guard.authenticate(shown(token, secure=True))
    assert (elsewhere.value.status, exposed(auth)) == (401, [])
    with pytest.raises(Refused) as refused:
        await guard.authenticate(shown(token))
    assert (refused.value.status, "https" in refused.value.description) == (400, True)
    assert len(exposed(auth)) == 1


def test_what_is_no_good_token_reports_nothing(auth: Auth) -> None:
    guard = auth.guard(Guard)
    with pytest.raises(Refused) as tripped:
        guard.authenticate_sync(shown(auth.token("orders:read")))
    assert tripped.value.status == 400
    before = exposed(auth)
    for token in (auth.forged(), auth.expired(), "garbage"):
        with pytest.raises(Refused) as refused:
            guard.authenticate_sync(shown(token))
        assert refused.value.status == 401
    assert exposed(auth) == before


@pytest.mark.parametrize(
    ("rule", "address", "let_in"),
    [
        ("refuse-public", "10.0.0.1", True),
        ("refuse-public", "::ffff:93.184.216.34", False),
        ("refuse-public", "93.184.216.34:52114", False),  # as some proxies pass it on
        ("refuse-public", "[2606:2800:220:1::1]:52114", False),
        ("refuse-public", "10.0.0.1:52114", True),
        ("refuse-public", "[::1]:80", True),
        ("refuse-public", "::1:80", True),  # without the brackets that RFC 7239 §6 demands
        ("refuse-public", "fd00::1:80", True),
        ("refuse-public", "2606:2800:220:1::1:80", False),
        (
            "refuse-public",
            "203.0.113.9",
            False,
        ),  # for examples (RFC 5737): in a test it stands for a public one
        ("refuse-public", "2001:db8::1", False),  # likewise (RFC 3849)
        ("refuse", "::1:80", False),
        ("refuse", "127.0.0.1:52114", True),
        ("refuse", "10.0.0.1", False),
        ("refuse", "::1", True),
        ("refuse", "", True),  # of a Unix socket
        ("refuse", None, False),
        ("allow", PUBLIC, True),
    ],
)
def test_whose_plain_requests_are_let_in(auth: Auth, rule: str, address: str | None, let_in: bool) -> None:
    guard = auth.guard(Guard, plain_http=rule)
    token = auth.token("orders:read")
    assert guard.authenticate_sync(shown(token, address, secure=True))
    if let_in:
        assert guard.authenticate_sync(shown(token, address))
    else:
        with pytest.raises(Refused):
            guard.authenticate_sync(shown(token, address))


async def test_who_comes_through_a_unix_socket_is_of_this_machine(auth: Auth, tmp_path: Path) -> None:
    async def app(_scope: asgi.Scope, _receive: asgi.Receive, send: asgi.Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guarded = asgi.GuardMiddleware(app, auth.guard(Guard, plain_http="refuse"))
    path = str(tmp_path / "api.sock")
    server = uvicorn.Server(uvicorn.Config(guarded, uds=path, lifespan="off", log_level="error"))  # type: ignore[arg-type]  # plain ASGI
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    through = httpx.AsyncHTTPTransport(uds=path)
    async with httpx.AsyncClient(transport=through, base_url="http://api.example.com") as client:
        good = await client.get("/", headers=auth.token("orders:read").headers)
        assert (good.status_code, exposed(auth)) == (204, [])
        assert (await client.get("/", headers=auth.forged("orders:read").headers)).status_code == 401
    server.should_exit = True
    await serving


def test_servers_tell_of_a_unix_socket_in_their_ways(auth: Auth) -> None:
    guard, token = auth.guard(Guard, plain_http="refuse"), auth.token("orders:read")
    authorization = [(b"authorization", f"Bearer {token}".encode()), (b"host", b"api.example.com")]
    scope = {"scheme": "http", "headers": authorization, "path": "/"}
    environ = {"REQUEST_METHOD": "GET", "wsgi.url_scheme": "http", "HTTP_AUTHORIZATION": f"Bearer {token}"}
    for local in (
        asgi.presented(scope | {"client": None, "server": ("/run/api.sock", None)}),  # uvicorn
        wsgi.presented(environ | {"REMOTE_ADDR": ""}),  # gunicorn
    ):
        assert guard.authenticate_sync(local)
    for unknown in (
        asgi.presented(scope | {"client": None, "server": ("api.example.com", None)}),
        asgi.presented(scope | {"client": None, "server": None}),
        asgi.presented(scope | {"client": ("", 0), "server": ("/run/api.sock", None)}),
        wsgi.presented(environ),
    ):
        with pytest.raises(Refused):
            guard.authenticate_sync(unknown)


def test_the_endpoint_tells_nothing_about_what_is_reported(auth: Auth) -> None:
    answers = {
        (answer.status_code, answer.content)
        for token in (auth.token(), "garbage", "a.b.c", "9" * 5000)
        for answer in [auth.http.post("/exposed", data={"token": token})]
    }
    assert answers == {(200, b"")}
    assert len(exposed(auth)) == 1
    for malformed in ({}, {"token": "\x00"}):
        assert auth.http.post("/exposed", data=malformed).status_code == 400


@pytest.mark.parametrize("scheme", ["http", "https", "ws", "wss"])
def test_adapters_tell_how_a_request_came(scheme: str) -> None:
    encrypted = scheme in ("https", "wss")
    scope = {"scheme": scheme, "headers": [], "path": "/", "client": (PUBLIC, 1)}
    assert asgi.presented(scope).secure is encrypted
    environ = {"REQUEST_METHOD": "GET", "wsgi.url_scheme": scheme, "REMOTE_ADDR": PUBLIC}
    assert wsgi.presented(environ).secure is (scheme == "https")
    load("drf_app")  # configures Django
    from django.test import RequestFactory

    assert django.presented(RequestFactory().get("/", secure=encrypted)).secure is encrypted
