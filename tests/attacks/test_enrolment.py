"""PS-05, LG-21, LG-24: one-time links where no passwords are taken; each makes one passkey, for one account, once."""

import html
import re
from pathlib import Path
from typing import Any

import pytest
from tests.attacks.enrolling import (
    LINKS,
    NEW,
    ORIGIN,
    PROVED,
    enrol,
    invitation,
    kept,
    owner_link,
    recovery,
    server,
    sign_in,
    visitor,
)
from tests.fixtures.accounts import options_in, session_of
from tests.fixtures.people import PASSWORD, letters, link_in
from tests.fixtures.servers import Server, open_server, together
from tests.unit.credentials.software_authenticator import USER_PRESENT, SoftwareAuthenticator

from watchword.flows.databases import start
from watchword.flows.users import accounts, people, sign_up
from watchword.oauth.errors import OAuthError
from watchword.store import users
from watchword.store.audit import events
from watchword.store.users import User

__all__ = ["server"]


each_link = pytest.mark.parametrize("kind", LINKS)


@each_link
async def test_a_link_leads_to_a_passkey_whose_proof_signs_in_and_says_what_it_was(
    server: Server, kind: str
) -> None:
    make, given, name = LINKS[kind]
    person = await visitor(server, await make(server))
    assert "new_password" not in (person.page.text if person.page else "")
    assert "Passkeys need JavaScript" in person.text, "without scripts the page says what is missing"
    device = SoftwareAuthenticator()
    assert await enrol(person, given, device.create(options_in(person), origin=ORIGIN))
    assert person.path == "/sign-in"
    assert not any("session" in cookie for cookie in person.http.cookies), "the link alone signs nobody in"
    assert await sign_in(person, device) == "/account"
    session = await session_of(server, name)
    assert (session.acr, set(session.amr)) == (PROVED, {"pop", "user", "mfa"})
    added = await server.runtime.database.read(events.list_events, limit=100, name="passkey.added")
    assert [(event.actor, event.target) for event in added] == [(session.user_id, session.user_id)]


@each_link
async def test_ps_05_a_link_makes_one_passkey_whoever_opens_it_again(server: Server, kind: str) -> None:
    make, given, name = LINKS[kind]
    link = await make(server)
    first, late = await visitor(server, link), await visitor(server, link)
    device, other = SoftwareAuthenticator(), SoftwareAuthenticator()
    asked = options_in(late)
    assert await enrol(first, given, device.create(options_in(first), origin=ORIGIN)), "the honest variant"
    assert not await enrol(late, given, other.create(asked, origin=ORIGIN))
    assert late.page is not None
    assert late.page.status_code == 404
    assert (await server.http.get(link)).status_code == 404
    assert await kept(server, name) == 1
    assert await sign_in(late, other) == "/sign-in"
    assert await sign_in(late, device) == "/account"


@each_link
async def test_ps_05_of_two_browsers_with_one_link_at_once_one_gets_the_account(
    server: Server, kind: str
) -> None:
    make, given, name = LINKS[kind]
    link = await make(server)
    pair = [await visitor(server, link), await visitor(server, link)]
    made = [SoftwareAuthenticator(), SoftwareAuthenticator()]
    answers = await together(
        *(
            enrol(person, given, device.create(options_in(person), origin=ORIGIN))
            for person, device in zip(pair, made, strict=True)
        )
    )
    assert sorted(answers) == [False, True]
    assert await kept(server, name) == 1
    winner = answers.index(True)
    assert await sign_in(pair[1 - winner], made[1 - winner]) == "/sign-in"
    assert await sign_in(pair[winner], made[winner]) == "/account"


@pytest.mark.parametrize(
    ("kind", "lifetime"),
    [
        ("the first owner's link", start.SETUP_LIFETIME),
        ("an invitation", sign_up.INVITE_LIFETIME),
        ("an administrator's link", people.RESET_LIFETIME),
    ],
)
async def test_ps_05_a_link_that_ran_out_between_page_and_passkey_is_nothing(
    server: Server, kind: str, lifetime: int
) -> None:
    make, given, name = LINKS[kind]
    link = await make(server)
    server.clock.advance(lifetime - 10)
    person = await visitor(server, link)
    answer = SoftwareAuthenticator().create(options_in(person), origin=ORIGIN)
    server.clock.advance(11)
    assert not await enrol(person, given, answer)
    assert await kept(server, name) <= 0
    again = await visitor(server, await make(server))
    honest = SoftwareAuthenticator().create(options_in(again), origin=ORIGIN)
    assert await enrol(again, given, honest), "the honest variant"


LIES: dict[str, dict[str, Any]] = {
    "an origin that is not ours": {"origin": "https://evil.example"},
    "our domain on another port": {"origin": "http://localhost:8080"},
    "a relying party that is not us": {"rp_id": "evil.example"},
    "an assertion in the place of a registration": {"kind": "webauthn.get"},
    "a frame of another site": {"client_data": {"crossOrigin": True, "topOrigin": "https://evil.example"}},
    "a device that checked nobody, though it is to sign in alone": {"flags": USER_PRESENT},
    "no challenge of this page": {"client_data": {"challenge": "A" * 86}},
}


@each_link
async def test_ps_07_a_lying_answer_makes_nothing_and_leaves_the_link(server: Server, kind: str) -> None:
    make, given, name = LINKS[kind]
    person = await visitor(server, await make(server))
    for lie, told in LIES.items():
        said: dict[str, Any] = {"origin": ORIGIN} | told
        assert not await enrol(person, given, SoftwareAuthenticator().create(options_in(person), **said)), lie
        assert person.page is not None
        assert person.page.status_code == 400
        assert await kept(server, name) <= 0
    honest = SoftwareAuthenticator().create(options_in(person), origin=ORIGIN)
    assert await enrol(person, given, honest), "the honest variant, by the same link"


async def test_ps_05_a_challenge_is_good_for_its_own_account_link_and_browser(server: Server) -> None:
    mine, yours = await invitation(server), await invitation(server, "eve@example.com")
    eve, kim, elsewhere = (
        await visitor(server, yours),
        await visitor(server, mine),
        await visitor(server, mine),
    )
    foreign = eve.form(having="challenge")["challenge"]
    stolen = SoftwareAuthenticator().create(options_in(eve), origin=ORIGIN)
    assert not await enrol(kim, {}, stolen, challenge=foreign), "another account's"
    other = elsewhere.form(having="challenge")["challenge"]
    moved = SoftwareAuthenticator().create(options_in(elsewhere), origin=ORIGIN)
    assert not await enrol(kim, {}, moved, challenge=other), "another browser's"
    assert await kept(server, NEW) == -1
    assert await enrol(kim, {}, SoftwareAuthenticator().create(options_in(kim), origin=ORIGIN))
    assert await enrol(eve, {}, SoftwareAuthenticator().create(options_in(eve), origin=ORIGIN))


async def test_ps_05_a_challenge_of_the_account_page_is_none_of_a_link(server: Server) -> None:
    person = await visitor(server, await invitation(server))
    device = SoftwareAuthenticator()
    assert await enrol(person, {}, device.create(options_in(person), origin=ORIGIN))
    assert await sign_in(person, device) == "/account"
    await person.open("/account/passkeys")
    challenge, asked = person.form(having="challenge")["challenge"], options_in(person)
    await person.open(await invitation(server, "eve@example.com"))
    wrong = SoftwareAuthenticator().create(asked, origin=ORIGIN)
    assert not await enrol(person, {}, wrong, challenge=challenge)
    assert await kept(server, "eve@example.com") == -1
    await person.open(await invitation(server, "eve@example.com"))
    assert await enrol(person, {}, SoftwareAuthenticator().create(options_in(person), origin=ORIGIN))


async def test_ps_02_a_credential_that_somebody_has_makes_no_second_account(server: Server) -> None:
    person = await visitor(server, await invitation(server))
    device = SoftwareAuthenticator()
    assert await enrol(person, {}, device.create(options_in(person), origin=ORIGIN))
    eve = await visitor(server, await invitation(server, "eve@example.com"))
    copied = SoftwareAuthenticator()
    copied.credential_id = device.credential_id
    assert not await enrol(eve, {}, copied.create(options_in(eve), origin=ORIGIN))
    assert await kept(server, "eve@example.com") == -1
    assert await enrol(eve, {}, SoftwareAuthenticator().create(options_in(eve), origin=ORIGIN))
    assert await sign_in(person, device) == "/account", "whose it is keeps it"


async def test_ps_05_an_administrators_link_stands_in_for_no_passkey(server: Server) -> None:
    link = await recovery(server)
    person = await visitor(server, link)
    device = SoftwareAuthenticator()
    assert await enrol(person, {}, device.create(options_in(person), origin=ORIGIN))
    with pytest.raises(OAuthError, match="remove-factors"):
        await recovery(server)
    assert await sign_in(person, device) == "/account"
    user = await server.runtime.database.read(users.find_user, "ada")
    assert isinstance(user, User)
    await people.remove_factors(server.runtime, user, actor="test")
    lost = await visitor(server, await recovery(server))
    fresh = SoftwareAuthenticator()
    assert await enrol(lost, {"end_others": "yes"}, fresh.create(options_in(lost), origin=ORIGIN))
    await person.open("/account")
    assert person.path == "/sign-in", "the sessions of before have ended"
    assert await sign_in(lost, device) == "/sign-in"
    assert await sign_in(lost, fresh) == "/account"


@pytest.mark.parametrize("kind", ["the first owner's link", "an invitation"])
async def test_a_password_is_no_answer_where_none_is_taken(server: Server, kind: str) -> None:
    make, given, name = LINKS[kind]
    person = await visitor(server, await make(server))
    await person.send({**given, "new_password": PASSWORD}, having="link")
    assert person.page is not None
    assert person.page.status_code == 400
    assert await kept(server, name) == -1


async def test_who_registers_by_an_address_makes_a_passkey_once_it_is_confirmed(tmp_path: Path) -> None:
    given: dict[str, Any] = {"mode": "development", "sign_in_methods": ("passkey",), "sign_up": "open"}
    async with open_server(tmp_path, **given) as server:
        person = await visitor(server, "/sign-in")
        assert person.page is not None
        assert "/sign-up" in person.page.text
        await person.open("/sign-up")
        await person.send({"email": NEW})
        link = next(link_in(text) for to, text in await letters(server) if to == NEW)
        await person.open(link)
        device = SoftwareAuthenticator()
        assert await enrol(person, {"name": "Kim"}, device.create(options_in(person), origin=ORIGIN))
        assert (await server.http.get(link)).status_code == 404
        assert await sign_in(person, device) == "/account"


async def test_a_name_that_is_taken_is_said_beside_its_field_and_the_link_lives_on(server: Server) -> None:
    await accounts.create(server.runtime, username="ada", actor="test")
    person = await visitor(server, await owner_link(server))
    device = SoftwareAuthenticator()
    assert not await enrol(person, {"username": "Ada"}, device.create(options_in(person), origin=ORIGIN))
    assert re.search(r'id="username"[^>]*value="Ada"', html.unescape(person.page.text if person.page else ""))
    assert await enrol(person, {"username": "grace"}, device.create(options_in(person), origin=ORIGIN))
    assert await sign_in(person, device) == "/account"
