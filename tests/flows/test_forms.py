"""Forms of people's pages: sent again, kept too long, made by another browser, filled in with what cannot be used; and what they say then."""

import html
import re
from pathlib import Path

import pytest
from tests.fixtures.accounts import EMAIL, add_totp, another, code_of, make, user_of
from tests.fixtures.applications import ada
from tests.fixtures.people import PASSWORD, Person, letters, link_in
from tests.fixtures.postgres import Store
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server

from watchword.flows import personal_tokens
from watchword.flows.databases import start
from watchword.flows.users import people
from watchword.settings import ScopeText
from watchword.store import factors as factor_store
from watchword.store import faults, users

__all__ = ["ada"]

FIREFOX = "Mozilla/5.0 (X11; Linux) Firefox/140.0"

server = server_with(
    mode="development",
    sign_up="open",
    scopes={"notes:read": ScopeText(sentence="Read your notes", personal=True)},
)


async def send_twice(person: Person, given: dict[str, str], *, having: str, index: int = 0) -> None:
    """Send a form and then the same again, as a page that is loaded again does."""
    fields = {**person.form(having=having, index=index), **given}
    address = fields.pop("")
    first = await person.http.post(address, data=fields)
    assert first.status_code == 200, "the honest variant: it is shown"
    again = await person.http.post(address, data=fields)
    assert again.status_code == 303
    await person.open(again.headers["location"])
    assert "shown only once" in person.text


async def opened_again(person: Person) -> Person:
    """Load the answer to a form again, as the scripts of its page do."""
    assert person.page is not None
    found = re.search(r' data-here="([^"]+)"', person.page.text)
    assert found is not None, person.page.text[:800]
    await person.open(html.unescape(found[1]))
    return person


async def test_an_answer_to_a_form_names_where_its_page_is_opened_again(ada: Person) -> None:
    server = ada.server
    stranger = Person(server, another(server))
    await stranger.open("/account/tokens")
    assert stranger.page is not None
    assert "data-here" not in stranger.page.text, "its own address is enough"
    place = stranger.form(having="identifier")["return"]
    await stranger.send({"identifier": "ada", "password": "none of hers"}, having="identifier")
    assert (await opened_again(stranger)).form(having="identifier")["return"] == place
    await ada.open("/account/tokens/new")
    await ada.send({"name": "my script", "scope": "notes:read", "days": "30"})
    assert "shown only once" in (await opened_again(ada)).text
    await ada.open("/account/second_factors")
    await ada.send({"do": "new_recovery_codes"}, having="do")
    assert "shown only once" in (await opened_again(ada)).text
    answer = await ada.http.post("/logout", data={"logout_hint": "somebody else"})
    assert answer.status_code == 200
    assert "data-here" not in answer.text, "what an application asked for is in no address"


async def test_where_no_scope_is_open_to_people_the_page_for_a_token_says_so(
    ada: Person, tmp_path: Path
) -> None:
    """A form without anything to choose could only be refused."""
    assert "no permissions that your own tokens may have" not in (await ada.open("/account/tokens/new")).text
    (tmp_path / "closed").mkdir()
    async with open_server(tmp_path / "closed", mode="development") as server:
        await make(server)
        person = Person(server, another(server))
        await person.sign_in()
        answer = await person.open("/account/tokens/new")
        assert answer.status_code == 200
        assert "There are no permissions that your own tokens may have." in answer.text
        assert "Create token" not in answer.text
        assert "personal = true" not in answer.text
        await people.change(
            server.runtime, await user_of(server), people.Changes(is_admin=True), actor="test"
        )
        answer = await person.open("/account/tokens/new")
        assert "personal = true" in answer.text, "who runs the service reads how to open some"


async def test_a_token_is_for_an_api_that_was_offered(store: Store, tmp_path: Path) -> None:
    offered = "https://notes.example.com"
    async with open_server(
        tmp_path,
        on=store.address,
        scopes={"notes:read": ScopeText(sentence="Read your notes", personal=True)},
        resources={offered: "Notes", "https://files.example.com": "Files"},
    ) as server:
        user, person = await make(server), Person(server, server.http)
        await person.sign_in()
        await person.open("/account/tokens/new")
        given = {"name": "script", "scope": "notes:read", "days": "30"}
        await person.send({**given, "resource": "https://evil.example.com"}, having="name")
        assert person.page is not None
        assert (person.page.status_code, 'id="resource-error"' in person.page.text) == (400, True)
        assert await personal_tokens.own(server.runtime, user) == []
        await person.send({**given, "resource": offered}, having="name")
        assert [token.resource for token, _ in await personal_tokens.own(server.runtime, user)] == [offered]


async def test_a_token_page_that_is_loaded_again_makes_no_second_token(ada: Person) -> None:
    await ada.open("/account/tokens/new")
    given = {"name": "my script", "scope": "notes:read", "days": "30"}
    await send_twice(ada, given, having="once")
    assert len(await personal_tokens.own(ada.server.runtime, await user_of(ada.server))) == 1


async def test_a_rotation_that_is_loaded_again_rotates_once_and_another_token_still(ada: Person) -> None:
    for name in ("one", "two"):
        await ada.open("/account/tokens/new")
        await ada.send({"name": name, "scope": "notes:read", "days": "30"})
    await ada.open("/account/tokens")
    one, two = (ada.form(having="do", index=index) for index in (0, 2))
    assert (one["do"], two["do"]) == ("rotate", "rotate")
    assert (await ada.http.post(one.pop(""), data=one)).status_code == 200
    assert (await ada.http.post("/account/tokens", data=one)).status_code == 303
    assert (await ada.http.post(two.pop(""), data=two)).status_code == 200
    listed = await personal_tokens.own(ada.server.runtime, await user_of(ada.server))
    assert [len(uses) for _, uses in listed] == [2, 2]


async def test_a_form_that_does_not_say_what_to_do_with_a_token_ends_none(ada: Person) -> None:
    issued = await ada.server.token("notes:read", owner="ada")
    for what, left in (({}, 1), ({"do": "renew"}, 1), ({"do": "revoke"}, 0)):
        await ada.open("/account/tokens")
        form = {"csrf": ada.form(having="token")["csrf"], "token": issued.token.id, **what}
        assert (await ada.http.post("/account/tokens", data=form)).status_code == 303
        listed = await personal_tokens.own(ada.server.runtime, await user_of(ada.server))
        assert [token.revoked_at for token, _ in listed].count(None) == left, what


async def test_recovery_codes_that_are_loaded_again_stay_the_same(ada: Person) -> None:
    await add_totp(ada)
    await ada.open("/account/second_factors")
    await send_twice(ada, {"do": "new_recovery_codes"}, having="once", index=-1)
    mails = [text for _, text in await letters(ada.server) if "recovery codes were created" in text]
    assert len(mails) == 1
    have = await ada.server.runtime.database.read(factor_store.enrolled, (await user_of(ada.server)).id)
    assert have.recovery_codes == 10


async def test_codes_and_tokens_that_the_database_failed_to_make_are_made_when_the_form_is_sent_again(
    ada: Person,
) -> None:
    await add_totp(ada)
    for page, index, given in (
        ("/account/second_factors", -1, {"do": "new_recovery_codes"}),
        ("/account/tokens/new", 0, {"name": "my script", "scope": "notes:read", "days": "30"}),
    ):
        await ada.open(page)
        fields = {**ada.form(having="once", index=index), **given}
        address = fields.pop("")
        faults.arm("commit.begun/for_the_first_time=error,commit.begun/and_then=error")
        try:
            assert (await ada.http.post(address, data=fields)).status_code == 503
        finally:
            faults.arm(None)
        assert [(await ada.http.post(address, data=fields)).status_code for _ in range(2)] == [200, 303]
    assert len(await personal_tokens.own(ada.server.runtime, await user_of(ada.server))) == 1


async def test_a_form_of_another_browser_is_refused_with_what_to_do(server: Server) -> None:
    async with another(server) as browser:
        person = Person(server, browser)
        await person.open("/sign-up")
        browser.cookies.clear()
        refused = await person.send({"email": EMAIL})
        assert refused.status_code == 400
        assert "reload the page and fill it in again" in person.text
        await person.open("/sign-up")
        assert (await person.send({"email": EMAIL})).status_code == 200


@pytest.mark.parametrize(("path", "leads"), [("/sign-in", "/account"), ("/recover", "/recover")])
async def test_of_two_tabs_that_were_opened_at_once_the_first_is_shown_again_with_what_was_typed(
    server: Server, path: str, leads: str
) -> None:
    await make(server)
    async with another(server) as browser:
        person = Person(server, browser)
        await person.open(path)
        first = person.form()
        browser.cookies.clear()
        await browser.get(path)  # the second tab, which had no cookie yet either
        address = first.pop("")
        person.page = await browser.post(address, data={**first, "identifier": "ada", "password": PASSWORD})
        assert person.page.status_code == 400
        assert "Please try again" in person.text
        assert person.form()["identifier"] == "ada"
        await person.send({"password": PASSWORD})
        assert person.path == leads
        assert person.page.status_code == 200


@pytest.mark.parametrize("body", [b"identifier=a%00b", b"identifier=%ff%fe", b"csrf=1&csrf=2"])
async def test_what_cannot_be_read_is_said_to_be_that(server: Server, body: bytes) -> None:
    async with another(server) as browser:
        answer = await browser.post(
            "/sign-in", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
        )
        assert answer.status_code == 400
        assert "We couldn’t read that" in html.unescape(answer.text)


async def test_who_registers_is_not_told_of_an_invitation(server: Server) -> None:
    person = Person(server, another(server))
    await person.open("/sign-up")
    await person.send({"email": "grace@example.com"})
    link = next(link_in(text) for to, text in await letters(server) if to == "grace@example.com")
    await person.open(link)
    assert "Create your account" in person.text
    assert "invited" not in person.text
    assert "grace@example.com" in person.text
    refused = await person.send({"name": "Grace\u202e", "new_password": PASSWORD})
    assert refused.status_code == 400
    assert "visible characters" in person.text
    server.clock.advance(1801)
    gone = await person.open(link)
    assert gone.status_code == 404
    assert "was replaced by a newer one" in person.text


async def test_a_device_is_named_in_the_language_of_the_page(ada: Person) -> None:
    await ada.open("/account/sessions?lang=de")
    assert "Firefox auf Linux" in ada.text
    await ada.open("/account/sessions?lang=en")
    assert "Firefox on Linux" in ada.text


async def test_who_takes_too_long_over_the_second_factor_still_gets_to_their_place(ada: Person) -> None:
    server = ada.server
    key = await add_totp(ada)
    person = Person(server, another(server))
    await person.open("/account/tokens")
    await person.send({"identifier": "ada", "password": PASSWORD})
    assert person.path == "/sign-in/second-factor"
    server.clock.advance(601)
    await person.send({"code": code_of(server, key)}, having="method")
    assert "open too long" in person.text
    await person.send({"identifier": "ada", "password": PASSWORD})
    await person.send({"code": code_of(server, key)}, having="method")
    assert person.path == "/account/tokens"


async def test_who_confirms_before_a_change_is_told_that_it_has_not_been_made(ada: Person) -> None:
    key = await add_totp(ada)
    await ada.open("/account/second_factors")
    ada.server.clock.advance(700)
    await ada.send({"do": "remove_totp"}, having="do")
    assert ada.path == "/step-up"
    await ada.send({"code": code_of(ada.server, key)}, having="method")
    assert ada.path == "/account/second_factors"
    assert "Nothing has changed yet" in ada.text
    await ada.send({"do": "remove_totp"}, having="do")
    assert "Authenticator app removed." in ada.text


@pytest.mark.parametrize("path", ["/account", "/account/upstream", "/account/sessions"])
async def test_who_was_signed_out_before_a_change_is_told_that_it_has_not_been_made(
    ada: Person, path: str
) -> None:
    await ada.open("/account")
    csrf = ada.form()["csrf"]
    await ada.open("/sign-out")
    await ada.send({})
    ada.page = await ada.http.post(path, data={"csrf": csrf, "name": "Ada King"}, follow_redirects=True)
    assert ada.path == "/sign-in"
    assert "your last step had no effect" in ada.text
    assert ada.page is not None
    assert "note-warn" in ada.page.text, "not as what went well"
    answer = await ada.send({"identifier": "ada", "password": PASSWORD})
    assert (answer.status_code, ada.path) == (200, "/account" if path == "/account/upstream" else path)
    assert "Ada King" not in ada.text
    await ada.open("/account")
    await ada.send({"name": "Ada King"}, having="name")
    assert "Ada King" in ada.text


@pytest.mark.parametrize("path", ["/sign-in", "/recover"])
async def test_where_cookies_are_blocked_the_form_says_so(server: Server, path: str) -> None:
    await make(server)
    async with another(server) as browser:
        person = Person(server, browser)
        await person.open(path)
        browser.cookies.clear()
        await person.send({"identifier": "ada", "password": PASSWORD})
        assert person.path == path
        assert "Allow cookies for this site" in person.text
        await person.send({"identifier": "ada", "password": PASSWORD})
        assert "cookies" not in person.text, "now the browser kept them"


async def test_where_cookies_are_blocked_every_other_form_says_so_as_well(server: Server) -> None:
    link = await start.setup_link(server.runtime)
    assert link is not None
    async with another(server) as browser:
        person = Person(server, browser)
        for path in (link, "/sign-up", "/sign-in/identity"):
            await person.open(path)
            browser.cookies.clear()
            answer = await person.send({})
            assert (answer.status_code, "Please allow cookies" in person.text) == (400, True)
            await person.open(path)
            answer = await person.send({"csrf": "that of another browser"})
            assert (answer.status_code, "Please send that again" in person.text) == (400, True)
        await person.open("/sign-up")
        browser.cookies.clear()
        fields = person.form()
        answer = await browser.post(fields.pop(""), data=fields, headers={"sec-fetch-site": "cross-site"})
        assert "Please allow cookies" not in answer.text, "another site's form brings no cookies"


async def test_whoever_opens_the_owners_link_again_finds_the_way_to_sign_in(server: Server) -> None:
    link = await start.setup_link(server.runtime)
    assert link is not None
    person = Person(server, another(server))
    await person.open(link)
    await person.send({"username": "a" * 500, "new_password": PASSWORD}, having="link")
    assert person.page is not None
    assert 'id="username-error"' in person.page.text, "beside its field"
    await person.send({"username": "ada", "new_password": PASSWORD}, having="link")
    assert person.path == "/sign-in"
    await person.open(link)
    assert person.page is not None
    assert person.page.status_code == 404
    assert f'href="{server.settings.issuer}/sign-in"' in person.page.text


async def test_the_last_administrator_is_told_why_their_account_stays(server: Server) -> None:
    await make(server, is_admin=True)
    ada = Person(server, another(server))
    await ada.sign_in()
    await ada.open("/account/delete?lang=de")
    await ada.send({"identifier": "ada"}, having="identifier")
    assert ada.path == "/account/delete"
    assert "das letzte Konto mit Administratorrecht" in ada.text
    await make(server, "grace", "grace@example.com", is_admin=True)
    await ada.send({"identifier": "ada"}, having="identifier")
    assert ada.path == "/sign-in"
    assert await server.runtime.database.read(users.find_user, "ada") is None


async def test_a_fresh_proof_for_the_console_is_not_said_to_be_about_the_own_account(server: Server) -> None:
    await make(server, is_admin=True)
    ada = Person(server, another(server))
    await ada.sign_in()
    server.clock.advance(700)
    for path, words in (
        ("/console/people/new", "The console asks for a fresh confirmation"),
        ("/account/email", "how your account is protected"),
    ):
        await ada.open(path)
        assert ada.path == "/step-up"
        assert words in ada.text
