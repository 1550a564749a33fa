"""What stands between a password and a session: codes of an app, recovery codes, codes by mail, browsers that are trusted."""

import re

from tests.fixtures.accounts import (
    OTHER,
    ada,
    add_totp,
    another,
    change_password,
    code_of,
    make,
    newest,
    server,
    session_of,
    sign_out,
    user_of,
)
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.servers import Server, together
from tests.store.made import execute

from watchword.credentials.email_code import MAX_ATTEMPTS
from watchword.flows.users import people
from watchword.flows.users.people import Changes
from watchword.store import factors, faults

__all__ = ["ada", "server"]


async def test_a_second_factor_stands_between_the_password_and_the_session(ada: Person) -> None:
    await ada.sign_in()
    assert ada.path == "/account"
    key = await add_totp(ada)
    session = await session_of(ada.server)
    assert session.acr == "urn:watchword:aal2", "what was proved just now counts"
    elsewhere = Person(ada.server, another(ada.server))
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


async def test_a_damaged_key_is_a_fault_of_the_store_and_no_wrong_code(ada: Person) -> None:
    await ada.sign_in()
    key = await add_totp(ada)
    ada.server.clock.advance(31)
    async with another(ada.server) as browser:
        person = Person(ada.server, browser)
        await person.sign_in()
        await ada.server.runtime.database.write(
            execute, "UPDATE totp_keys SET sealed_key = substr(sealed_key, 2)"
        )
        refused = await person.send({"code": code_of(ada.server, key)}, having="method")
    assert refused.status_code == 503
    assert "That code isn’t right" not in person.text


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
    person = Person(ada.server, another(ada.server))
    await person.sign_in()
    await person.send({"code": code_of(ada.server, key), "remember": "yes"}, having="method")
    trusted, theirs = await newest(ada.server, "browser.trusted"), await session_of(ada.server)
    assert (trusted.actor, trusted.data["session"]) == (theirs.user_id, theirs.id)
    await sign_out(person)
    await person.sign_in()
    assert person.path == "/account"
    assert (await session_of(ada.server)).acr == "urn:watchword:aal1", "what was not proved is not claimed"
    await change_password(ada, PASSWORD, OTHER)
    await person.sign_in(password=OTHER)
    assert person.path == "/sign-in/second-factor"


async def test_recovery_codes_are_shown_once_kept_as_digests_and_work_once(ada: Person) -> None:
    await ada.sign_in()
    await add_totp(ada)
    await ada.open("/account/second_factors")
    await ada.send({"do": "new_recovery_codes"}, having="do", index=-1)
    assert ada.page is not None
    codes = re.findall(r"<li><code>([0-9a-z-]{29})</code></li>", ada.page.text)
    assert len(codes) == 10, ada.page.text[:3000]
    for attempt, expected in (("first", "/account"), ("second", "/sign-in/second-factor")):
        person = Person(ada.server, another(ada.server))
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
    person = Person(ada.server, another(ada.server))
    await person.sign_in()
    assert "a@example.com" in person.text, "which address the code went to"
    assert "ada@example.com" not in person.text, "which whoever has the password alone does not learn"
    code = await mailed_code(ada.server)
    await person.open("/sign-in/second-factor")
    mailed = [text for _, text in await letters(ada.server) if code in text]
    assert len(mailed) == 1, "the page that is opened again sends no other"
    assert await mailed_code(ada.server) == code
    for other in ("recovery_code", "totp", "passkey", "password", ""):
        await person.send({"method": other, "code": code, "password": PASSWORD}, having="method")
        assert person.path == "/sign-in/second-factor", "by what they have, and nothing else"
    for _ in range(5):
        await person.send({"code": "00000000"}, having="method")
    await person.send({"code": code}, having="method")
    assert person.path == "/sign-in/second-factor", "LG-10: too many attempts end the code"
    await person.open("/sign-in/second-factor?method=email_code&again=yes")
    await person.send({"code": await mailed_code(ada.server)}, having="method")
    assert person.path == "/account"
    assert (await session_of(ada.server)).acr == "urn:watchword:aal1"


async def test_a_code_by_mail_confirms_a_change_and_is_mailed_when_it_is_asked_for(ada: Person) -> None:
    await ada.sign_in()
    await ada.open("/account/second_factors")
    await ada.send({"do": "email_code_on"}, having="do")
    before = len(await letters(ada.server))
    ada.server.clock.advance(700)
    await ada.open("/account/passkeys")
    assert ada.path == "/step-up"
    assert len(await letters(ada.server)) == before + 1
    spent = await mailed_code(ada.server)
    for _ in range(MAX_ATTEMPTS):
        await ada.send({"code": "00000000"}, having="method")
        assert ada.path == "/step-up"
    assert len(await letters(ada.server)) == before + 2, "this page has no other way to ask for one"
    await ada.send({"code": spent}, having="method")
    assert ada.path == "/step-up"
    await ada.send({"code": await mailed_code(ada.server)}, having="method")
    assert ada.path == "/account/passkeys"


async def test_a_code_whose_mail_the_database_failed_to_keep_is_mailed_when_the_page_is_loaded_again(
    ada: Person,
) -> None:
    await ada.sign_in()
    await ada.open("/account/second_factors")
    await ada.send({"do": "email_code_on"}, having="do")
    outcomes = []
    for turn in range(1, 6):
        ada.server.clock.advance(3600)
        await letters(ada.server)
        before = await mailed_code(ada.server) if outcomes else ""
        faults.arm(f"commit.begun=error@{turn}")
        try:
            outcomes.append((await ada.open("/account/passkeys")).status_code)
        finally:
            faults.arm(None)
        await ada.open("/account/passkeys")
        assert ada.path == "/step-up"
        assert await mailed_code(ada.server) != before
        await ada.send({"code": await mailed_code(ada.server)}, having="method")
        assert ada.path == "/account/passkeys"
    assert (outcomes[0], outcomes[-1]) == (503, 200), "every commit failed once"


async def test_a_code_by_mail_works_once_even_when_two_browsers_send_it_together(ada: Person) -> None:
    await ada.sign_in()
    await ada.open("/account/second_factors")
    await ada.send({"do": "email_code_on"}, having="do")
    async with another(ada.server) as first, another(ada.server) as second:
        people = [Person(ada.server, browser) for browser in (first, second)]
        for person in people:
            await person.sign_in()
        code = await mailed_code(ada.server)
        await together(*(person.send({"code": code}, having="method") for person in people))
        assert sorted(person.path for person in people) == ["/account", "/sign-in/second-factor"]


async def test_another_address_ends_the_code_mailed_to_the_former_and_nobody_elses(ada: Person) -> None:
    server, codes, waiting = ada.server, {}, {}
    await make(server, "eve", "eve@example.com")
    async with another(server) as first, another(server) as second:
        for name, browser in (("ada", first), ("eve", second)):
            user = await user_of(server, name)
            given = {"actor": "test", "now": server.runtime.now()}
            await server.runtime.database.write(factors.set_email_code, user.id, True, **given)
            waiting[name] = Person(server, browser)
            await waiting[name].sign_in(name)
            codes[name] = await mailed_code(server)
        changes = Changes(email="ada@example.org", email_verified=True)
        await people.change(server.runtime, await user_of(server), changes, actor="test")
        for name, person in waiting.items():
            await person.send({"code": codes[name]}, having="method")
        assert [person.path for person in waiting.values()] == ["/sign-in/second-factor", "/account"]


async def mailed_code(server: Server) -> str:
    """Return the newest code that was mailed."""
    for _, text in await letters(server):
        found = re.search(r"^\s+(\d{4} \d{4})\s*$", text, re.MULTILINE)
        if found:
            return found[1]
    raise AssertionError("no code was mailed")
