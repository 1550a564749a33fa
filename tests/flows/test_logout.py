"""Signing out as clients see it: RP-initiated logout, what a session leaves behind, and who may end which session."""

import html
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.fixtures.accounts import another, make, session_of, user_of
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.postgres import Store
from tests.fixtures.relying_party import claims_of
from tests.fixtures.servers import Server, open_server, together
from tests.flows.test_authorization_code import REDIRECT, redeem, refresh, register, request

from watchword import jobs
from watchword.flows import account_changes, client_registry, logout, people
from watchword.flows.client_registry import Registered
from watchword.flows.mail import Origin
from watchword.jose import jwk, jwt
from watchword.store.database import Transaction

BYE = "https://app.example.com/bye"
OFFLINE = "openid orders:read offline_access"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


@pytest_asyncio.fixture
async def ada(server: Server) -> AsyncIterator[Person]:
    """A person who is signed in."""
    await make(server)
    async with another(server) as browser:
        person = Person(server, browser)
        await person.sign_in()
        yield person


async def application(server: Server, **given: Any) -> Registered:
    """Register an application that people come back to after sign-out."""
    wanted = {"post_logout_redirect_uris": [BYE], "scope": "openid orders:read offline_access"}
    return await register(server, **wanted | given)


async def connect(person: Person, client: Registered, scope: str = "openid orders:read") -> dict[str, Any]:
    """Let an application in as a person does; return the tokens that it gets."""
    code = await code_for(person, client, scope)
    answer = await redeem(person.server, client, code)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


async def code_for(person: Person, client: Registered, scope: str = "openid orders:read") -> str:
    """Let an application in and return the code that it gets."""
    await person.open(str(httpx.URL("/authorize", params=request(client, scope=scope))))
    if person.page is not None and person.page.status_code == 200:
        await person.send({"decision": "approve"}, having="interaction")
    assert person.page is not None
    location = person.page.headers["location"]
    assert location.startswith(REDIRECT), location
    return str(httpx.URL(location).params["code"])


async def is_alive(server: Server, client: Registered, token: str) -> bool:
    """Whether introspection calls a token active."""
    seen = (await server.post("/introspect", client, token=token)).json()
    return bool(seen["active"])


async def is_signed_in(person: Person) -> bool:
    """Whether a browser still has a session."""
    return (await person.http.get("/account")).status_code == 200


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
    async with another(ada.server) as browser:
        grace = Person(ada.server, browser)
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
    assert ("another account" in ada.text) is not means_ada
    answer = await ada.open(str(httpx.URL("/logout", params={**asked, "id_token_hint": tokens["id_token"]})))
    assert (answer.headers.get("location") == BYE) is means_ada
    assert await is_signed_in(ada) is not means_ada
    if not means_ada:
        assert "another account" in ada.text
        gone = await ada.send({"decision": "sign_out"})
        assert gone.headers["location"] == BYE
        assert not await is_signed_in(ada)


async def test_a_hint_counts_after_its_key_was_rotated_out_but_not_after_it_was_withdrawn(
    ada: Person,
) -> None:
    client = await application(ada.server)
    token = (await connect(ada, client))["id_token"]
    kid = ada.server.runtime.keyring.signing_key("ES256").kid
    await ada.server.runtime.keyring.rotate("ES256", actor="test")
    ada.server.clock.advance(3 * 86_400)
    await ada.sign_in(remember="yes")
    await ada.server.runtime.keyring.reload()
    assert ada.server.runtime.keyring.find(kid) is None, "it is published no more"
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
    async with another(ada.server) as browser:
        elsewhere = Person(ada.server, browser)
        await elsewhere.sign_in()
        assert claims_of((await connect(elsewhere, client))["id_token"])["sid"] != sid


ENDS = ("sign out", "end one", "end others", "end others and their access", "administrator", "all of a person", "password", "disable", "delete", "expiry")  # fmt: skip


async def end(ada: Person, way: str) -> None:
    """End Ada's session in one of the ways there are."""
    server, user, session = ada.server, await user_of(ada.server), await session_of(ada.server)
    if way == "sign out":
        await ada.open("/sign-out")
        await ada.send({"decision": "sign_out"})
    elif way.startswith("end"):
        async with another(server) as browser:
            second = Person(server, browser)
            await second.sign_in()
            await second.open("/account/sessions")
            what = {"do": "end", "session": session.id} if way == "end one" else {"do": "end_others"}
            if way == "end others and their access":
                what["end_access"] = "yes"
            await second.send(what)
    elif way == "administrator":
        await people.end_session(server.runtime, session.id, actor="operator")
    elif way == "all of a person":
        await people.end_sessions(server.runtime, user, actor="operator")
    elif way == "password":
        await account_changes.change_password(
            server.runtime, user, old=PASSWORD, new="a different set of words entirely", keep_session="",
            end_others=True, origin=Origin("", ""),
        )  # fmt: skip
    elif way == "disable":
        await account_changes.set_disabled(server.runtime, user, True, actor="operator")
    elif way == "delete":
        await account_changes.delete(server.runtime, user, actor="operator")
    else:
        server.clock.advance(server.settings.session_idle)
        await jobs.housekeeping(server.runtime)


@pytest.mark.parametrize("way", ENDS)
async def test_tk_02_what_was_issued_from_a_session_ends_with_it(ada: Person, way: str) -> None:
    jwt_client = await application(ada.server, access_token_lifetime=86_400)
    opaque = await application(ada.server, access_token_format="opaque", access_token_lifetime=86_400)
    issued = [(client, await connect(ada, client)) for client in (jwt_client, opaque)]
    pending = await code_for(ada, jwt_client)
    for client, tokens in issued:
        assert await is_alive(ada.server, client, tokens["access_token"])
    await end(ada, way)
    for client, tokens in issued:
        assert not await is_alive(ada.server, client, tokens["access_token"])
        assert (await refresh(ada.server, client, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    headers = {"authorization": f"Bearer {issued[0][1]['access_token']}"}
    assert (await ada.server.http.get("/userinfo", headers=headers)).status_code == 401
    assert (await redeem(ada.server, jwt_client, pending)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize("way", ENDS)
async def test_offline_access_outlives_the_session_but_not_the_account_or_a_changed_password(
    ada: Person, way: str
) -> None:
    client = await application(ada.server)
    tokens = await connect(ada, client, OFFLINE)
    await end(ada, way)
    answer = await refresh(ada.server, client, tokens["refresh_token"])
    lives_on = way not in ("password", "disable", "delete", "end others and their access")
    assert (answer.status_code == 200) == lives_on, answer.text


async def test_a_code_for_offline_access_is_worth_nothing_once_its_session_has_ended(ada: Person) -> None:
    client = await application(ada.server)
    assert (await redeem(ada.server, client, await code_for(ada, client, OFFLINE))).status_code == 200
    code = await code_for(ada, client, OFFLINE)
    await end(ada, "sign out")
    assert (await redeem(ada.server, client, code)).json()["error"] == "invalid_grant"


async def test_a_session_that_runs_out_is_ended_and_recorded(ada: Person) -> None:
    session = await session_of(ada.server)
    ada.server.clock.advance(ada.server.settings.session_idle - 1)
    await jobs.housekeeping(ada.server.runtime)
    assert not await ends_of(ada.server, session.id)
    ada.server.clock.advance(1)
    await jobs.housekeeping(ada.server.runtime)
    assert await ends_of(ada.server, session.id) == ["expired"]
    await jobs.housekeeping(ada.server.runtime)
    assert len(await ends_of(ada.server, session.id)) == 1


async def ends_of(server: Server, session_id: str) -> list[str | None]:
    """Return why a session ended, as often as it did."""

    async def read(tx: Transaction) -> list[str | None]:
        rows = await tx.all(
            "SELECT data FROM events WHERE name = 'session.ended' AND target = $1", session_id
        )
        return [json.loads(row["data"]).get("reason") for row in rows]

    return await server.runtime.database.read(read)


async def test_mn_05_after_the_answer_to_a_logout_on_one_node_nothing_that_the_other_refreshed_lives(
    store: Store, tmp_path: Any
) -> None:
    options = {"database": store.address, "key_file": str(tmp_path / "key")}
    async with open_server(tmp_path, **options) as one, open_server(tmp_path, **options) as two:
        await make(one)
        for round_ in range(8):
            client = await application(one, access_token_format="opaque" if round_ % 2 else "jwt")
            async with another(one) as browser:
                ada = Person(one, browser)
                await ada.sign_in()
                tokens = await connect(ada, client)
                if round_ == 0:
                    honest = await refresh(two, client, tokens["refresh_token"])
                    assert honest.status_code == 200, "the honest variant: nobody signs out"
                    assert await is_alive(one, client, honest.json()["access_token"])
                    tokens |= honest.json()
                await ada.open("/sign-out")
                answers = await together(
                    ada.send({"decision": "sign_out"}),
                    *(refresh(two, client, tokens["refresh_token"]) for _ in range(3)),
                )
            assert answers[0].status_code == 200
            for answer in (tokens, *(won.json() for won in answers[1:] if won.status_code == 200)):
                again = await refresh(two, client, answer["refresh_token"])
                assert again.json()["error"] == "invalid_grant"
                assert not await is_alive(one, client, answer["access_token"])
                await two.runtime.keyring.refresh()
                assert not await is_alive(two, client, answer["access_token"])


async def test_ad_07_a_disabled_or_deleted_client_is_worth_nothing_at_once(ada: Person) -> None:
    server = ada.server
    observer = await server.client(
        grant_types=["client_credentials"], scope="introspect", resources=["http://localhost"]
    )
    for how in ("disable", "delete"):
        client = await application(server)
        tokens, code = await connect(ada, client, OFFLINE), await code_for(ada, client, OFFLINE)
        assert await is_alive(server, observer, tokens["access_token"])
        if how == "delete":
            await client_registry.delete(server.runtime, client.client.client_id, actor="test")
        else:
            given = client_registry.to_input(client.client)
            await client_registry.change(
                server.runtime, client.client.client_id, given, expected_version=None, disabled=True, actor="test"
            )  # fmt: skip
        assert not await is_alive(server, observer, tokens["access_token"]), how
        assert (await refresh(server, client, tokens["refresh_token"])).status_code == 401
        assert (await redeem(server, client, code)).status_code == 401
    assert await is_signed_in(ada), "the person's session is not the client's"


@pytest.mark.parametrize("how", ["disable", "delete"])
async def test_ad_07_a_disabled_or_deleted_person_has_nothing_left_at_once(ada: Person, how: str) -> None:
    server = ada.server
    client, device = (
        await application(server),
        await application(server, grant_types=[DEVICE], redirect_uris=[]),
    )
    own = await server.token(owner="ada")
    honest, pending = await approved(ada, device), await approved(ada, device)
    assert (await poll(server, device, honest)).status_code == 200
    tokens, code = await connect(ada, client, OFFLINE), await code_for(ada, client, OFFLINE)
    bearer = {"authorization": f"Bearer {own.secret}"}
    assert (await server.http.get("/api/v1/tokens/self", headers=bearer)).status_code == 200
    await end(ada, how)
    assert not await is_signed_in(ada)
    assert (await server.http.get("/api/v1/tokens/self", headers=bearer)).status_code == 401
    assert not await is_alive(server, client, tokens["access_token"])
    assert (await refresh(server, client, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await redeem(server, client, code)).json()["error"] == "invalid_grant"
    assert (await poll(server, device, pending)).json()["error"] == "invalid_grant"


async def approved(person: Person, client: Registered) -> str:
    """Approve a device as a person does; return its device code."""
    begun = (await person.server.post("/device_authorization", client, scope=OFFLINE)).json()
    await person.open(f"/device?user_code={begun['user_code']}")
    await person.send({}, having="user_code")
    await person.send({"decision": "approve"}, having="user_code")
    return str(begun["device_code"])


async def poll(server: Server, client: Registered, device_code: str) -> httpx.Response:
    """Ask for the tokens of an approved device code."""
    return await server.post("/token", client, grant_type=DEVICE, device_code=device_code)


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
    asked = {"id_token_hint": token, "post_logout_redirect_uri": BYE}
    page = await ada.http.get("/logout", params=asked)
    assert page.status_code == 200
    frames = [html.unescape(found) for found in re.findall(r'<iframe hidden src="([^"]+)"', page.text)]
    sid = claims_of(token)["sid"]
    assert frames == [
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
