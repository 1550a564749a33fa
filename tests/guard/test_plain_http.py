"""The tripwire: a good token that came over unencrypted HTTP is refused, explained and reported; others report nothing."""

from collections.abc import Mapping

import pytest
from tests.guard.example_apps import load

from watchword.guard import Guard, Refused, asgi, django, wsgi
from watchword.guard.guard import Presented
from watchword.store import events
from watchword.testing.kit import Auth

PUBLIC = "93.184.216.34"


def shown(token: str, address: str = PUBLIC, *, secure: bool = False) -> Presented:
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
        ("refuse", "10.0.0.1", False),
        ("refuse", "::1", True),
        ("allow", PUBLIC, True),
    ],
)
def test_whose_plain_requests_are_let_in(auth: Auth, rule: str, address: str, let_in: bool) -> None:
    guard = auth.guard(Guard, plain_http=rule)
    token = auth.token("orders:read")
    assert guard.authenticate_sync(shown(token, address, secure=True))
    if let_in:
        assert guard.authenticate_sync(shown(token, address))
    else:
        with pytest.raises(Refused):
            guard.authenticate_sync(shown(token, address))


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
