"""SE-02, LG-17 to LG-19, LO-04: cookies that were planted, copied or outlived; sessions of others; very many of them."""

import re
from pathlib import Path

import httpx
import pytest
from tests.fixtures.accounts import add_totp, another, make, session_of, sign_out, user_of
from tests.fixtures.people import Person
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server

from watchword.flows import sessions
from watchword.flows.throttle import Source
from watchword.store import sessions as store

COOKIE = "ww-session"
HOUR, DAY = 3600, 86_400

server = server_with(make, mode="development")


async def is_in(server: Server, cookie: str) -> bool:
    """Whether a session's cookie is worth anything, in whatever browser."""
    async with another(server) as browser:
        browser.cookies.set(COOKIE, cookie)
        return (await browser.get("/account")).status_code == 200


async def test_se_02_a_cookie_from_before_the_sign_in_is_worth_nothing_after_it(ada: Person) -> None:
    planted = ada.server.runtime.new_secret("n")
    ada.http.cookies.set(COOKIE, planted)
    await ada.sign_in()
    fresh = ada.http.cookies.get(COOKIE, domain="localhost.local") or next(
        cookie.value for cookie in ada.http.cookies.jar if cookie.name == COOKIE and cookie.value != planted
    )
    assert fresh != planted
    assert await is_in(ada.server, fresh or ""), "the honest variant"
    assert not await is_in(ada.server, planted), "an identifier of the attacker's choice"


async def test_se_02_everything_but_the_session_that_a_browser_had_before_opens_nothing(ada: Person) -> None:
    await ada.open("/sign-in")
    before = dict(ada.http.cookies)
    await ada.sign_in()
    async with another(ada.server) as thief:
        for name, value in before.items():
            thief.cookies.set(name, value)
        assert (await thief.get("/account")).status_code == 303


@pytest.mark.parametrize("step", ["sign-in again", "a second factor", "a password change"])
async def test_se_02_a_new_identifier_at_every_step(ada: Person, step: str) -> None:
    await ada.sign_in()
    old = ada.http.cookies[COOKIE]
    if step == "sign-in again":
        await ada.open("/sign-in?return=x")
        await ada.send({"identifier": "ada", "password": "correct horse battery staple"})
    elif step == "a second factor":
        await add_totp(ada)
    else:
        await ada.open("/account/password")
        await ada.send(
            {"password": "correct horse battery staple", "new_password": "some entirely new words here"}
        )
    assert ada.http.cookies[COOKIE] != old
    assert await is_in(ada.server, ada.http.cookies[COOKIE])
    assert not await is_in(ada.server, old)


async def test_a_copied_cookie_is_dead_after_sign_out(ada: Person) -> None:
    await ada.sign_in()
    cookie = ada.http.cookies[COOKIE]
    assert await is_in(ada.server, cookie)
    await sign_out(ada)
    assert not await is_in(ada.server, cookie), "LO-04"


async def test_the_cookie_is_bound_to_host_and_transport(tmp_path: Path) -> None:
    async with open_server(tmp_path, issuer="https://id.example.com") as server:
        await make(server)
        person = Person(server, another(server))
        await person.open("/sign-in")
        form = person.form()
        filled = {**form, "identifier": "ada", "password": "correct horse battery staple"}
        answer = await person.http.post(filled.pop(""), data=filled)
        set_cookie = [value for value in answer.headers.get_list("set-cookie") if "session" in value]
        assert len(set_cookie) == 1
        assert set_cookie[0].startswith("__Host-ww-session=")
        assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} <= set(set_cookie[0].split("; "))
        assert "Max-Age" not in set_cookie[0], (
            "it ends with the browser unless the person asked to be remembered"
        )


async def test_lg_17_a_session_ends_at_the_second_that_is_documented(ada: Person) -> None:
    server = ada.server
    await ada.sign_in()
    idle = ada.http.cookies[COOKIE]
    server.clock.advance(12 * HOUR - 1)
    assert await is_in(server, idle), "used within twelve hours"
    server.clock.advance(12 * HOUR)
    assert not await is_in(server, idle), "not used for twelve"


async def test_lg_17_a_session_in_use_goes_on_however_short_its_limit_is(tmp_path: Path) -> None:
    async with open_server(tmp_path, session_idle=30) as server:
        await make(server)
        person = Person(server, another(server))
        await person.sign_in()
        cookie = person.http.cookies[COOKIE]
        for _ in range(6):
            server.clock.advance(16)
            assert await is_in(server, cookie)
        server.clock.advance(30)
        assert not await is_in(server, cookie)


async def test_lg_17_a_session_in_use_ends_after_a_week(ada: Person) -> None:
    server = ada.server
    await ada.sign_in()
    cookie = ada.http.cookies[COOKIE]
    for _ in range(7 * 4 - 1):
        server.clock.advance(6 * HOUR)
        assert await is_in(server, cookie)
    server.clock.advance(6 * HOUR - 1)
    assert await is_in(server, cookie)
    server.clock.advance(1)
    assert not await is_in(server, cookie)


async def test_lg_17_a_remembered_session_ends_after_thirty_days_whatever_is_done(ada: Person) -> None:
    server = ada.server
    await ada.open("/sign-in")
    form = ada.form()
    filled = {**form, "identifier": "ada", "password": "correct horse battery staple", "remember": "yes"}
    answer = await ada.http.post(filled.pop(""), data=filled)
    assert f"Max-Age={30 * DAY}" in answer.headers["set-cookie"]
    cookie = ada.http.cookies[COOKIE]
    server.clock.advance(29 * DAY)
    assert await is_in(server, cookie)
    server.clock.advance(DAY)
    assert not await is_in(server, cookie)


async def test_lg_18_a_list_names_no_cookie_and_ends_ones_own_only(ada: Person) -> None:
    server = ada.server
    await make(server, "eve", "eve@example.com")
    await ada.sign_in()
    second = Person(server, another(server))
    await second.sign_in()
    eve = Person(server, another(server))
    await eve.sign_in("eve")
    hers = await session_of(server, "eve")
    page = await ada.open("/account/sessions")
    shown = re.findall(r'name="session" value="([^"]+)"', page.text)
    assert len(shown) == 1, "ada's other one"
    assert not any(person.http.cookies[COOKIE] in page.text for person in (ada, second, eve))
    csrf = ada.form()["csrf"]
    await ada.http.post("/account/sessions", data={"csrf": csrf, "do": "end", "session": hers.id})
    assert await is_in(server, eve.http.cookies[COOKIE]), "another person's lives on"
    await ada.http.post("/account/sessions", data={"csrf": csrf, "do": "end", "session": shown[0]})
    assert not await is_in(server, second.http.cookies[COOKIE])
    assert not await is_in(server, shown[0]), "an identifier is no cookie"


async def test_lg_19_very_many_sessions_of_one_person_are_bounded(ada: Person) -> None:
    server = ada.server
    user = await user_of(server)
    for n in range(sessions.MAX_SESSIONS + 20):
        await sessions.begin(
            server.runtime,
            user.id,
            acr="urn:watchword:aal1",
            amr=("pwd",),
            user_agent=f"agent {n}",
            address="192.0.2.1",
        )
    await ada.sign_in()
    assert ada.path == "/account"
    found = await server.runtime.database.read(
        store.list_sessions, user_id=user.id, now=server.runtime.now(), limit=10_000
    )
    assert len(found) == sessions.MAX_SESSIONS, "the oldest ended"
    page = await ada.open("/account/sessions")
    assert page.text.count('name="session"') <= sessions.MAX_SESSIONS
    await ada.send({"do": "end_others"})
    found = await server.runtime.database.read(store.list_sessions, user_id=user.id, now=server.runtime.now())
    assert len(found) == 1


async def test_a_source_is_counted_by_its_network() -> None:
    from watchword.flows.throttle import network

    assert network("2001:db8::1") == network("2001:db8::ffff") == "2001:db8::/64"
    assert network("2001:db8:0:1::1") != network("2001:db8::1")
    assert network("::ffff:192.0.2.1") == network("192.0.2.1") == "192.0.2.1"
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("unix") == "unix"
    assert Source("192.0.2.1").browser == b""


async def test_a_request_with_two_session_cookies_has_none(ada: Person) -> None:
    await ada.sign_in()
    good = ada.http.cookies[COOKIE]
    async with another(ada.server) as browser:
        headers = {"cookie": f"{COOKIE}=x; {COOKIE}={good}"}
        assert (await browser.get("/account", headers=headers)).status_code == 303
        honest: httpx.Response = await browser.get("/account", headers={"cookie": f"{COOKIE}={good}"})
        assert honest.status_code == 200
