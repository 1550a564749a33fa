"""People by the JSON API and by what applications ask of their sign-in."""

import base64
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.fixtures.accounts import (
    EMAIL,
    add_passkey,
    add_totp,
    another,
    code_of,
    make,
    options_in,
    session_of,
    user_of,
)
from tests.fixtures.code_flow import answer_of, redeem, register, request
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server

from watchword.credentials import methods
from watchword.credentials.methods import Method
from watchword.flows import sessions
from watchword.flows.runtime import Runtime
from watchword.flows.users import accounts
from watchword.flows.users import people as people_flow
from watchword.flows.users.people import Changes, change
from watchword.jose import strict_json
from watchword.store import links
from watchword.store.users import User

# The application: mail is kept to be shown
people = server_with(mode="development")


async def headers(server: Server, scope: str) -> dict[str, str]:
    """Return the header of a token for this server's API."""
    issued = await server.token(scope)
    return {"authorization": f"Bearer {issued.secret}"}


async def test_an_account_lives_its_life_by_the_api(server: Server) -> None:
    own = await headers(server, "watchword:users:read watchword:users:write")
    given = {"username": "Kim", "email": "kim@example.com", "email_verified": True, "password": PASSWORD}
    made = await server.http.post("/api/v1/users", json=given, headers=own)
    assert made.status_code == 201, made.text
    address = f"/api/v1/users/{made.json()['id']}"
    assert PASSWORD not in made.text
    assert "argon2" not in made.text
    changed = await server.http.patch(
        address, json={"display_name": "Kim L", "attributes": {"given_name": "Kim"}}, headers=own
    )
    assert changed.json()["attributes"] == {"given_name": "Kim"}
    assert (await server.http.get("/api/v1/users?search=kim", headers=own)).json()["users"][0][
        "username"
    ] == "Kim"
    person = Person(server, another(server))
    await person.sign_in("kim@example.com")
    assert person.path == "/account"
    assert (await server.http.post(f"{address}/disable", json={}, headers=own)).status_code == 200
    assert (await person.open("/account")).url.path == "/sign-in"
    assert (await person.sign_in("kim")).status_code == 401
    vain = (await server.http.post(f"{address}/reset-link", json={}, headers=own)).json()
    assert vain.pop("disabled") is True, "it is told, for the link leads nowhere"
    assert (await person.open(vain["link"])).status_code == 404
    await server.http.post(f"{address}/enable", json={}, headers=own)
    made = (await server.http.post(f"{address}/reset-link", json={}, headers=own)).json()
    assert made.keys() == vain.keys()
    await person.open(made["link"])
    await person.send({"new_password": "another set of words entirely"}, having="link")
    await person.sign_in("kim", "another set of words entirely")
    assert person.path == "/account"
    assert (await server.http.delete(address, headers=own)).status_code == 204
    assert (await server.http.get(address, headers=own)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "says"),
    [("POST", "/disable", "switched off your account"), ("DELETE", "", "was deleted")],
    ids=["switched off", "deleted"],
)
async def test_whose_account_an_administrator_ends_is_told_by_mail(
    people: Server, method: str, path: str, says: str
) -> None:
    user = await make(people)
    own = await headers(people, "watchword:users:write")
    for _ in range(2):
        await people.http.request(method, f"/api/v1/users/{user.id}{path}", json={}, headers=own)
    told = [text for to, text in await letters(people) if to == EMAIL]
    assert len(told) == 1
    assert "can no longer be used" in told[0]
    assert says in told[0]
    assert "From:" not in told[0], "where an administrator is concerns nobody"


@pytest.mark.parametrize(
    ("locale", "says"),
    [("de-AT", "deaktiviert"), ("tlh", "switched off your account"), (7, "switched off your account")],
)
async def test_what_an_administrator_does_is_told_in_the_language_that_the_account_names(
    people: Server, locale: object, says: str
) -> None:
    user = await make(people)
    own = await headers(people, "watchword:users:write")
    for verb, given in (("PATCH", {"attributes": {"locale": locale}}), ("POST", {})):
        path = "/disable" if verb == "POST" else ""
        changed = await people.http.request(verb, f"/api/v1/users/{user.id}{path}", json=given, headers=own)
        assert changed.is_success, changed.text
    assert says in (await letters(people, None))[0][1]


async def test_who_deletes_an_account_of_their_own_is_told_from_where_it_was_done(people: Server) -> None:
    await make(people)
    person = Person(people, another(people))
    await person.sign_in()
    await person.open("/account/delete")
    await person.send({"identifier": "ada"}, having="identifier")
    assert person.path == "/sign-in"
    to, text = (await letters(people))[0]
    assert to == EMAIL
    assert "was deleted" in text
    assert "Device: Firefox" in text


async def test_an_administrator_is_invited_by_a_token_of_who_could_do_so_on_the_page(server: Server) -> None:
    wanted = {"email": "other@example.com", "is_admin": True}
    for name, is_admin in (("kim", True), ("eve", False)):
        await accounts.create(server.runtime, username=name, is_admin=is_admin, actor="test")
        token = await server.token("watchword:admin", owner=name)
        power = {"authorization": f"Bearer {token.secret}"}
        answer = await server.http.post("/api/v1/users/invite", json=wanted, headers=power)
        if is_admin:
            assert (await server.http.get(answer.json()["link"])).status_code == 200
            continue
        assert (answer.status_code, answer.json()["field"]) == (403, "is_admin")
        plain = await server.http.post(
            "/api/v1/users/invite", json=wanted | {"is_admin": False}, headers=power
        )
        assert (await server.http.get(plain.json()["link"])).status_code == 200


async def test_who_manages_people_makes_nobody_an_administrator_by_it(server: Server) -> None:
    low = await headers(server, "watchword:users:read watchword:users:write watchword:sessions:write")
    high = await headers(server, "watchword:admin")
    admin = {"username": "root", "email": "root@example.com", "is_admin": True}
    assert (await server.http.post("/api/v1/users", json=admin, headers=low)).status_code == 403, "AP-05"
    made = await server.http.post("/api/v1/users", json=admin, headers=high)
    assert made.status_code == 201
    address = f"/api/v1/users/{made.json()['id']}"
    for method, path, body in (
        ("POST", "/reset-link", {}),
        ("PATCH", "", {"email": "thief@example.com"}),
        ("DELETE", "/factors", None),
        ("POST", "/disable", {}),
        ("DELETE", "", None),
    ):
        refused = await server.http.request(method, address + path, json=body, headers=low)
        assert refused.status_code == 403, (method, path)
    plain = await server.http.post("/api/v1/users", json={"username": "eve"}, headers=low)
    promoted = await server.http.patch(
        f"/api/v1/users/{plain.json()['id']}", json={"is_admin": True}, headers=low
    )
    assert promoted.status_code == 403
    invited = {"email": "other@example.com", "is_admin": True}
    assert (await server.http.post("/api/v1/users/invite", json=invited, headers=low)).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/reset-link", {}),
        ("PATCH", "", {"email": "thief@example.com"}),
        ("DELETE", "/factors", None),
        ("POST", "/disable", {}),
        ("DELETE", "", None),
    ],
)
async def test_ap_05_who_manages_people_changes_nobody_who_becomes_an_administrator_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch, method: str, path: str, body: dict[str, object] | None
) -> None:
    low = await headers(server, "watchword:users:read watchword:users:write")
    await make(server)
    eve = await make(server, "eve", "eve@example.com")
    asked: dict[str, Any] = {"json": body, "headers": low}
    done = await server.http.request(method, f"/api/v1/users/{eve.id}{path}", **asked)
    assert done.is_success, "the honest variant"
    ada, find = await user_of(server), people_flow.find

    async def promoted_just_now(runtime: Runtime, who: str) -> User:
        found = await find(runtime, who)
        if not (await user_of(server)).is_admin:
            await change(server.runtime, found, Changes(is_admin=True), actor="test")
        return found

    monkeypatch.setattr(people_flow, "find", promoted_just_now)
    refused = await server.http.request(method, f"/api/v1/users/{ada.id}{path}", **asked)
    assert refused.status_code == 403
    assert "insufficient_scope" in refused.headers["www-authenticate"]
    read, now = server.runtime.database.read, server.runtime.now()
    assert await read(links.find_live_link, ada.id, "reset_password", now) is None
    left = await user_of(server)
    assert (left.email, left.disabled_at, left.is_admin) == (EMAIL, None, True)
    assert left.proof_epoch == ada.proof_epoch
    own = await headers(server, "watchword:admin")
    may = await server.http.request(method, f"/api/v1/users/{ada.id}{path}", json=body, headers=own)
    assert may.status_code != 403, "who may change administrators"


async def test_sessions_are_listed_and_ended_by_the_api(server: Server) -> None:
    await make(server)
    own = await headers(server, "watchword:sessions:read watchword:sessions:write")
    async with another(server) as first, another(server) as second:
        people = [Person(server, first), Person(server, second)]
        for person in people:
            await person.sign_in()
        listed = (await server.http.get("/api/v1/sessions?user=ada", headers=own)).json()["sessions"]
        assert len(listed) == 2
        eve = await make(server, "eve", "eve@example.com")
        assert (await server.http.get(f"/api/v1/sessions?user={eve.id}", headers=own)).json()[
            "sessions"
        ] == []
        assert (await server.http.get("/api/v1/sessions?user=nobody", headers=own)).status_code == 404
        for_all = (await server.http.get("/api/v1/sessions?limit=1", headers=own)).json()
        rest = (await server.http.get(f"/api/v1/sessions?cursor={for_all['next']}", headers=own)).json()
        assert {for_all["sessions"][0]["id"], rest["sessions"][0]["id"]} == {one["id"] for one in listed}
        gone = await server.http.delete(f"/api/v1/sessions/{listed[0]['id']}", headers=own)
        assert gone.status_code == 204
        assert sorted([(await person.open("/account")).url.path for person in people]) == [
            "/account",
            "/sign-in",
        ]
        ended = await server.http.post("/api/v1/users/ada/sessions/end", json={}, headers=own)
        assert ended.json()["ended"] == [listed[1]["id"]]
        assert {(await person.open("/account")).url.path for person in people} == {"/sign-in"}


async def test_an_application_asks_for_more_and_gets_it_without_losing_the_place(server: Server) -> None:
    await make(server)
    client = await register(server)
    person = Person(server, another(server))
    await person.sign_in()
    key = await add_totp(person)
    server.clock.advance(31)
    async with another(server) as browser:
        person = Person(server, browser)
        await _trust(person, key)
        await browser.get("/sign-out")
        await person.sign_in()
        assert person.path == "/account", "this browser is spared the second factor"
        wanted = request(client, acr_values="urn:watchword:aal2", scope="openid")
        await person.open(f"/authorize?{urlencode(wanted)}")
        assert person.path == "/step-up"
        assert client.client.name in person.text
        server.clock.advance(31)
        await person.send({"code": code_of(server, key)}, having="method")
        assert person.path == "/authorize/resume"
        await person.send({"decision": "approve"}, having="interaction")
        assert person.page is not None
        answer = answer_of(person.page)
        tokens = (await redeem(server, client, answer["code"])).json()
        claims = _claims(tokens["id_token"])
        assert claims["acr"] == "urn:watchword:aal2"
        assert claims["auth_time"] == server.runtime.now(), "RFC 9470: the time of the step-up"


async def test_who_came_by_an_identity_is_asked_for_the_passkey_that_reaches_what_an_application_asks(
    server: Server,
) -> None:
    await make(server)
    client = await register(server)
    async with another(server) as browser:
        person = Person(server, browser)
        device = await add_passkey(person)
        acr, amr = methods.assurance((Method.IDENTITY,))
        cookie = await sessions.elevate(server.runtime, await session_of(server), acr=acr, amr=amr)
        browser.cookies.set("ww-session", cookie or "", domain="localhost.local")
        wanted = request(client, acr_values=methods.PHISHING_RESISTANT, scope="openid")
        await person.open(f"/authorize?{urlencode(wanted)}")
        assert person.path == "/step-up"
        proof = device.get(options_in(person), origin=server.settings.issuer)
        await person.send({"credential": proof}, having="challenge")
        assert person.path == "/authorize/resume"
        assert (await session_of(server)).acr == methods.PHISHING_RESISTANT


async def _trust(person: Person, key: bytes) -> None:
    await person.sign_in()
    await person.send({"code": code_of(person.server, key), "remember": "yes"}, having="method")
    await person.open("/sign-out")
    await person.send({"decision": "sign_out"})


def _claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    claims = strict_json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert isinstance(claims, dict)
    return claims


async def test_who_can_prove_no_more_is_answered_with_what_there_is(server: Server) -> None:
    await make(server)
    client = await register(server)
    person = Person(server, another(server))
    await person.sign_in()
    await person.open(
        f"/authorize?{urlencode(request(client, acr_values='urn:watchword:aal2', scope='openid'))}"
    )
    assert person.path == "/authorize/resume", "nothing more can be proved, so nobody is held up"
    await person.send({"decision": "approve"}, having="interaction")
    assert person.page is not None
    tokens = (await redeem(server, client, answer_of(person.page)["code"])).json()
    assert _claims(tokens["id_token"])["acr"] == "urn:watchword:aal1"


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example", "/\\evil.example"])
async def test_a_sign_in_leads_to_no_other_server(server: Server, address: str) -> None:
    await make(server)
    person = Person(server, another(server))
    await person.open(f"/sign-in?return={base64.urlsafe_b64encode(b'x' * 16 + address.encode()).decode()}")
    await person.send({"identifier": "ada", "password": PASSWORD})
    assert person.path == "/account", "SE-12"
    assert str(person.page.url).startswith(server.settings.issuer) if person.page else False


PASSWORD_PAGES = (
    ("GET", "/recover"),
    ("POST", "/recover"),
    ("GET", "/reset-password"),
    ("POST", "/reset-password"),
    ("GET", "/account/password"),
    ("POST", "/account/password"),
    ("GET", "/.well-known/change-password"),
)


@pytest.mark.parametrize("taken", [True, False], ids=["where passwords are taken", "where they are not"])
async def test_pages_about_passwords_are_there_where_passwords_are_taken(tmp_path: Path, taken: bool) -> None:
    ways: tuple[str, ...] = ("password", "passkey", "identity") if taken else ("passkey", "identity")
    given = {"mode": "development", "sign_up": "open", "sign_in_methods": ways}
    async with open_server(tmp_path, **given) as server, another(server) as browser:
        user = await make(server)
        proved = {"acr": "urn:watchword:aal2-phr", "amr": ("pop", "user", "mfa")}
        _, cookie = await sessions.begin(server.runtime, user.id, **proved, user_agent="", address="")
        person = Person(server, browser)
        await person.open("/sign-in")
        assert person.page is not None
        assert [name in person.page.text for name in ("/recover", "/sign-up")] == [taken, True]
        browser.cookies.set("ww-session", cookie)
        await person.open("/account")
        assert person.path == "/account"
        assert ("/account/password" in person.page.text) is taken
        inside = person.form()["csrf"]
        await person.open("/sign-out")
        outside = person.form()["csrf"]
        for method, path in PASSWORD_PAGES:
            csrf = inside if path.startswith("/account") else outside
            form = {"csrf": csrf, "identifier": "ada", "email": "new@example.com"}
            answer = await browser.request(method, path, data=form if method == "POST" else None)
            if not taken:
                assert answer.status_code == 404, (method, path)
            elif path != "/reset-password":  # its honest variant needs a link
                assert answer.status_code != 404, (method, path)
        if not taken:
            assert "There are no passwords here" in (await person.open("/account/password")).text
        own = await headers(server, "watchword:users:write")
        made = await server.http.post(f"/api/v1/users/{user.id}/reset-link", json={}, headers=own)
        assert made.status_code == 201, made.text
        page = await person.open(made.json()["link"])
        assert 'data-passkey="create"' in page.text
        assert ("new_password" in page.text) is taken
