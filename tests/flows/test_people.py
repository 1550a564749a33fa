"""People: accounts, second factors, recovery, step-up, sessions, their own tokens; and what must not work about them."""

import base64
import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from tests.fixtures.people import PASSWORD, Person, letters, link_in
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server, together
from tests.unit.credentials.software_authenticator import SoftwareAuthenticator

from watchword.credentials import totp
from watchword.flows import accounts, sign_up
from watchword.settings import ScopeText
from watchword.store import sessions, user_changes, users
from watchword.store.users import User

OTHER = "a different set of words entirely"
EMAIL = "ada@example.com"


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application in development, where mail is kept to be shown."""
    scopes = {"notes:read": ScopeText(sentence="Read your notes", personal=True), "admin": ScopeText()}
    async with open_server(
        tmp_path,
        database=store.address,
        key_file=str(tmp_path / "key"),
        mode="development",
        scopes=scopes,
        sign_up="open",
    ) as opened:
        yield opened


@pytest_asyncio.fixture
async def ada(server: Server) -> AsyncIterator[Person]:
    """A person with an account and a verified address, not signed in."""
    await make(server)
    async with another(server) as browser:
        yield Person(server, browser)


async def make(server: Server, name: str = "ada", email: str = EMAIL, *, is_admin: bool = False) -> User:
    """Make an account with a verified address."""
    user = await accounts.create(
        server.runtime, username=name, email=email, password=PASSWORD, is_admin=is_admin, actor="test"
    )
    await server.runtime.database.write(
        user_changes.set_email, user.id, email, email, verified=True, actor="test", now=server.runtime.now()
    )
    return user


def another(server: Server, agent: str = "Mozilla/5.0 (X11; Linux) Firefox/140.0") -> httpx.AsyncClient:
    """Return another browser."""
    transport = httpx.ASGITransport(app=server.app, client=("127.0.0.1", 50_001))
    return httpx.AsyncClient(
        transport=transport, base_url=server.settings.issuer, headers={"user-agent": agent}
    )


async def user_of(server: Server, name: str = "ada") -> User:
    """Return an account by its name."""
    found = await server.runtime.database.read(users.find_user, name)
    assert found is not None
    return found


async def session_of(server: Server, name: str = "ada") -> sessions.Session:
    """Return a person's newest session."""
    user = await user_of(server, name)
    found = await server.runtime.database.read(
        sessions.list_sessions, user_id=user.id, now=server.runtime.now()
    )
    return found[0]


async def add_totp(person: Person, **more: str) -> bytes:
    """Set up an authenticator application; return its key."""
    await person.open("/account/second_factors/totp")
    assert person.page is not None
    shown = re.search(r'id="totp-secret"[^>]*>\s*([A-Z2-7 ]+)', person.page.text)
    assert shown is not None, person.page.text[:3000]
    text = shown[1].replace(" ", "")
    key = base64.b32decode(text + "=" * (-len(text) % 8))
    page = await person.send({"code": code_of(person.server, key), **more}, having="key")
    assert "Your authenticator app is set up." in person.text, page.text[:1500]
    return key


def code_of(server: Server, key: bytes) -> str:
    """Return what the application shows now."""
    return totp.hotp(key, totp.step_at(server.runtime.now()))


async def test_a_second_factor_stands_between_the_password_and_the_session(ada: Person) -> None:
    await ada.sign_in()
    assert ada.path == "/account"
    key = await add_totp(ada)
    session = await session_of(ada.server)
    assert session.acr == "urn:watchword:aal2", "what was proved just now counts"
    async with another(ada.server) as browser:
        elsewhere = Person(ada.server, browser)
        await elsewhere.sign_in()
        assert elsewhere.path == "/sign-in/second-factor"
        await elsewhere.open("/account")
        assert elsewhere.path == "/sign-in", "LG-07: nobody is signed in by one factor of two"
        await elsewhere.open("/sign-in/second-factor")
        await elsewhere.send({"code": "000000"}, having="method")
        assert "That code isn’t right" in elsewhere.text
        ada.server.clock.advance(31)
        code = code_of(ada.server, key)
        await elsewhere.send({"code": code}, having="method")
        assert elsewhere.path == "/account"
        session = await session_of(ada.server)
        assert set(session.amr) == {"pwd", "otp", "mfa"}
        assert session.acr == "urn:watchword:aal2"


async def test_a_code_works_once_even_when_two_browsers_send_it_together(ada: Person) -> None:
    await ada.sign_in()
    key = await add_totp(ada)
    ada.server.clock.advance(31)
    async with another(ada.server) as first, another(ada.server) as second:
        people = [Person(ada.server, first), Person(ada.server, second)]
        for person in people:
            await person.sign_in()
        code = code_of(ada.server, key)
        await together(*(person.send({"code": code}, having="method") for person in people))
        assert sorted(person.path for person in people) == ["/account", "/sign-in/second-factor"], "LG-09"


async def test_the_visit_of_one_browser_is_worth_nothing_in_another(ada: Person) -> None:
    await ada.sign_in()
    key = await add_totp(ada)
    ada.server.clock.advance(31)
    async with another(ada.server) as victim, another(ada.server) as thief:
        await Person(ada.server, victim).sign_in()
        await thief.get("/sign-in")
        thief.cookies.set("ww-visit", victim.cookies["ww-visit"])
        stolen = Person(ada.server, thief)
        await stolen.open("/sign-in/second-factor")
        assert stolen.path == "/sign-in"
        honest = Person(ada.server, victim)
        await honest.open("/sign-in/second-factor")
        await honest.send({"code": code_of(ada.server, key)}, having="method")
        assert honest.path == "/account"


async def test_a_trusted_browser_is_spared_the_second_factor_until_the_password_changes(ada: Person) -> None:
    await ada.sign_in()
    key = await add_totp(ada)
    ada.server.clock.advance(31)
    async with another(ada.server) as browser:
        person = Person(ada.server, browser)
        await person.sign_in()
        await person.send({"code": code_of(ada.server, key), "remember": "yes"}, having="method")
        await sign_out(person)
        await person.sign_in()
        assert person.path == "/account"
        assert (await session_of(ada.server)).acr == "urn:watchword:aal1", (
            "what was not proved is not claimed"
        )
        await change_password(ada, PASSWORD, OTHER)
        await person.sign_in(password=OTHER)
        assert person.path == "/sign-in/second-factor"


async def sign_out(person: Person) -> None:
    """Sign out by the form."""
    await person.open("/sign-out")
    await person.send({"decision": "sign_out"})


async def change_password(person: Person, old: str, new: str, end_others: str = "yes") -> None:
    """Change the password by the form."""
    await person.open("/account/password")
    await person.send({"password": old, "new_password": new, "end_others": end_others})


async def test_recovery_codes_are_shown_once_kept_as_digests_and_work_once(ada: Person) -> None:
    await ada.sign_in()
    await add_totp(ada)
    await ada.open("/account/second_factors")
    await ada.send({"do": "new_recovery_codes"}, having="do", index=-1)
    assert ada.page is not None
    codes = re.findall(r"<li><code>([0-9a-z-]{29})</code></li>", ada.page.text)
    assert len(codes) == 10, ada.page.text[:3000]
    for attempt, expected in (("first", "/account"), ("second", "/sign-in/second-factor")):
        async with another(ada.server) as browser:
            person = Person(ada.server, browser)
            await person.sign_in()
            await person.open("/sign-in/second-factor?method=recovery_code")
            await person.send({"code": codes[0].upper()}, having="method")
            assert person.path == expected, attempt
    assert any("recovery code" in text for _, text in await letters(ada.server)), "the owner is told"


async def test_a_code_by_mail_is_the_weakest_and_allows_few_attempts(ada: Person) -> None:
    await ada.sign_in()
    await ada.open("/account/second_factors")
    await ada.send({"do": "email_code_on"}, having="do")
    assert "Codes by email are on." in ada.text
    async with another(ada.server) as browser:
        person = Person(ada.server, browser)
        await person.sign_in()
        code = await mailed_code(ada.server)
        for _ in range(5):
            await person.send({"code": "00000000"}, having="method")
        await person.send({"code": code}, having="method")
        assert person.path == "/sign-in/second-factor", "LG-10: too many attempts end the code"
        await person.open("/sign-in/second-factor?method=email_code&again=yes")
        await person.send({"code": await mailed_code(ada.server)}, having="method")
        assert person.path == "/account"
        assert (await session_of(ada.server)).acr == "urn:watchword:aal1"


async def mailed_code(server: Server) -> str:
    """Return the newest code that was mailed."""
    for _, text in await letters(server):
        found = re.search(r"^\s+(\d{4} \d{4})\s*$", text, re.MULTILINE)
        if found:
            return found[1]
    raise AssertionError("no code was mailed")


async def test_a_forgotten_password_is_set_by_a_link_that_works_once(ada: Person) -> None:
    await ada.sign_in()
    async with another(ada.server) as browser:
        person = Person(ada.server, browser)
        await person.open("/recover")
        await person.send({"identifier": EMAIL})
        assert "ada@example.com" in person.text
        link = next(link_in(text) for to, text in await letters(ada.server) if to == EMAIL)
        await person.open(link)
        await person.send({"new_password": "short", "end_others": "yes"})
        assert "at least 15" in person.text
        await person.send({"new_password": OTHER, "end_others": "yes"})
        assert person.path == "/sign-in"
        assert "Your password is set" in person.text, "a link signs nobody in"
        assert (await person.open(link)).status_code == 404, "LG-17: the link is spent"
        await person.sign_in(password=OTHER)
        assert person.path == "/account"
    assert (await ada.open("/account")).url.path == "/sign-in", "other sessions ended"
    assert any("was changed" in text for _, text in await letters(ada.server))


@pytest.mark.parametrize("name", ["ada", "nobody", EMAIL, "nobody@example.com", "not a name at all"])
async def test_the_answer_to_a_forgotten_password_is_the_same_for_every_name(ada: Person, name: str) -> None:
    await ada.open("/recover")
    answer = await ada.send({"identifier": name})
    assert answer.status_code == 200, "LG-05"
    assert re.sub(r"\s+", " ", ada.text.replace(name, "NAME")) == re.sub(
        r"\s+", " ", (await _asked(ada, "somebody-else")).replace("somebody-else", "NAME")
    )


async def _asked(person: Person, name: str) -> str:
    await person.open("/recover")
    await person.send({"identifier": name})
    return person.text


async def test_a_stranger_registers_by_an_address_that_they_prove(server: Server) -> None:
    async with another(server) as browser:
        person = Person(server, browser)
        await person.open("/sign-up")
        await person.send({"email": "grace@example.com"})
        to, text = (await letters(server))[0]
        assert to == "grace@example.com"
        await person.open(link_in(text))
        await person.send({"name": "Grace Hopper", "new_password": PASSWORD}, having="link")
        assert "Your account is ready." in person.text
        await person.sign_in("grace@example.com")
        assert "Grace Hopper" in person.text
        assert (await person.open(link_in(text))).status_code == 404


async def test_registering_tells_nobody_but_its_owner_that_an_address_is_known(ada: Person) -> None:
    answers = []
    for email in (EMAIL, "new@example.com"):
        await ada.open("/sign-up")
        await ada.send({"email": email})
        answers.append(ada.text.replace(email, "ADDRESS"))
    assert answers[0] == answers[1], "LG-05"
    mails = dict(await letters(ada.server))
    assert "already have an account" in mails[EMAIL]
    assert "/sign-up?link=" in mails["new@example.com"]


async def test_an_invitation_makes_one_account(server: Server) -> None:
    link = await sign_up.invite(server.runtime, "kim@example.com", is_admin=True, inviter="ada", actor="test")
    async with another(server) as first, another(server) as second:
        people = [Person(server, first), Person(server, second)]
        for person in people:
            await person.open(link)
        filled = {"new_password": PASSWORD, "name": ""}
        await together(*(person.send(filled, having="link") for person in people))
        assert sorted("Your account is ready." in person.text for person in people) == [False, True]
    assert (await user_of(server, "kim@example.com")).is_admin


async def test_another_address_counts_once_it_is_confirmed(ada: Person) -> None:
    await ada.sign_in()
    await ada.open("/account/email")
    await ada.send({"email": "ada@example.net"})
    assert (await user_of(ada.server)).email == EMAIL
    link = next(link_in(text) for to, text in await letters(ada.server) if to == "ada@example.net")
    await ada.open(link)
    assert (await user_of(ada.server)).email == EMAIL, "a mail scanner that follows the link confirms nothing"
    await ada.send({}, having="link")
    assert (await user_of(ada.server)).email == "ada@example.net"
    told = [text for to, text in await letters(ada.server) if to == EMAIL and "changed" in text]
    assert told, "the old address is told"
    assert "ada@example.net" not in told[0]


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


async def test_administrators_are_offered_what_clients_may_have_but_nothing_that_means_a_sign_in(
    server: Server,
) -> None:
    await make(server, is_admin=True)
    await server.client(scope="openid profile email offline_access orders:read")
    async with another(server) as browser:
        ada = Person(server, browser)
        await ada.sign_in()
        await ada.open("/account/tokens/new")
    assert ada.page is not None
    offered = set(re.findall(r'name="scope"[^>]*value="([^"]*)"', ada.page.text))
    assert "orders:read" in offered
    assert not offered & {"openid", "profile", "email", "offline_access"}


async def test_a_deleted_account_takes_what_it_was_issued_with_it(ada: Person) -> None:
    await ada.sign_in()
    await ada.open("/account/tokens/new")
    await ada.send({"name": "script", "scope": "notes:read", "days": "30"}, having="name")
    assert ada.page is not None
    token = re.search(r"\bwwa_[0-9A-Za-z]{36}\b", ada.page.text)
    assert token is not None
    await ada.open("/account/delete")
    await ada.send({"identifier": "somebody"})
    assert "That isn’t the name of your account." in ada.text
    await ada.send({"identifier": "ada"})
    assert ada.path == "/sign-in"
    assert await ada.server.runtime.database.read(users.find_user, "ada") is None
    headers = {"authorization": f"Bearer {token[0]}"}
    assert (await ada.http.get("/api/v1/tokens/self", headers=headers)).status_code == 401
    assert (await ada.sign_in()).status_code == 401


async def test_a_new_device_is_reported_to_its_owner_and_a_known_one_is_not(ada: Person) -> None:
    await ada.sign_in()
    assert not await letters(ada.server), "the first one is no news"
    await sign_out(ada)
    await ada.sign_in()
    assert not await letters(ada.server)
    async with another(ada.server, "Mozilla/5.0 (iPhone) Safari/605") as phone:
        await Person(ada.server, phone).sign_in()
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


def options_in(person: Person) -> dict[str, object]:
    """Return the passkey options of a page."""
    assert person.page is not None
    found = re.search(r'data-options="([^"]+)"', person.page.text)
    assert found is not None
    options: dict[str, object] = json.loads(html.unescape(found[1]))
    return options


async def add_passkey(person: Person) -> SoftwareAuthenticator:
    """Sign in and register a passkey."""
    await person.sign_in()
    await person.open("/account/passkeys")
    device = SoftwareAuthenticator()
    answer = device.create(options_in(person), origin="http://localhost")
    await person.send({"do": "add", "name": "My laptop", "credential": answer}, having="challenge")
    assert "Passkey added." in person.text, person.text
    assert "My laptop" in person.text
    return device


async def test_a_passkey_is_renamed_and_removed_and_then_unknown(ada: Person) -> None:
    device = await add_passkey(ada)
    await ada.send({"do": "rename", "name": "Old laptop"}, having="passkey")
    assert "Old laptop" in ada.text
    await ada.send({"do": "remove"}, having="passkey", index=1)
    assert "Passkey removed." in ada.text
    async with another(ada.server) as browser:
        person = Person(ada.server, browser)
        await person.open("/sign-in")
        answer = device.get(options_in(person), origin="http://localhost")
        await person.send({"credential": answer}, having="challenge")
        assert "We don’t know this passkey." in person.text


async def test_password_managers_find_the_page_that_changes_a_password(server: Server) -> None:
    answer = await server.http.get("/.well-known/change-password")
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("/account/password")


async def sign_in_elsewhere(server: Server) -> str:
    """Sign in with a browser of its own; return where that led."""
    async with another(server) as browser:
        person = Person(server, browser)
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
