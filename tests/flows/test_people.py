"""People once they are in: step-up, sessions, their own tokens, passkeys, and how guessing is slowed; and what must not work about it."""

import re

from tests.fixtures.accounts import (
    EMAIL,
    OTHER,
    ada,
    add_passkey,
    another,
    change_password,
    make,
    newest,
    options_in,
    server,
    session_of,
    sign_out,
)
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.servers import Server

from watchword.store.audit import events

__all__ = ["ada", "server"]


async def test_a_change_needs_a_fresh_proof_and_comes_back_to_its_place(ada: Person) -> None:
    await ada.sign_in()
    before = ada.http.cookies["ww-session"]
    ada.server.clock.advance(700)
    await ada.open("/account/passkeys")
    assert ada.path == "/step-up", "SE-02"
    await ada.send({"password": "wrong wrong wrong wrong"}, having="method")
    assert "That isn’t your password." in ada.text
    await ada.send({"password": PASSWORD}, having="method")
    assert ada.path == "/account/passkeys", "the place is not lost"
    assert ada.http.cookies["ww-session"] != before


async def test_a_new_cookie_at_every_elevation_and_the_old_one_is_dead(ada: Person) -> None:
    await ada.sign_in()
    old = ada.http.cookies["ww-session"]
    await change_password(ada, PASSWORD, OTHER)
    assert "Your password is changed." in ada.text
    async with another(ada.server) as thief:
        thief.cookies.set("ww-session", old)
        assert (await Person(ada.server, thief).open("/account")).url.path == "/sign-in", "SE-01"
    assert (await ada.open("/account")).url.path == "/account"


async def test_what_a_changed_password_ends_is_recorded_with_the_session_that_changed_it(ada: Person) -> None:
    server = ada.server
    phone = Person(server, another(server, "Mozilla/5.0 (Android 16) Firefox/140.0"))
    await phone.sign_in()
    server.clock.advance(1)
    await ada.sign_in()
    own = await session_of(server)
    await change_password(ada, PASSWORD, OTHER)
    told = await server.runtime.database.read(events.list_events, limit=10)
    ended = {one.name: one.data.get("session") for one in told if one.name != "session.created"}
    assert ended["user.password_changed"] == ended["session.ended"] == own.id


async def test_one_session_or_all_others_end_from_the_list(ada: Person) -> None:
    await ada.sign_in()
    async with another(ada.server, "Mozilla/5.0 (iPhone) Safari/605") as phone, another(ada.server) as third:
        people = [Person(ada.server, phone), Person(ada.server, third)]
        for person in people:
            await person.sign_in()
        await ada.open("/account/sessions")
        assert "Safari on iPhone" in ada.text
        assert "127.0.0.1" in ada.text
        assert ada.page is not None
        of_phone = re.search(
            r"Safari on iPhone.*?name=\"session\" value=\"([^\"]+)\"", ada.page.text, re.DOTALL
        )
        assert of_phone is not None
        await ada.send({"do": "end", "session": of_phone[1]})
        assert (await people[0].open("/account")).url.path == "/sign-in"
        assert (await people[1].open("/account")).url.path == "/account"
        await ada.open("/account/sessions")
        await ada.send({"do": "end_others"})
        assert (await people[1].open("/account")).url.path == "/sign-in"
        assert (await ada.open("/account")).url.path == "/account"


async def test_nobody_ends_the_session_of_another_person(ada: Person) -> None:
    await ada.sign_in()
    victim = await session_of(ada.server)
    await make(ada.server, "eve", "eve@example.com")
    async with another(ada.server) as browser:
        eve = Person(ada.server, browser)
        await eve.sign_in("eve")
        await eve.open("/account")
        own = await session_of(ada.server, "eve")
        for target in (victim.id, own.id):
            form = {"csrf": eve.form()["csrf"], "do": "end", "session": target}
            assert (await browser.post("/account/sessions", data=form)).status_code == 303
    assert (await ada.open("/account")).url.path == "/account", "LG-18"


async def test_people_make_tokens_of_scopes_that_were_opened_to_them_and_no_others(ada: Person) -> None:
    await ada.sign_in()
    await ada.open("/account/tokens/new")
    assert "Read your notes" in ada.text
    await ada.send({"name": "script", "scope": "notes:read", "days": "30"}, having="name")
    assert ada.page is not None
    found = re.search(r"\bwwa_[0-9A-Za-z]{36}\b", ada.page.text)
    assert found is not None
    headers = {"authorization": f"Bearer {found[0]}"}
    answer = (await ada.http.get("/api/v1/tokens/self", headers=headers)).json()
    assert answer["scope"] == "notes:read"
    await ada.open("/account/tokens")
    assert found[0] not in ada.page.text
    assert "script" in ada.text
    await ada.open("/account/tokens/new")
    refused = await ada.send({"name": "more", "scope": "admin", "days": "30"}, having="name")
    assert refused.status_code == 400, "AP-05"
    assert not re.search(r"\bwwa_[0-9A-Za-z]{36}\b", refused.text)
    await ada.open("/account/tokens")
    await ada.send({"do": "revoke"}, having="token", index=-1)
    assert (await ada.http.get("/api/v1/tokens/self", headers=headers)).status_code == 401


async def test_ap_01_nobody_changes_a_token_that_is_not_their_own(ada: Person) -> None:
    server = ada.server
    await make(server, "eve", "eve@example.com")
    hers, own, programs = [
        await server.token("notes:read", owner=owner) for owner in ("ada", "eve", "reports")
    ]
    async with another(server) as browser:
        eve = Person(server, browser)
        await eve.sign_in("eve")
        await eve.open("/account/tokens")
        form = eve.form(having="token")
        address = form.pop("")
        for issued, status in ((hers, 404), (programs, 404), (own, 303)):
            for do in ("rotate", "revoke"):
                answer = await browser.post(address, data=form | {"do": do, "token": issued.token.id})
                assert answer.status_code == (200 if status == 303 and do == "rotate" else status)
                assert ("wwa_" in answer.text) is (answer.status_code == 200)
    for issued, status in ((hers, 200), (programs, 200), (own, 401)):
        headers = {"authorization": f"Bearer {issued.secret}"}
        assert (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == status


async def test_administrators_are_offered_what_clients_may_have_but_nothing_that_means_a_sign_in(
    server: Server,
) -> None:
    await make(server, is_admin=True)
    await server.client(scope="openid profile email offline_access orders:read")
    ada = Person(server, another(server))
    await ada.sign_in()
    await ada.open("/account/tokens/new")
    assert ada.page is not None
    offered = set(re.findall(r'name="scope"[^>]*value="([^"]*)"', ada.page.text))
    assert "orders:read" in offered
    assert not offered & {"openid", "profile", "email", "offline_access"}


async def test_a_new_device_is_reported_to_its_owner_and_a_known_one_is_not(ada: Person) -> None:
    await ada.sign_in()
    assert not await letters(ada.server), "the first one is no news"
    await sign_out(ada)
    await ada.sign_in()
    assert not await letters(ada.server)
    await Person(ada.server, another(ada.server, "Mozilla/5.0 (iPhone) Safari/605")).sign_in()
    to, text = (await letters(ada.server))[0]
    assert to == EMAIL
    assert "Safari on iPhone" in text


async def test_a_passkey_signs_in_alone_and_says_so(ada: Person) -> None:
    device = await add_passkey(ada)
    async with another(ada.server) as browser:
        person = Person(ada.server, browser)
        await person.open("/sign-in")
        form = person.form(having="challenge")
        answer = device.get(options_in(person), origin="http://localhost")
        await person.send({"credential": answer}, having="challenge")
        assert person.path == "/account", person.text
        session = await session_of(ada.server)
        assert session.acr == "urn:watchword:aal2-phr"
        assert {"pop", "user", "mfa"} <= set(session.amr)
        async with another(ada.server) as thief:
            await thief.get("/sign-in")
            thief.cookies.set("ww-browser", browser.cookies["ww-browser"])
            replayed = Person(ada.server, thief)
            await replayed.open("/sign-in")
            await replayed.send({"credential": answer, "challenge": form["challenge"]}, having="challenge")
            assert replayed.path == "/sign-in", "PS-03: a challenge is answered once"


async def test_a_passkey_is_renamed_and_removed_and_then_unknown(ada: Person) -> None:
    device = await add_passkey(ada)
    await ada.send({"do": "rename", "name": "Old laptop"}, having="passkey")
    assert "Old laptop" in ada.text
    renamed, own = await newest(ada.server, "passkey.renamed"), await session_of(ada.server)
    assert (renamed.actor, renamed.data["session"]) == (own.user_id, own.id)
    await ada.send({"do": "remove"}, having="passkey", index=1)
    assert "Passkey removed." in ada.text
    person = Person(ada.server, another(ada.server))
    await person.open("/sign-in")
    answer = device.get(options_in(person), origin="http://localhost")
    await person.send({"credential": answer}, having="challenge")
    assert "We don’t know this passkey." in person.text


async def sign_in_elsewhere(server: Server) -> str:
    """Sign in with a browser of its own; return where that led."""
    person = Person(server, another(server))
    await person.sign_in()
    return person.path


async def test_whoever_signs_in_often_is_not_slowed(ada: Person) -> None:
    assert {await sign_in_elsewhere(ada.server) for _ in range(12)} == {"/account"}


async def test_lg_03_a_success_hides_no_guess(ada: Person) -> None:
    for round in range(10):
        assert (await ada.sign_in(password="wrong wrong wrong wrong")).status_code == 401
        if round < 9:
            assert await sign_in_elsewhere(ada.server) == "/account", "the honest variant"
    assert (await ada.sign_in()).status_code == 429, "ten wrong ones, whatever came between"


async def test_guessing_is_slowed_and_nobody_is_locked_out_for_ever(ada: Person) -> None:
    for _ in range(10):
        await ada.sign_in(password="wrong wrong wrong wrong")
    assert (await ada.sign_in()).status_code == 429, "LG-01"
    ada.server.clock.advance(61)
    await ada.sign_in()
    assert ada.path == "/account", "LG-02"
