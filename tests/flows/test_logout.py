"""Signing out as clients see it: RP-initiated logout, and the names that clients have for a session."""

import html
import re

import httpx
import pytest
from tests.fixtures.accounts import another, make, session_of
from tests.fixtures.applications import BYE, OFFLINE, ada, application, connect, is_alive, is_signed_in
from tests.fixtures.code_flow import refresh, request
from tests.fixtures.people import Person
from tests.fixtures.relying_party import claims_of
from tests.fixtures.servers import Server

from watchword.flows import logout
from watchword.jose import jwk, jwt

__all__ = ["ada"]


async def test_discovery_says_what_is_there(server: Server) -> None:
    document = (await server.http.get("/.well-known/openid-configuration")).json()
    assert document["end_session_endpoint"] == "http://localhost/logout"
    for channel in ("backchannel", "frontchannel"):
        assert document[f"{channel}_logout_supported"] is True
        assert document[f"{channel}_logout_session_supported"] is True


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_client_signs_its_person_out_and_gets_them_back(ada: Person, method: str) -> None:
    client = await application(ada.server)
    tokens = await connect(ada, client)
    ada.server.clock.advance(3 * 3600)  # the ID token has long expired
    asked = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BYE, "state": "a b&c"}
    sent = {"params": asked} if method == "GET" else {"data": asked}
    answer = await ada.http.request(method, "/logout", **sent)  # type: ignore[arg-type]  # one of two shapes
    assert (answer.status_code, answer.headers["location"]) == (303, f"{BYE}?state=a%20b%26c")
    assert not await is_signed_in(ada)
    assert not await is_alive(ada.server, client, tokens["access_token"]), "TK-02"


async def test_a_post_from_another_site_finds_the_session_by_the_get_that_follows(ada: Person) -> None:
    client = await application(ada.server)
    tokens = await connect(ada, client)
    asked = {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": BYE}
    async with another(ada.server) as without_cookies:  # as a browser sends it: SameSite=Lax
        answer = await without_cookies.post("/logout", data=asked)
    assert await is_signed_in(ada)
    location = answer.headers["location"]
    assert tokens["id_token"] not in location
    assert (await ada.open(location)).headers["location"] == BYE
    assert not await is_signed_in(ada)


async def test_without_a_hint_the_person_is_asked_and_may_stay(ada: Person) -> None:
    client = await application(ada.server)
    asked = {"client_id": client.client.client_id, "post_logout_redirect_uri": BYE, "ui_locales": "de"}
    page = await ada.open(str(httpx.URL("/logout", params=asked)))
    assert page.status_code == 200
    assert "a client möchte Sie auf diesem Gerät" in re.sub(r"\s+", " ", ada.text)
    assert "form-action 'self' https://app.example.com;" in page.headers["content-security-policy"]
    assert await is_signed_in(ada), "LO: a link alone ends nothing"
    await ada.send({"decision": "stay"})
    assert await is_signed_in(ada)
    await ada.open(str(httpx.URL("/logout", params=asked)))
    gone = await ada.send({"decision": "sign_out"})
    assert gone.headers["location"] == BYE
    assert not await is_signed_in(ada)


async def test_a_hint_of_another_person_or_of_an_older_session_asks_first(ada: Person) -> None:
    client = await application(ada.server)
    mine = (await connect(ada, client))["id_token"]
    await make(ada.server, "grace", "grace@example.com")
    grace = Person(ada.server, another(ada.server))
    await grace.sign_in("grace")
    theirs = (await connect(grace, client))["id_token"]
    asked = await grace.open(str(httpx.URL("/logout", params={"id_token_hint": mine})))
    assert asked.status_code == 200
    assert await is_signed_in(grace)
    assert await is_signed_in(ada)
    await grace.open(str(httpx.URL("/logout", params={"id_token_hint": theirs})))
    assert not await is_signed_in(grace), "the honest variant"
    await grace.sign_in("grace")
    await grace.open(str(httpx.URL("/logout", params={"id_token_hint": theirs})))
    assert await is_signed_in(grace), "the hint is of the session before"


@pytest.mark.parametrize("named", ["name", "address", "sub", "sid", "nobody", "somebody else", "garbage"])
async def test_a_name_that_is_not_of_the_signed_in_person_asks_first(ada: Person, named: str) -> None:
    client = await application(ada.server)
    await make(ada.server, "grace", "grace@example.com")
    tokens = await connect(ada, client)
    claims = claims_of(tokens["id_token"])
    hint = {
        "name": "ADA", "address": "ada@example.com", "sub": claims["sub"], "sid": claims["sid"],
        "nobody": "nobody", "somebody else": "grace@example.com", "garbage": "\u202e😀@",
    }[named]  # fmt: skip
    asked = {"logout_hint": hint, "post_logout_redirect_uri": BYE}
    page = await ada.open(str(httpx.URL("/logout", params={**asked, "client_id": client.client.client_id})))
    assert page.status_code == 200, "a name alone, which anybody may guess, ends no session"
    means_ada = named in ("name", "address", "sub", "sid")
    assert ("a different account" in ada.text) is not means_ada
    answer = await ada.open(str(httpx.URL("/logout", params={**asked, "id_token_hint": tokens["id_token"]})))
    assert (answer.headers.get("location") == BYE) is means_ada
    assert await is_signed_in(ada) is not means_ada
    if not means_ada:
        assert "a different account" in ada.text
        gone = await ada.send({"decision": "sign_out"})
        assert gone.headers["location"] == BYE
        assert not await is_signed_in(ada)


async def test_a_hint_counts_after_its_key_was_rotated_out_but_not_after_it_was_withdrawn(
    ada: Person,
) -> None:
    client = await application(ada.server)
    token = (await connect(ada, client))["id_token"]
    kid = (await ada.server.runtime.keyring.signing_key("ES256")).kid
    await ada.server.runtime.keyring.rotate("ES256", actor="test")
    ada.server.clock.advance(3 * 86_400)
    await ada.sign_in(remember="yes")
    await ada.server.runtime.keyring.reload()
    assert not ada.server.runtime.keyring.is_known(kid), "it is published no more"
    silent = request(client, prompt="none", id_token_hint=token)
    assert "code=" in (await ada.http.get("/authorize", params=silent)).headers["location"]
    bye = {"id_token_hint": token, "post_logout_redirect_uri": BYE}
    await ada.http.get("/logout", params=bye)
    async with another(ada.server) as nobody:
        answer = await nobody.get("/logout", params=bye)
        assert answer.headers["location"] == BYE
        forged = jwt.encode(jwk.generate("ES256", kid=kid), claims_of(token), "JWT")
        answer = await nobody.get("/logout", params=bye | {"id_token_hint": forged})
        assert answer.status_code == 200


async def test_the_client_and_the_hint_must_agree(ada: Person) -> None:
    client, other = await application(ada.server), await application(ada.server)
    token = (await connect(ada, client))["id_token"]
    asked = {"id_token_hint": token, "client_id": other.client.client_id, "post_logout_redirect_uri": BYE}
    answer = await ada.http.get("/logout", params=asked)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert await is_signed_in(ada)


HOSTILE = [
    "https://evil.example/", BYE + "/", BYE + "?a=1", BYE + "#x", "https://app.example.com@evil.example/bye",
    "javascript:alert(1)", "//evil.example", "http://[", BYE + "\r\nset-cookie: a=b", "\u202e", "x" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("proof", ["hint", "client_id", "nothing", "unknown client", "garbage hint"])
async def test_lo_02_nobody_is_sent_to_an_address_that_is_not_registered(ada: Person, proof: str) -> None:
    client = await application(ada.server)
    for target in (BYE, *HOSTILE):
        if not await is_signed_in(ada):
            ada.server.clock.advance(60)  # who signs in too often has to wait
            await ada.sign_in()
        given = {
            "hint": {"id_token_hint": (await connect(ada, client))["id_token"]},
            "client_id": {"client_id": client.client.client_id},
            "nothing": {},
            "unknown client": {"client_id": "nobody"},
            "garbage hint": {"id_token_hint": "eyJ.e30.AAAA"},
        }[proof]
        answer = await ada.open(
            str(httpx.URL("/logout", params={**given, "post_logout_redirect_uri": target}))
        )
        if proof != "hint":
            answer = await ada.send({"decision": "sign_out"})
        assert answer.status_code in (200, 303), (target, answer.text)
        honest = target == BYE and proof in ("hint", "client_id")
        assert answer.headers.get("location") == (BYE if honest else None), target
        assert not await is_signed_in(ada)


@pytest.mark.parametrize("field", ["id_token_hint", "client_id", "state", "logout_hint", "ui_locales", "post_logout_redirect_uri"])  # fmt: skip
async def test_lo_05_markup_and_garbage_are_escaped_and_never_a_failure(ada: Person, field: str) -> None:
    client = await application(ada.server, name="<img src=x onerror=alert(1)>")
    for value in ('"><script>alert(1)</script>', "\x00", "%", "a" * 60_000, "\ud7ff\uffff", "{{7*7}}"):
        for asked in ({field: value}, {"client_id": client.client.client_id} | {field: value}):
            for sent in ({"params": asked}, {"data": asked}):
                method = "GET" if "params" in sent else "POST"
                answer = await ada.http.request(method, "/logout", **sent)  # type: ignore[arg-type]  # one of two shapes
                assert answer.status_code < 500, value[:40]
                assert "<script>alert" not in answer.text
                assert "<img src=x" not in answer.text
                assert "{{7*7}}" not in answer.text.replace("&#", "")
        if len(value) < 100:
            device = await ada.http.get("/device", params={"user_code": value})
            assert device.status_code < 500
            assert "<script>alert" not in device.text
    twice = await ada.http.get("/logout?state=a&state=b")
    assert twice.status_code == 400
    assert await is_signed_in(ada), "none of it ended the session"
    page = await ada.open(f"/logout?client_id={client.client.client_id}")
    assert "&lt;img src=x" in page.text, "the honest name is shown as text"


@pytest.mark.parametrize("way", ["form", "hint", "everywhere"])
async def test_lo_04_the_cookies_of_before_are_dead_after_sign_out(ada: Person, way: str) -> None:
    client = await application(ada.server)
    token = (await connect(ada, client))["id_token"]
    stolen = dict(ada.http.cookies)
    async with another(ada.server) as second, another(ada.server) as thief:
        elsewhere = Person(ada.server, second)
        await elsewhere.sign_in()
        thief.cookies.update(stolen)
        assert (await thief.get("/account")).status_code == 200, "before, a copy works"
        if way == "hint":
            await ada.http.get("/logout", params={"id_token_hint": token})
        else:
            await ada.open("/sign-out")
            await ada.send({"decision": "sign_out", **({"everywhere": "yes"} if way == "everywhere" else {})})
        assert (await thief.get("/account")).status_code == 303
        assert await is_signed_in(elsewhere) == (way != "everywhere")


async def test_a_sign_out_form_of_another_browser_ends_nothing(ada: Person) -> None:
    await ada.open("/sign-out")
    form = ada.form()
    async with another(ada.server) as browser:
        grace = Person(ada.server, browser)
        await grace.sign_in()
        refused = await browser.post("/sign-out", data={"csrf": form["csrf"], "decision": "sign_out"})
        assert refused.status_code == 400
        assert await is_signed_in(ada)
        assert await is_signed_in(grace)


async def test_every_client_has_its_own_name_for_a_session_and_it_lasts(ada: Person) -> None:
    client, other = await application(ada.server), await application(ada.server)
    first, second = await connect(ada, client, OFFLINE), await connect(ada, other)
    sid = claims_of(first["id_token"])["sid"]
    assert sid not in (claims_of(second["id_token"])["sid"], (await session_of(ada.server)).id)
    assert claims_of((await connect(ada, client))["id_token"])["sid"] == sid
    renewed = (await refresh(ada.server, client, first["refresh_token"])).json()
    assert claims_of(renewed["id_token"])["sid"] == sid
    await ada.sign_in()  # again, in the same browser: the same session goes on
    assert claims_of((await connect(ada, client))["id_token"])["sid"] == sid
    elsewhere = Person(ada.server, another(ada.server))
    await elsewhere.sign_in()
    assert claims_of((await connect(elsewhere, client))["id_token"])["sid"] != sid


async def test_the_last_page_loads_the_applications_that_want_it_and_its_policy_allows_no_other(
    ada: Person,
) -> None:
    server = ada.server
    leave = "https://app.example.com/front?a=1"
    wants_session = await application(
        server, frontchannel_logout_uri=leave, frontchannel_logout_session_required=True
    )
    plain = await application(server, frontchannel_logout_uri="https://app.example.com/plain")
    await application(server, frontchannel_logout_uri="https://app.example.com/never-used")
    token = (await connect(ada, wants_session))["id_token"]
    await connect(ada, plain)
    asked = {"id_token_hint": token, "post_logout_redirect_uri": BYE, "ui_locales": "de"}
    assert "ww-session" in ada.http.cookies
    page = await ada.http.get("/logout", params=asked)
    assert page.status_code == 200
    assert '<html lang="de"' in page.text
    assert "ww-session" not in ada.http.cookies
    frames = [html.unescape(found) for found in re.findall(r'<iframe hidden src="([^"]+)"', page.text)]
    sid = claims_of(token)["sid"]
    assert sorted(
        frames
    ) == [  # in no order that is promised: what two clients of one moment are called decides
        f"{leave}&iss=http%3A%2F%2Flocalhost&sid={sid}",
        "https://app.example.com/plain",
    ]
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy["frame-src"] == "https://app.example.com"
    ordinary = dict(
        part.split(" ", 1)
        for part in (await ada.http.get("/sign-in")).headers["content-security-policy"].split("; ")
    )
    assert ordinary["frame-src"] == "'none'"
    assert {**policy, "frame-src": ""} == {**ordinary, "frame-src": ""}, "nothing else is loosened"
    assert f'href="{BYE}" data-continue' in page.text
    assert not await is_signed_in(ada)


async def test_the_last_page_has_a_bounded_number_of_frames(ada: Person) -> None:
    for number in range(logout.MAX_FRAMES + 1):
        client = await application(ada.server, frontchannel_logout_uri=f"https://app.example.com/{number}")
        await connect(ada, client)
    await ada.open("/sign-out")
    page = await ada.send({"decision": "sign_out"})
    assert page.text.count("<iframe") == logout.MAX_FRAMES
