"""LG-12 to LG-15, LG-21 to LG-24: names that look like others, passwords that are guessed first, links that are stolen or replayed."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fixtures.accounts import (
    EMAIL,
    OTHER,
    add_totp,
    another,
    change_password,
    make,
    session_of,
    user_of,
)
from tests.fixtures.people import PASSWORD, Person, letters, link_in
from tests.fixtures.rows import in_turn
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server, together

from watchword.flows import sessions as flow_sessions
from watchword.flows import sign_in
from watchword.flows.mail import Origin
from watchword.flows.throttle import Source
from watchword.flows.users import account_changes, accounts, people, sign_up
from watchword.oauth.errors import OAuthError
from watchword.store import sessions

HERE = Origin("192.0.2.1", "Firefox on Linux")

server = server_with(make, mode="development", sign_up="open")


async def mailed(server: Server, to: str, page: str) -> str:
    """Return the newest link that was mailed to an address."""
    return next(link_in(text) for whom, text in await letters(server) if whom == to and page in text)


async def reset_link(server: Server, email: str = EMAIL) -> str:
    """Ask for a link and return it."""
    person = Person(server, another(server))
    await person.open("/recover")
    await person.send({"identifier": email})
    return await mailed(server, email, "/reset-password")


async def set_password(server: Server, link: str, password: str = OTHER) -> httpx.Response:
    """Set a password by a link at a fresh browser."""
    person = Person(server, another(server))
    opened = await person.open(link)
    if opened.status_code != 200:
        return opened
    return await person.send({"new_password": password, "end_others": "yes"})


async def test_lg_14_a_name_that_could_be_taken_for_another_is_not_given_out(server: Server) -> None:
    for name in ["Ada", "ADA", "ａｄａ", "аda", "ada\u200b", "ada.", " ada", "ada" + "\u0301" * 5]:
        with pytest.raises(OAuthError) as refused:
            await accounts.create(server.runtime, username=name, password=PASSWORD, actor="test")
        assert refused.value.code in ("conflict", "invalid_request"), name
    made = await accounts.create(server.runtime, username="adam", password=PASSWORD, actor="test")
    assert made.username == "adam", "the honest variant"


@in_turn(
    "password",
    ["fourteen chars", "passwordpassword", "qwertyuiopasdfgh", "ada@example.com ada",
     "watchwordwatchword", "111111111111111", "123456789012345"],
)  # fmt: skip
async def test_lg_12_a_password_that_is_guessed_first_is_refused_beside_its_field(
    ada: Person, password: str
) -> None:
    await ada.sign_in()
    await ada.open("/account/password")
    answer = await ada.send({"password": PASSWORD, "new_password": password})
    assert answer.status_code == 400
    assert re.search(r'id="new_password"[^>]*aria-invalid="true"', answer.text)
    if len(password) > 8:
        assert password not in answer.text, "it is not sent back"


@pytest.mark.parametrize(
    "password",
    [
        "lowercase words only here",
        "🦉🐙🌵🚲🧭🎻🥨🪁🦔🍋🧶🎲🪐🦚🛶",
        "we drank cold tea on a slow ferry while it rained on the harbour of Bergen",
        "1 lone digit amid the words",
    ],
)
async def test_lg_12_length_counts_and_composition_does_not(ada: Person, password: str) -> None:
    await ada.sign_in()
    await change_password(ada, PASSWORD, password)
    assert "Your password is changed." in ada.text
    await ada.open("/sign-out")
    await ada.send({"decision": "sign_out"})
    await ada.sign_in(password=password)
    assert ada.path == "/account", "whole and untruncated"


ADDRESSES = ["a@b@c", '"a b"@example.com', "a@example.com\r\nBcc: eve@example.com", "a@", "@example.com", "a@exa mple.com",
             "a@[127.0.0.1]", "a\x00@example.com", "a@example..com"]  # fmt: skip


async def test_lg_15_what_is_no_address_is_refused_and_mails_nobody(ada: Person) -> None:
    for address in ADDRESSES:
        await ada.open("/sign-up")
        answer = await ada.send({"email": address})
        assert answer.status_code == 400, address
        with pytest.raises(OAuthError):
            await sign_up.invite(ada.server.runtime, address, is_admin=False, inviter=None, actor="test")
    assert await letters(ada.server) == []
    await ada.open("/sign-up")
    await ada.send({"email": "gruss@bücher.example"})
    assert (await letters(ada.server))[0][0] == "gruss@xn--bcher-kva.example", "the honest variant"


async def test_lg_21_a_reset_link_works_once(server: Server) -> None:
    link = await reset_link(server)
    assert (await set_password(server, link)).url.path == "/sign-in"
    assert (await set_password(server, link)).status_code == 404


async def test_lg_21_of_two_uses_at_once_one_counts(server: Server) -> None:
    link = await reset_link(server)
    answers = await together(set_password(server, link), set_password(server, link, "other words than those"))
    assert sorted(answer.url.path for answer in answers) == ["/reset-password", "/sign-in"]


async def test_lg_16_of_two_who_change_a_password_by_the_old_one_at_once_one_does(ada: Person) -> None:
    server = ada.server
    people_here = [ada, Person(server, another(server))]
    news = ["the first set of other words", "the second set of other words"]
    for person in people_here:
        await person.sign_in()
        await person.open("/account/password")
    asked = {"password": PASSWORD, "end_others": "yes"}
    await together(
        *(
            person.send({**asked, "new_password": new}, having="csrf", index=-1)
            for person, new in zip(people_here, news, strict=True)
        )
    )
    changed = ["Your password is changed." in person.text for person in people_here]
    assert sorted(changed) == [False, True], "whoever was told that it is changed has changed it"
    for new, is_it in zip(news, changed, strict=True):
        someone = Person(server, another(server))
        await someone.sign_in(password=new)
        assert (someone.path == "/account") is is_it


async def test_lg_16_who_proved_the_old_password_before_it_was_changed_is_not_signed_in_afterwards(
    ada: Person,
) -> None:
    server = ada.server
    await ada.sign_in()
    server.clock.advance(60)
    given: dict[str, Any] = {"acr": "", "amr": ("pwd",), "user_agent": "", "address": ""}
    slow = await sign_in.by_password(server.runtime, "ada", PASSWORD, Source("203.0.113.9"))
    session, _ = await flow_sessions.begin(server.runtime, slow.id, **given, proved=slow)
    assert await is_live(server, session.id), "the honest variant"
    await change_password(ada, PASSWORD, OTHER)
    assert not await is_live(server, session.id)
    with pytest.raises(OAuthError) as refused:
        await flow_sessions.begin(server.runtime, slow.id, **given, proved=slow)
    assert refused.value.code == "access_denied"
    fresh = await sign_in.by_password(server.runtime, "ada", OTHER, Source("203.0.113.9"))
    await flow_sessions.begin(server.runtime, fresh.id, **given, proved=fresh)


async def is_live(server: Server, session_id: str) -> bool:
    """Whether a session goes on."""
    now = server.runtime.now()
    return await server.runtime.database.read(sessions.get_session, session_id, now) is not None


async def test_lg_21_a_reset_link_lives_half_an_hour(server: Server) -> None:
    link = await reset_link(server)
    server.clock.advance(1801)
    assert (await set_password(server, link)).status_code == 404
    assert (await set_password(server, await reset_link(server))).url.path == "/sign-in"


@pytest.mark.parametrize(
    "change", ["another link", "another password", "another address", "the account disabled"]
)
async def test_lg_21_a_link_ends_with_what_it_was_made_for(ada: Person, change: str) -> None:
    server = ada.server
    link = await reset_link(server)
    user = await user_of(server)
    if change == "another link":
        await reset_link(server)
    elif change == "another password":
        await ada.sign_in()
        await change_password(ada, PASSWORD, "some entirely new words here")
    elif change in ("its session ended", "every other session ended"):
        await end_sessions(server, ada, one=change == "its session ended")
    elif change == "another address":
        changes = people.Changes(email="ada@example.org", email_verified=True)
        await people.change(server.runtime, user, changes, actor="test")
    else:
        await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert (await set_password(server, link)).status_code == 404


async def test_lg_21_a_link_names_the_issuer_whatever_the_host_header_says(server: Server) -> None:
    person = Person(server, another(server))
    await person.open("/recover")
    form = person.form()
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example"}
    await person.http.post("/recover", data={"csrf": form["csrf"], "identifier": EMAIL}, headers=headers)
    link = await mailed(server, EMAIL, "/reset-password")
    assert link.startswith(f"{server.settings.issuer}/reset-password?link=")
    page = await server.http.get(link)
    assert page.headers["referrer-policy"] == "same-origin", "the link leaves by no Referer"
    assert not re.search(r'(?:href|src)="https?://(?!localhost)', page.text)


async def test_lg_21_a_link_sets_the_password_of_its_own_account_only(server: Server) -> None:
    await make(server, "eve", "eve@example.com")
    link = await reset_link(server, "eve@example.com")
    person = Person(server, another(server))
    await person.open(link)
    await person.send({"new_password": OTHER, "end_others": "yes", "identifier": "ada", "user": "ada"})
    assert (await Person(server, another(server)).sign_in("ada", OTHER)).status_code == 401
    assert (await Person(server, another(server)).sign_in("eve", OTHER)).status_code == 200


async def test_lg_22_no_step_is_skipped(server: Server) -> None:
    person = Person(server, another(server))
    await person.open("/sign-in")
    csrf = person.form()["csrf"]
    wishes = await reset_link(server)
    verify = wishes.replace("/reset-password", "/verify-email")
    for address, fields in {
        "/reset-password": {"new_password": OTHER},
        "/reset-password?link=x": {"new_password": OTHER, "link": "x"},
        "/sign-up": {"new_password": PASSWORD, "name": "Eve", "link": "wwu_" + "0" * 36},
        "/verify-email": {"link": wishes.partition("link=")[2]},
        "/sign-in/second-factor": {"method": "totp", "code": "000000"},
        "/upstream/link": {"password": PASSWORD},
        "/setup": {"username": "eve", "new_password": PASSWORD},
    }.items():
        answer = await person.http.post(address, data={"csrf": csrf, **fields})
        assert answer.status_code in (303, 400, 404), address
        assert "/account" not in answer.headers.get("location", "")
        assert not any("session" in name for name in person.http.cookies), address
    assert (await server.http.get(verify)).status_code == 404, "a link for one thing is none for another"
    assert (await set_password(server, wishes)).url.path == "/sign-in", "the honest variant"


async def test_lg_23_only_the_confirmed_address_counts_and_the_newest_wish(ada: Person) -> None:
    server = ada.server
    await ada.sign_in()
    links = []
    for address in ("first@example.com", "second@example.com"):
        await ada.open("/account/email")
        await ada.send({"email": address})
        links.append(await mailed(server, address, "/verify-email"))
    assert (await ada.open(links[0])).status_code == 404, "the older wish is dead"
    await ada.open(links[1])
    await ada.send({}, having="link")
    assert (await user_of(server)).email == "second@example.com"
    assert (await ada.open(links[1])).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        "another password",
        "a reset",
        "the other sessions ended",
        "its session ended",
        "every other session ended",
        "another address",
        "the account disabled",
    ],
)
async def test_lg_23_a_wish_for_an_address_ends_with_what_throws_its_author_out(
    ada: Person, change: str
) -> None:
    server, thief = ada.server, Person(ada.server, another(ada.server))
    await thief.sign_in()
    await thief.open("/account/email")
    await thief.send({"email": "eve@example.net"})
    link = await mailed(server, "eve@example.net", "/verify-email")
    assert (await server.http.get(link)).status_code == 200, "the honest variant: it could be confirmed"
    user = await user_of(server)
    if change == "another password":
        await ada.sign_in()
        await change_password(ada, PASSWORD, OTHER)
    elif change == "a reset":
        await set_password(server, await reset_link(server))
    elif change == "the other sessions ended":
        await ada.sign_in()
        await add_totp(ada, end_others="yes")
    elif change in ("its session ended", "every other session ended"):
        await end_sessions(server, ada, one=change == "its session ended")
    elif change == "another address":
        changes = people.Changes(email="ada@example.org", email_verified=True)
        await people.change(server.runtime, user, changes, actor="test")
    else:
        await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert await account_changes.confirm_email(server.runtime, link.partition("link=")[2], HERE) == "gone"
    assert (await user_of(server)).email != "eve@example.net"


async def end_sessions(server: Server, person: Person, *, one: bool) -> None:
    """Sign in anew and end the session from before, by name or with all others."""
    before = await session_of(server)
    await person.sign_in()
    await person.open("/account/sessions")
    await person.send({"do": "end", "session": before.id} if one else {"do": "end_others"})


async def wish(server: Server, name: str, address: str) -> bool:
    """Ask for another address in a session of one's own."""
    await Person(server, another(server)).sign_in(name)
    user, session = await user_of(server, name), await session_of(server, name)
    return await account_changes.request_email(server.runtime, user, session.id, address, HERE)


async def test_lg_23_nothing_is_wished_in_a_session_that_has_ended(ada: Person) -> None:
    server = ada.server
    assert await wish(server, "ada", "first@example.com"), "the honest variant"
    user, session = await user_of(server), await session_of(server)
    assert await flow_sessions.end_all(server.runtime, user.id, actor="test")
    asked = account_changes.request_email(server.runtime, user, session.id, "eve@example.net", HERE)
    assert not await asked
    assert await account_changes.pending_email(server.runtime, user.id) is None
    assert "eve@example.net" not in {to for to, _ in await letters(server)}


async def test_lg_23_an_address_that_is_somebodys_name_is_nobody_elses(server: Server) -> None:
    await sign_up.request(server.runtime, "grace@example.com", HERE)
    link = await mailed(server, "grace@example.com", "/sign-up")
    grace = await sign_up.accept(server.runtime, link.partition("link=")[2], password=PASSWORD, name=None)
    assert grace is not None
    moved = people.Changes(email="grace@example.net")  # not verified, so that her name stays
    await people.change(server.runtime, grace, moved, actor="test")
    await make(server, "eve", "eve@example.com")
    for address, outcome in (("grace@example.com", "taken"), ("eve@example.net", "changed")):
        assert await wish(server, "eve", address)
        link = (await mailed(server, address, "/verify-email")).partition("link=")[2]
        assert await account_changes.confirm_email(server.runtime, link, HERE) == outcome
    with pytest.raises(OAuthError, match="taken"):
        await accounts.create(
            server.runtime, username="bob", email="grace@example.com", email_verified=True, actor="test"
        )
    assert (await Person(server, another(server)).sign_in("grace@example.com")).status_code == 200


async def test_lg_23_an_address_goes_to_one_of_two_that_confirm_it_at_once(server: Server) -> None:
    await make(server, "eve", "eve@example.com")
    calls = []
    for name in ("ada", "eve"):
        assert await wish(server, name, "shared@example.com")
        link = (await mailed(server, "shared@example.com", "/verify-email")).partition("link=")[2]
        calls.append(account_changes.confirm_email(server.runtime, link, HERE))
    assert sorted(await together(*calls)) == ["changed", "taken"]


async def test_lg_23_nobody_verifies_an_address_by_saying_so(ada: Person) -> None:
    server = ada.server
    await ada.sign_in()
    await ada.open("/account/email")
    await ada.send({"email": "victim@example.com", "email_verified": "true", "verified": "1"})
    user = await user_of(server)
    assert user.email == EMAIL
    await ada.open("/account")
    await ada.send(
        {"name": "Ada", "email": "victim@example.com", "email_verified": "true", "is_admin": "true"}
    )
    user = await user_of(server)
    assert (user.email, user.is_admin, user.display_name) == (EMAIL, False, "Ada")


async def test_lg_24_there_is_no_account_that_nobody_made(tmp_path: Path) -> None:
    async with open_server(tmp_path) as empty:
        person = Person(empty, another(empty))
        for name, password in (("admin", "admin"), ("admin", "password"), ("root", ""), ("admin", "")):
            assert (await person.sign_in(name, password)).status_code == 401
        assert (await empty.http.get("/setup")).status_code == 404
        assert (await empty.http.get("/setup?link=wwu_" + "0" * 36)).status_code == 404
