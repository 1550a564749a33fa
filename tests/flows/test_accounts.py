"""How an account begins, gets another address or password, and ends."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.fixtures.accounts import EMAIL, OTHER, ada, another, change_password, newest, server, user_of
from tests.fixtures.people import PASSWORD, Person, letters, link_in
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import Server, open_server, together

from watchword.credentials import names
from watchword.flows.users import account_changes, accounts, people, sign_up
from watchword.flows.users.people import Changes
from watchword.oauth.errors import OAuthError
from watchword.store import api_tokens, links, user_changes, users
from watchword.store.audit import events

__all__ = ["ada", "server"]

ENDED = "Other sessions, connected apps and your API tokens have lost access."


async def test_a_forgotten_password_is_set_by_a_link_that_works_once(ada: Person) -> None:
    await ada.sign_in()
    person = Person(ada.server, another(ada.server))
    await person.open("/recover")
    await person.send({"identifier": EMAIL})
    assert "ada@example.com" in person.text
    assert "works once, for 30 minutes" in person.text
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
    mail = next(text for _, text in await letters(ada.server) if "was changed" in text)
    assert ENDED in mail
    assert (await newest(ada.server, "user.password_changed")).data["address"] == "127.0.0.1"


@pytest.mark.parametrize("end_others", ["yes", ""])
async def test_the_mail_about_a_new_password_says_that_tokens_have_ended_where_they_have(
    ada: Person, end_others: str
) -> None:
    token = await ada.server.token(owner="ada")
    await ada.sign_in()
    await change_password(ada, PASSWORD, PASSWORD, end_others=end_others)
    assert "the password you have now" in ada.text
    assert not [text for _, text in await letters(ada.server) if "was changed" in text]
    await change_password(ada, PASSWORD, OTHER, end_others=end_others)
    kept = await ada.server.runtime.database.read(api_tokens.get_token, token.token.id)
    assert kept is not None
    assert (kept.revoked_at is not None) is bool(end_others)
    mail = next(text for _, text in await letters(ada.server) if "was changed" in text)
    assert (ENDED in mail) is bool(end_others)


@in_turn("name", ["ada", "nobody", EMAIL, "nobody@example.com", "not a name at all"])
async def test_the_answer_to_a_forgotten_password_is_the_same_for_every_name(ada: Person, name: str) -> None:
    await ada.open("/recover")
    answer = await ada.send({"identifier": name})
    assert answer.status_code == 200, "LG-05"
    assert re.sub(r"\s+", " ", ada.text.replace(name, "NAME")) == re.sub(
        r"\s+", " ", (await _asked(ada, "somebody-else")).replace("somebody-else", "NAME")
    )


@pytest.mark.parametrize("state", ["as it was", "disabled", "another address, not verified", "no address"])
async def test_a_link_for_a_new_password_goes_to_the_verified_address_of_a_live_account_only(
    ada: Person, state: str
) -> None:
    server, user = ada.server, await user_of(ada.server)
    if state == "disabled":
        await account_changes.set_disabled(server.runtime, user, True, actor="test")
    elif state.startswith("another"):
        await people.change(server.runtime, user, Changes(email="ada@example.org"), actor="test")
    elif state == "no address":
        await accounts.create(server.runtime, username="grace", password=PASSWORD, actor="test")
    for name in ("grace",) if state == "no address" else ("ada", EMAIL, "ada@example.org"):
        await ada.open("/recover")
        await ada.send({"identifier": name})
    mailed = [to for to, text in await letters(server) if "/reset-password" in text]
    assert mailed == ([EMAIL, EMAIL] if state == "as it was" else [])
    now = server.runtime.now()
    kept = await server.runtime.database.read(links.find_live_link, user.id, user_changes.MAILED, now)
    assert (kept is not None) is (state == "as it was")


async def test_whoever_ends_the_other_sessions_still_sets_a_password_by_the_link_asked_for(
    ada: Person,
) -> None:
    server = ada.server
    await ada.sign_in()
    await ada.open("/recover")
    await ada.send({"identifier": EMAIL})
    await ada.open("/account/email")
    await ada.send({"email": "ada@example.org"})
    wish, reset = [link_in(text) for _, text in await letters(server)]
    for link in (wish, reset):
        assert (await server.http.get(link)).status_code == 200
    await Person(server, another(server)).sign_in()
    await ada.open("/account/sessions")
    await ada.send({"do": "end_others", "end_access": "yes"})
    assert (await server.http.get(wish)).status_code == 404, (
        "whoever was signed in elsewhere may have wished it"
    )
    await ada.open(reset)
    await ada.send({"new_password": OTHER, "end_others": "yes"})
    assert "Your password is set" in ada.text


async def _asked(person: Person, name: str) -> str:
    await person.open("/recover")
    await person.send({"identifier": name})
    return person.text


async def test_a_stranger_registers_by_an_address_that_they_prove(server: Server) -> None:
    person = Person(server, another(server))
    await person.open("/sign-up")
    await person.send({"email": "grace@example.com"})
    to, text = (await letters(server))[0]
    assert to == "grace@example.com"
    await person.open(link_in(text))
    await person.send({"name": "Grace Hopper", "new_password": PASSWORD}, having="link")
    assert "Your account is ready." in person.text
    made = await user_of(server, "grace@example.com")
    assert not made.is_admin
    assert names.is_identifier(made.id)
    assert person.form(having="identifier")["identifier"] == "grace@example.com", "which is filled in"
    elsewhere = Person(server, another(server))
    elsewhere.http.cookies.set("ww-name", person.http.cookies["ww-name"])
    await elsewhere.open("/sign-in?notice=registered")
    assert elsewhere.form(having="identifier")["identifier"] == "", "in this browser alone"
    await person.sign_in("grace@example.com")
    assert "Grace Hopper" in person.text
    assert (await person.open(link_in(text))).status_code == 404


async def test_a_link_to_register_is_worth_nothing_once_that_is_closed(
    server: Server, tmp_path: Path
) -> None:
    person = Person(server, another(server))
    await person.open("/sign-up")
    await person.send({"email": "grace@example.com"})
    link = link_in((await letters(server))[0][1])
    await person.open(link)
    left_open = {**person.form(having="link"), "name": "Grace", "new_password": PASSWORD}
    address = left_open.pop("")
    same = {"database": server.settings.database, "key_file": server.settings.key_file}
    async with open_server(tmp_path, mode="development", sign_up="invited", **same) as closed:
        assert (await closed.http.get(link)).status_code == 404
        browser = another(closed)
        browser.cookies.update(person.http.cookies)
        assert (await browser.post(address, data=left_open)).status_code == 404
        assert await closed.runtime.database.read(users.find_user, "", "grace@example.com") is None
    assert (await person.http.post(address, data=left_open)).status_code == 303, "the honest variant"


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


async def test_an_address_is_taken_by_one_whose_domain_looks_like_its_own_and_that_is_said(
    server: Server,
) -> None:
    said = "An account here has this address already, or one that looks like it."
    for address, made in (
        ("arnie@example.com", True),
        ("amie@example.com", True),
        ("arnie@exarnple.com", False),
    ):
        link = await sign_up.invite(server.runtime, address, is_admin=False, inviter=None, actor="test")
        person = Person(server, another(server))
        await person.open(link)
        await person.send({"new_password": PASSWORD, "name": ""}, having="link")
        assert ("Your account is ready." in person.text, said in person.text) == (made, not made), address


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
    assert (await newest(server, "user.created")).data["address"] == "127.0.0.1"


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
    assert (await newest(ada.server, "user.email_changed")).data["address"] == "127.0.0.1"
    told = [text for to, text in await letters(ada.server) if to == EMAIL and "changed" in text]
    assert told, "the old address is told"
    assert "ada@example.net" not in told[0]
    assert "ask the people who run the service" in told[0]
    assert "/recover" not in told[0], "that would mail a link to the new address only"


async def test_who_confirms_an_address_that_another_account_has_got_meanwhile_is_told_so(ada: Person) -> None:
    await ada.sign_in()
    await ada.open("/account/email")
    await ada.send({"email": "ada@example.net"})
    await ada.open(next(link_in(text) for to, text in await letters(ada.server) if to == "ada@example.net"))
    await accounts.create(ada.server.runtime, username="eve", email="ada@example.net", actor="test")
    refused = await ada.send({}, having="link")
    assert refused.status_code == 409
    assert "This address is taken" in ada.text
    assert (await user_of(ada.server)).email == EMAIL


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


async def test_the_address_of_the_server_itself_leads_to_the_account(server: Server) -> None:
    answer = await server.http.get("/")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{server.settings.issuer}/account"


async def test_password_managers_find_the_page_that_changes_a_password(server: Server) -> None:
    answer = await server.http.get("/.well-known/change-password")
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("/account/password")


async def trail(server: Server, name: str) -> list[events.Event]:
    return await server.runtime.database.read(events.list_events, name=name, limit=9)


async def _by_the_person(server: Server, user: users.User, email: str) -> None:
    person = Person(server, another(server))
    await person.sign_in(user.username)
    await person.open("/account/email")
    assert "and you sign in with it from then on" in person.text
    await person.send({"email": email})
    await person.open(next(link_in(text) for to, text in await letters(server) if to == email))
    await person.send({}, having="link")


async def _by_an_operator(server: Server, user: users.User, email: str) -> None:
    await people.change(server.runtime, user, Changes(email=email, email_verified=True), actor="test")


async def _in_two_steps(server: Server, user: users.User, email: str) -> None:
    changed = await people.change(server.runtime, user, Changes(email=email), actor="test")
    assert changed.username == user.username, "nobody has shown that the address is theirs"
    await people.change(server.runtime, changed, Changes(email_verified=True), actor="test")


@pytest.mark.parametrize("change", [_by_the_person, _by_an_operator, _in_two_steps])
async def test_a_user_name_that_is_an_address_follows_it(
    server: Server, change: Callable[[Server, users.User, str], Awaitable[None]]
) -> None:
    async def registered(email: str) -> users.User:
        link = await sign_up.invite(server.runtime, email, is_admin=False, inviter=None, actor="test")
        user = await sign_up.accept(server.runtime, link.partition("=")[2], password=PASSWORD, name=None)
        assert user is not None
        return user

    kim = await registered("Kim@example.com")
    await change(server, kim, "Kim@example.net")
    moved = await people.find(server.runtime, kim.id)
    assert (moved.username, moved.email) == ("Kim@example.net", "Kim@example.net")
    assert [
        e.data["username"] for e in await trail(server, "user.email_changed") if "username" in e.data
    ] == ["Kim@example.net"]
    told = [text for to, text in await letters(server) if to == "Kim@example.com"]
    assert ("From now on, sign in with the new one.\n\n" in told[0]) is (change is not _in_two_steps)
    person = Person(server, another(server))
    await person.sign_in("kim@example.com")
    assert person.path == "/sign-in"
    await person.sign_in("kim@example.net")
    assert person.path == "/account"
    other = await registered("kim@example.com")
    assert other.id != kim.id
    await registered("kim@example.org")
    with pytest.raises(OAuthError, match="conflict"):
        await _by_an_operator(server, other, "kim@exarnple.org")


async def test_an_operator_makes_an_account_that_is_named_by_its_address_if_that_is_verified(
    server: Server,
) -> None:
    own = {"username": "Kim@example.com", "email": "kim@EXAMPLE.com"}
    for given in (own, own | {"email_verified": True, "email": "eve@example.com"}):
        with pytest.raises(OAuthError, match="unless it is the account's own, verified e-mail address"):
            await accounts.create(server.runtime, **given, actor="test")
    made = await accounts.create(server.runtime, **own, email_verified=True, actor="test")
    assert await people.find(server.runtime, "kim@example.com") == made
    with pytest.raises(OAuthError) as taken:
        await accounts.create(server.runtime, **own, email_verified=True, actor="test")
    assert taken.value.code == "conflict"


async def test_an_address_that_is_left_empty_is_none_and_cannot_be_verified(server: Server) -> None:
    with pytest.raises(OAuthError, match="there is none to verify"):
        await accounts.create(server.runtime, username="kim", email="", email_verified=True, actor="test")
    made = await accounts.create(server.runtime, username="kim", email="", actor="test")
    assert (await people.find(server.runtime, made.id)).email is None


async def test_any_other_user_name_stays_when_the_address_changes(ada: Person) -> None:
    await _by_an_operator(ada.server, await user_of(ada.server), "ada@example.net")
    assert (await user_of(ada.server)).email == "ada@example.net"
    changed = (await trail(ada.server, "user.email_changed"))[0]
    assert changed.data == {"verified": True}
    assert "sign in with" not in next(text for to, text in await letters(ada.server) if to == EMAIL)
