"""Sessions of an application's own people: what the cookie is worth, when it ends, and who can make it act."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from watchword.guard.sessions import COOKIE, MemoryStore, Record, SessionMiddleware
from watchword.testing.clock import Clock

BASE = "https://shop.test"
OWN = {"origin": BASE}


async def sign_in(request: Request) -> JSONResponse:
    request.session.sign_in("alice")  # type: ignore[attr-defined]  # ours, not Starlette's
    return JSONResponse({})


async def elevate(request: Request) -> JSONResponse:
    request.session.elevate()  # type: ignore[attr-defined]  # ours, not Starlette's
    return JSONResponse({})


async def sign_out(request: Request) -> JSONResponse:
    request.session.sign_out()  # type: ignore[attr-defined]  # ours, not Starlette's
    return JSONResponse({})


async def show(request: Request) -> JSONResponse:
    return JSONResponse({"subject": request.session.subject})  # type: ignore[attr-defined]  # ours


async def ended_meanwhile(request: Request) -> JSONResponse:
    await request.app.state.store.remove_of("alice")
    request.session.data["cart"] = ["book"]  # type: ignore[attr-defined]  # ours, not Starlette's
    return JSONResponse({})


async def elevate_meanwhile(request: Request) -> JSONResponse:
    await request.app.state.store.remove_of("alice")
    request.session.elevate()  # type: ignore[attr-defined]  # ours, not Starlette's
    return JSONResponse({})


class Ending(MemoryStore):
    """A store at which all sessions of alice end just after a request has written to one of them."""

    ends = False

    async def replace(self, digest: bytes, record: Record) -> bool:
        done = await super().replace(digest, record)
        if self.ends:
            await self.remove_of("alice")
        return done


async def fill(request: Request) -> JSONResponse:
    request.session.data["cart"] = ["book"]  # type: ignore[attr-defined]  # ours, not Starlette's
    return JSONResponse({})


async def sign_in_bob(request: Request) -> JSONResponse:
    request.session.sign_in("bob")  # type: ignore[attr-defined]  # ours, not Starlette's
    return JSONResponse({})


async def cart(request: Request) -> JSONResponse:
    return JSONResponse(request.session.data.get("cart"))  # type: ignore[attr-defined]  # ours, not Starlette's


async def feed(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.session.subject)  # type: ignore[attr-defined]  # ours, not Starlette's


class Shop:
    """An application with sessions, its store and its clock."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.store = Ending(self.clock)
        endpoints = (
            sign_in,
            elevate,
            sign_out,
            show,
            ended_meanwhile,
            elevate_meanwhile,
            fill,
            sign_in_bob,
            cart,
        )
        routes = [Route(f"/{e.__name__}", e, methods=["GET", "POST"]) for e in endpoints]
        app = Starlette(routes=[*routes, WebSocketRoute("/feed", feed)])
        app.state.store = self.store
        wrapped = SessionMiddleware(app, self.store, idle=600, absolute=3600, clock=self.clock, **options)  # type: ignore[arg-type]  # ASGI
        self.http = TestClient(wrapped, base_url=BASE)  # type: ignore[arg-type]  # ASGI

    def who(self, value: str | None = None) -> str:
        """Return whom the application sees, with the browser's cookie or a given one."""
        if value is None:
            return str(self.http.get("/show").json()["subject"])
        other = TestClient(self.http.app, base_url=BASE)
        return str(other.get("/show", headers={"cookie": f"{COOKIE}={value}"}).json()["subject"])

    def cookie(self) -> str:
        """Return the browser's cookie."""
        return self.http.cookies.get(COOKIE) or ""


@pytest.fixture
def shop() -> Shop:
    """A shop in which alice has signed in."""
    made = Shop()
    assert "set-cookie" not in made.http.get("/show").headers, "nobody gets a cookie for nothing"
    answer = made.http.post("/sign_in", headers=OWN)
    for attribute in (f"{COOKIE}=", "Path=/", "Secure", "HttpOnly", "SameSite=Lax"):
        assert attribute in answer.headers["set-cookie"]
    assert made.who() == "alice"
    return made


@pytest.mark.parametrize("change", ["sign_in", "elevate"])
def test_an_identifier_known_before_is_worth_nothing_after(shop: Shop, change: str) -> None:
    before = shop.cookie()
    assert shop.who(before) == "alice"
    shop.http.post(f"/{change}", headers=OWN)
    assert (shop.who(), shop.who(before)) == ("alice", "")
    assert shop.who("planted") == ""


def test_a_session_ends_idle_and_ends_for_good_at_its_limit(shop: Shop) -> None:
    for _ in range(7):
        shop.clock.advance(500)
        assert shop.who() == "alice", "visits keep it alive"
    shop.clock.advance(99)
    assert shop.who() == "alice", "the last second of the hour"
    shop.clock.advance(1)
    assert shop.who() == "", "an hour is over"
    shop.http.post("/sign_in", headers=OWN)
    shop.clock.advance(599)
    assert shop.who() == "alice"
    shop.clock.advance(600)
    assert shop.who() == "", "ten minutes without a visit"


def test_signing_out_ends_it_on_the_server(shop: Shop) -> None:
    kept = shop.cookie()
    shop.http.post("/sign_out", headers=OWN)
    assert (shop.who(), shop.who(kept)) == ("", "")


def test_a_request_that_runs_does_not_bring_an_ended_session_back(shop: Shop) -> None:
    kept = shop.cookie()
    shop.http.post("/ended_meanwhile", headers=OWN)
    assert shop.who(kept) == ""


def test_an_elevation_does_not_bring_an_ended_session_back(shop: Shop) -> None:
    shop.http.post("/elevate", headers=OWN)
    assert shop.who() == "alice", "the honest variant"
    shop.http.post("/elevate_meanwhile", headers=OWN)
    assert shop.who() == ""


def test_an_elevation_leaves_nothing_of_sessions_that_end_in_the_same_moment(shop: Shop) -> None:
    shop.http.post("/elevate", headers=OWN)
    assert shop.who() == "alice", "the honest variant"
    shop.store.ends = True
    shop.http.post("/elevate", headers=OWN)
    assert shop.who() == ""


def test_who_signs_in_finds_nothing_of_another_person(shop: Shop) -> None:
    shop.http.post("/fill", headers=OWN)
    shop.http.post("/sign_in", headers=OWN)
    assert shop.http.get("/cart").json() == ["book"], "one's own is kept"
    shop.http.post("/sign_in_bob", headers=OWN)
    assert (shop.who(), shop.http.get("/cart").json()) == ("bob", None)


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {"origin": "null"}, {}],
    ids=["another origin", "cross-site", "a sibling site", "a hidden origin", "a cookie and no word of where it comes from"],
)  # fmt: skip
def test_other_sites_cannot_make_the_session_act(shop: Shop, headers: dict[str, str]) -> None:
    assert shop.http.post("/elevate", headers={"sec-fetch-site": "same-origin"}).status_code == 200
    assert shop.http.post("/sign_out", headers=headers).status_code == 403
    assert shop.who() == "alice"


def test_another_origin_acts_by_the_session_only_where_it_is_named() -> None:
    for origins, status in ((["https://app.test"], 200), (["https://other.test"], 403), ([], 403)):
        shop = Shop(origins=origins)
        assert shop.http.post("/sign_in", headers=OWN).status_code == 200
        for site in ("same-site", "cross-site"):
            headers = {"origin": "https://app.test", "sec-fetch-site": site}
            assert shop.http.post("/elevate", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("headers", "welcome"),
    [
        pytest.param({"sec-fetch-site": "same-origin"}, True, id="from the same origin"),
        pytest.param(OWN, True, id="from the same origin by an old browser"),
        pytest.param({"sec-fetch-site": "same-site"}, False, id="from a sister site"),
        pytest.param({"sec-fetch-site": "cross-site"}, False, id="from another site"),
        pytest.param({"origin": "https://evil.test"}, False, id="from elsewhere by an old browser"),
        pytest.param({}, False, id="without a word of where it comes from"),
    ],
)
def test_no_other_site_opens_a_websocket_by_the_session(
    shop: Shop, headers: dict[str, str], welcome: bool
) -> None:
    opening = shop.http.websocket_connect("wss://shop.test/feed", headers=headers)
    if welcome:
        with opening as socket:
            assert socket.receive_text() == "alice"
    else:
        with pytest.raises(WebSocketDisconnect) as closed, opening:
            pass
        assert closed.value.code == 1008


def test_a_second_cookie_of_the_same_name_makes_both_worthless(shop: Shop) -> None:
    value = shop.cookie()
    assert shop.who(value) == "alice"
    assert shop.who(f"{value}; {COOKIE}=other") == ""
