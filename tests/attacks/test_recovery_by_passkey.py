"""PS-05: what a link for who forgot a password makes where passkeys are taken as well, or people come from providers only."""

from pathlib import Path
from typing import Any

import pytest
from tests.attacks.enrolling import (
    LINKS,
    ORIGIN,
    PROVED,
    Link,
    enrol,
    kept,
    recovery,
    server,
    sign_in,
    visitor,
)
from tests.fixtures.accounts import EMAIL, OTHER, add_totp, another, make, options_in, session_of
from tests.fixtures.people import PASSWORD, Person, letters, link_in
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server
from tests.unit.credentials.software_authenticator import SoftwareAuthenticator

from watchword.oauth.errors import OAuthError
from watchword.settings import Upstream
from watchword.store import users
from watchword.store.audit import events

__all__ = ["server"]


@pytest.mark.parametrize("kind", ["the first owner's link", "an invitation"])
@pytest.mark.parametrize("way", ["passkey", "password"])
async def test_where_both_are_taken_the_page_offers_both(tmp_path: Path, kind: str, way: str) -> None:
    make, given, name = LINKS[kind]
    async with open_server(tmp_path, mode="development") as server:
        person = await visitor(server, await make(server))
        assert person.page is not None
        assert "new_password" in person.page.text
        device = SoftwareAuthenticator()
        answer = device.create(options_in(person), origin=ORIGIN)
        if way == "passkey":
            assert await enrol(person, given, answer)
            assert await sign_in(person, device) == "/account"
        else:
            await person.send({**given, "new_password": PASSWORD}, having="link")
            assert "Your account is ready." in person.text
        assert await kept(server, name) == (1 if way == "passkey" else 0)


# The application: people sign in with a password or a passkey; one has a password
either = server_with(make, mode="development")


async def mailed(server: Server) -> str:
    """Return the link that answers a person's wish for a new password."""
    asking = Person(server, another(server))
    await asking.open("/recover")
    await asking.send({"identifier": "ada"})
    return next(link_in(text) for to, text in await letters(server) if to == EMAIL)


each_recovery = pytest.mark.parametrize("make_link", [mailed, recovery], ids=["mailed", "handed over"])


@each_recovery
@pytest.mark.parametrize("end", ["yes", ""])
async def test_ps_05_a_recovery_link_makes_a_passkey_in_the_place_of_a_password(
    either: Server, make_link: Link, end: str
) -> None:
    await make(either, "grace", "grace@example.com")
    signed_in, half = Person(either, another(either)), Person(either, another(either))
    await signed_in.sign_in()
    person = await visitor(either, await make_link(either))
    assert "It replaces your password." in person.text
    device = SoftwareAuthenticator()
    answer = device.create(options_in(person), origin=ORIGIN)
    assert await enrol(person, {"new_password": ""}, answer, end_others=end)
    told = next(text for to, text in await letters(either) if to == EMAIL and "A passkey was set up" in text)
    assert "It replaces your password, which no longer works." in told
    assert ("your API tokens have lost access" in told) is bool(end)
    assert not any("session" in cookie for cookie in person.http.cookies), "the link alone signs nobody in"
    await half.sign_in()
    assert half.path == "/sign-in", "whoever knew the old password is out"
    await signed_in.open("/account")
    assert signed_in.path == ("/sign-in" if end else "/account")
    assert await sign_in(person, device) == "/account"
    assert (await session_of(either)).acr == PROVED
    removed = await either.runtime.database.read(events.list_events, limit=9, name="user.password_removed")
    assert len(removed) == 1
    bystander = Person(either, another(either))
    await bystander.sign_in("grace")
    assert bystander.path == "/account", "another person's password is hers still"


@each_recovery
async def test_ps_05_a_recovery_link_still_sets_a_password_where_a_passkey_is_offered_as_well(
    either: Server, make_link: Link
) -> None:
    person = await visitor(either, await make_link(either))
    await person.send({"new_password": OTHER}, having="link")
    assert "Your password is set." in person.text
    await person.sign_in(password=OTHER)
    assert person.path == "/account"
    assert await kept(either, "ada") == 0


@each_recovery
async def test_ps_05_beside_a_factor_a_recovery_link_offers_no_passkey_and_takes_none(
    either: Server, make_link: Link
) -> None:
    link = await make_link(either)
    early = await visitor(either, link)
    answer = SoftwareAuthenticator().create(options_in(early), origin=ORIGIN)
    owner = Person(either, another(either))
    await owner.sign_in()
    await add_totp(owner)
    late = await visitor(either, link)
    assert "data-passkey" not in (late.page.text if late.page else "")
    assert not await enrol(early, {}, answer), "a page from before does not spare the factor either"
    assert await kept(either, "ada") == 0
    late = await visitor(either, link)
    await late.send({"new_password": OTHER}, having="link")
    assert "Your password is set." in late.text, "the honest variant: the link lives on, for a password"


async def test_where_people_come_from_providers_only_nobody_is_given_a_link_for_a_password(
    tmp_path: Path,
) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer="https://id.example.com")
    given: dict[str, Any] = {"mode": "development", "sign_in_methods": (), "upstream": (hub,)}
    async with open_server(tmp_path, **given) as server:
        with pytest.raises(OAuthError, match="provider"):
            await recovery(server)


async def test_a_link_that_was_handed_over_proves_no_address(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development") as server:
        person = Person(server, another(server))
        await person.open(await recovery(server, "ada"))
        await person.send({"new_password": OTHER})
        assert (await Person(server, another(server)).sign_in("ada", OTHER)).status_code == 200, "it works"
        told = await server.runtime.database.read(users.find_user, "ada")
        assert told is not None
        assert told.email is not None, "the address that an administrator typed"
        assert told.email_verified_at is None
