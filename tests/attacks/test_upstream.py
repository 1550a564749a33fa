"""FD-01, FD-03, MF-06: a provider's word signs nobody in as somebody else, and links nothing unasked."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.fixtures.accounts import (
    EMAIL,
    OTHER,
    add_totp,
    another,
    code_of,
    make,
    options_in,
    session_of,
    user_of,
)
from tests.fixtures.lying_provider import PATH, Provider, begin, come_back, link, provider, server, sign_in
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.servers import Server, open_server
from tests.unit.credentials.software_authenticator import USER_PRESENT, USER_VERIFIED, SoftwareAuthenticator

from watchword.credentials.upstream import Identity
from watchword.flows.upstream import upstream_links
from watchword.flows.users import account_changes
from watchword.jose import jwt
from watchword.oauth import logout
from watchword.settings import Upstream

__all__ = ["provider", "server"]


async def test_fd_01_an_address_signs_nobody_in_and_links_nothing(server: Server, provider: Provider) -> None:
    assert await sign_in(server, provider) == "/upstream/link", "a verified one leads to a question"
    for verified in (False, "true", 1, None):
        provider.claims = {"sub": "1", "email": EMAIL, "email_verified": verified}
        assert await sign_in(server, provider) == PATH, verified
    provider.claims = {"sub": "2", "email": EMAIL, "email_verified": True, "preferred_username": "ada"}
    assert await sign_in(server, provider) == "/upstream/link"
    provider.claims = {"sub": "248289761001", "email": EMAIL, "email_verified": True}
    await link(server, provider)
    assert await sign_in(server, provider) == "/account", "the honest variant"


async def test_fd_01_the_same_address_under_another_subject_is_somebody_else(
    server: Server, provider: Provider
) -> None:
    await link(server, provider)
    provider.claims = {"sub": "another", "email": EMAIL, "email_verified": True}
    assert await sign_in(server, provider) == "/upstream/link"
    provider.claims = {"sub": "248289761001", "email": "moved@example.org", "email_verified": False}
    assert await sign_in(server, provider) == "/account", "who it is says the subject alone"


async def test_fd_01_the_same_subject_of_another_provider_is_somebody_else(
    server: Server, provider: Provider, tmp_path: Path
) -> None:
    await link(server, provider)
    other = Provider()
    other.now = server.clock
    other.claims = {"sub": "248289761001"}
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=other.issuer)
    async with open_server(
        tmp_path, mode="development", fetch_allow_loopback=True, upstream=(hub,)
    ) as second:
        assert await sign_in(second, other) == PATH
    other.server.shutdown()


async def test_fd_01_who_is_signed_in_is_linked_only_where_they_asked_for_it(
    server: Server, provider: Provider
) -> None:
    """Whoever sends a signed-in browser through their own provider account must not get into the account by it."""
    victim = Person(server, another(server))
    await victim.sign_in()
    provider.claims = {"sub": "the attacker"}
    await come_back(victim, await begin(victim, provider))
    assert await sign_in(server, provider) == PATH, "the attacker's account opens nothing"
    await victim.open("/account")
    assert victim.page is not None
    ticket = victim.page.text.split("/upstream/hub?link=")[1].split('"')[0]
    for forged in ("0" * 64, ticket[:-1] + ("0" if ticket[-1] != "0" else "1")):
        assert (await victim.http.get(f"/upstream/hub?link={forged}")).status_code == 400
    stranger = Person(server, another(server))
    assert (
        (await stranger.http.get(f"/upstream/hub?link={ticket}"))
        .headers["location"]
        .startswith(f"{server.settings.issuer}/sign-in")
    )
    provider.claims = {"sub": "her own"}
    copied = dict(victim.http.cookies)
    assert (
        await come_back(victim, await begin(victim, provider, f"/upstream/hub?link={ticket}")) == "/account"
    )
    assert "Your accounts are connected." in victim.text
    thief = another(server)
    thief.cookies.update(copied)
    assert (await thief.get("/account")).status_code == 303, "SE-01: a copy of the cookie from before is dead"
    assert (await victim.http.get("/account")).status_code == 200
    assert await sign_in(server, provider) == "/account", "the honest variant"
    assert any("Another way to sign in was connected" in text for _, text in await letters(server))


async def test_fd_01_linking_needs_a_fresh_proof_and_the_same_session(
    server: Server, provider: Provider
) -> None:
    person = Person(server, another(server))
    await person.sign_in()
    await person.open("/account")
    assert person.page is not None
    ticket = person.page.text.split("/upstream/hub?link=")[1].split('"')[0]
    answer = await begin(person, provider, f"/upstream/hub?link={ticket}")
    await person.open("/sign-out")
    await person.send({"decision": "sign_out"})
    assert await come_back(person, answer) == PATH, "signed out meanwhile"
    await person.sign_in()
    await person.open("/account")
    ticket = person.page.text.split("/upstream/hub?link=")[1].split('"')[0]
    server.clock.advance(700)
    await person.open(f"/upstream/hub?link={ticket}")
    assert person.path == "/step-up"
    await person.send({"password": PASSWORD}, having="method")
    assert person.path == "/account", "where they begin again, and not at the provider"


async def test_mf_06_a_provider_is_linked_after_the_second_factor_only(
    server: Server, provider: Provider
) -> None:
    ada = Person(server, another(server))
    await ada.sign_in()
    key = await add_totp(ada)
    server.clock.advance(31)
    person = Person(server, another(server))
    await person.sign_in()
    await person.send({"code": code_of(server, key), "remember": "yes"}, having="method")
    await person.open("/sign-out")
    await person.send({"decision": "sign_out"})
    assert await come_back(person, await begin(person, provider)) == "/upstream/link"
    await person.send({"password": PASSWORD}, having="identifier")
    assert person.path == "/sign-in/second-factor", "that the browser is trusted does not spare it"
    assert await sign_in(server, provider) == "/upstream/link", "nothing is linked by a password alone"
    server.clock.advance(31)
    await person.send({"code": code_of(server, key)}, having="method")
    assert person.path == "/account", "the honest variant"
    assert await sign_in(server, provider) == "/sign-in/second-factor", "linked, and no way around it"
    assert any("Another way to sign in was connected" in text for _, text in await letters(server))


async def test_mf_06_a_first_password_is_set_after_the_second_factor_only(
    server: Server, provider: Provider
) -> None:
    provider.claims = {"sub": "g", "email": "grace@example.com", "email_verified": True}
    grace = Person(server, another(server))
    assert await come_back(grace, await begin(grace, provider)) == "/account"
    key = await add_totp(grace)
    server.clock.advance(31)
    await grace.open("/sign-out")
    await grace.send({"decision": "sign_out"})
    await come_back(grace, await begin(grace, provider))
    await grace.send({"code": code_of(server, key), "remember": "yes"}, having="method")
    await grace.open("/sign-out")
    await grace.send({"decision": "sign_out"})
    assert await come_back(grace, await begin(grace, provider)) == "/account", "a trusted browser"
    await grace.open("/account/password")
    await grace.send({"new_password": OTHER}, having="csrf", index=-1)
    assert grace.path == "/step-up"
    server.clock.advance(31)
    await grace.send({"code": code_of(server, key)}, having="method")
    await grace.send({"new_password": OTHER}, having="csrf", index=-1)
    assert "notice=password_changed" in str(grace.page and grace.page.url), "the honest variant"


async def test_a_password_proves_nothing_where_passwords_are_not_taken(
    provider: Provider, tmp_path: Path
) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer)
    given: dict[str, Any] = {"mode": "development", "fetch_allow_loopback": True, "upstream": (hub,)}
    async with open_server(tmp_path, sign_in_methods=(), **given) as server:
        provider.now = server.clock
        await make(server)
        person = Person(server, another(server))
        assert await come_back(person, await begin(person, provider)) == "/upstream/link"
        fields = {"csrf": person.form()["csrf"], "password": PASSWORD, "decision": "link"}
        assert (await person.http.post("/upstream/link", data=fields)).status_code == 401
        identity = Identity(provider.issuer, "248289761001")
        assert await upstream_links.link(server.runtime, await user_of(server), identity)
        assert await come_back(person, await begin(person, provider)) == "/account", "the honest variant"
        server.clock.advance(700)
        await person.open("/account/email")
        assert person.path == "/step-up"
        assert person.page is not None
        assert 'name="password"' not in person.page.text


async def test_a_linked_provider_is_disconnected_unless_it_is_the_last_way_in(
    server: Server, provider: Provider
) -> None:
    person = await link(server, provider)
    await person.open("/account")
    server.clock.advance(700)
    await person.send({}, having="provider")
    assert person.path == "/step-up"
    await person.send({"password": PASSWORD}, having="method")
    assert person.path == "/account", "the page with the form, and not where it led"
    told = "A connected way to sign in was removed from your account"
    assert not any(told in text for _, text in await letters(server))
    await person.send({}, having="provider")
    assert "Disconnected." in person.text
    assert any(to == EMAIL and told in text for to, text in await letters(server))
    assert await sign_in(server, provider) == "/upstream/link"
    provider.claims = {"sub": "g", "email": "grace@example.com", "email_verified": True}
    grace = Person(server, another(server))
    assert await come_back(grace, await begin(grace, provider)) == "/account"
    await grace.open("/account")
    refused = await grace.send({}, having="provider")
    assert refused.status_code == 400
    assert "the last way to sign in" in grace.text
    assert await sign_in(server, provider) == "/account"


async def test_a_passkey_that_does_not_sign_in_alone_is_no_way_in_that_is_left(
    server: Server, provider: Provider
) -> None:
    provider.claims = {"sub": "g", "email": "grace@example.com", "email_verified": True}
    grace = Person(server, another(server))
    assert await come_back(grace, await begin(grace, provider)) == "/account"
    device = SoftwareAuthenticator(flags=USER_PRESENT)
    await grace.open("/account/passkeys")
    answer = device.create(options_in(grace), origin="http://localhost")
    await grace.send({"do": "add", "name": "x", "credential": answer}, having="challenge")
    assert "Passkey added." in grace.text

    async def disconnect() -> int:
        await grace.open("/account")
        return (await grace.send({}, having="provider")).status_code

    async def by_passkey(flags: int) -> str:
        person = Person(server, another(server))
        await person.open("/sign-in")
        answer = device.get(options_in(person), origin="http://localhost", flags=flags)
        await person.send({"credential": answer}, having="challenge")
        return person.path

    assert await by_passkey(USER_PRESENT) == "/sign-in"
    assert await disconnect() == 400
    assert "the last way to sign in" in grace.text
    assert await by_passkey(USER_PRESENT | USER_VERIFIED) == "/account", "it has a PIN since"
    assert await disconnect() == 200
    assert await by_passkey(USER_PRESENT | USER_VERIFIED) == "/account"


async def test_who_only_ever_comes_by_a_provider_signs_in_anew_before_a_change(
    server: Server, provider: Provider
) -> None:
    provider.claims = {"sub": "g", "email": "grace@example.com", "email_verified": True}
    grace = Person(server, another(server))
    assert await come_back(grace, await begin(grace, provider)) == "/account"
    assert (await grace.open("/account/passkeys")).status_code == 200
    server.clock.advance(700)
    await grace.open("/account/passkeys")
    assert grace.path == "/step-up"
    assert grace.page is not None
    address = grace.page.text.split('href="')
    onward = next(part.split('"')[0] for part in address if "/upstream/hub" in part.split('"')[0])
    asked = (await grace.http.get(onward)).headers["location"]
    assert parse_qs(urlsplit(asked).query)["prompt"] == ["login"], (
        "the provider's own session does not answer"
    )
    assert await come_back(grace, await begin(grace, provider, onward)) == "/account/passkeys"


async def test_fd_03_who_has_a_disabled_account_is_not_asked_to_link_it(
    server: Server, provider: Provider
) -> None:
    user = await user_of(server)
    await account_changes.set_disabled(server.runtime, user, True, actor="test")
    person = Person(server, another(server))
    assert await come_back(person, await begin(person, provider)) == PATH
    assert "didn’t sign you in" in person.text
    await account_changes.set_disabled(server.runtime, user, False, actor="test")
    assert await come_back(person, await begin(person, provider)) == "/upstream/link", "the honest variant"


async def test_fd_03_a_disabled_account_stays_disabled(server: Server, provider: Provider) -> None:
    await link(server, provider)
    assert await sign_in(server, provider) == "/account"
    user = await user_of(server)
    await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert await sign_in(server, provider) == PATH
    assert (await user_of(server)).disabled_at is not None
    await account_changes.set_disabled(server.runtime, user, False, actor="test")
    assert await sign_in(server, provider) == "/account"
    assert (await session_of(server)).amr == ("fed",)


async def test_a_proof_at_a_provider_leaves_a_remembered_device_remembered(
    server: Server, provider: Provider
) -> None:
    await link(server, provider)
    person = Person(server, another(server))
    await person.sign_in(remember="yes")
    server.clock.advance(700)
    before = await session_of(server)
    assert before.remembered
    assert await come_back(person, await begin(person, provider)) == "/account"
    session = await session_of(server)
    assert (session.id, session.remembered) == (before.id, True), "it is the same session"
    assert session.confirmed_at > before.confirmed_at
    await make(server, "eve", "eve@example.com")
    fresh, shared = Person(server, another(server)), Person(server, another(server))
    await fresh.open("/account")
    await shared.sign_in("eve", remember="yes")
    assert (await session_of(server, "eve")).remembered
    for browser in (fresh, shared, shared):  # the last time as who is signed in
        assert await come_back(browser, await begin(browser, provider)) == "/account"
        assert not (await session_of(server)).remembered, "nobody asked for it as this person in this browser"


async def test_a_providers_own_session_proves_nothing_again_of_who_is_signed_in(
    server: Server, provider: Provider
) -> None:
    person = await link(server, provider)
    server.clock.advance(3600)
    provider.claims["auth_time"] = int(server.clock()) - 1800
    before = (await session_of(server)).confirmed_at
    assert await come_back(person, await begin(person, provider)) == PATH, "prompt=login was taken away"
    assert (await session_of(server)).confirmed_at == before
    assert await sign_in(server, provider) == "/account", "the honest variant for who is not signed in"
    provider.claims["auth_time"] = int(server.clock())
    assert await come_back(person, await begin(person, provider)) == "/account", "the honest variant"


async def signed_out(server: Server, provider: Provider, subject: str | None, sid: str | None) -> None:
    """Let the provider say that somebody has signed out there."""
    claims = logout.logout_token_claims(
        issuer=provider.issuer, client_id="us", subject=subject, sid=sid, jti="j", now=int(server.clock())
    )
    told = {"logout_token": jwt.encode(provider.key, claims, typ="logout+jwt")}
    assert (await server.http.post("/upstream/hub/backchannel-logout", data=told)).status_code == 200


@pytest.mark.parametrize("before", [True, False], ids=["signed in here before", "not signed in here yet"])
@pytest.mark.parametrize(
    ("subject", "sid", "finishes"),
    [
        ("248289761001", "s", False),
        ("248289761001", None, False),
        (None, "s", False),
        ("somebody else", None, True),
        (None, "another", True),
    ],
    ids=["the person's session", "the person", "only the session", "another person", "another session"],
)
async def test_who_was_signed_out_at_the_provider_finishes_no_sign_in_here(
    server: Server, provider: Provider, subject: str | None, sid: str | None, finishes: bool, before: bool
) -> None:
    person = await link(server, provider)
    key = await add_totp(person)
    provider.claims["sid"] = "s"
    for browser in (person, late := Person(server, another(server)))[not before :]:
        server.clock.advance(31)
        browser.http.cookies.delete("ww-session")
        assert await come_back(browser, await begin(browser, provider)) == "/sign-in/second-factor"
        if browser is person:  # by the same session at the provider
            await browser.send({"code": code_of(server, key)}, having="method")
            assert browser.path == "/account"
    await signed_out(server, provider, subject, sid)
    await late.send({"code": code_of(server, key)}, having="method")
    assert (late.path == "/account") == finishes
    server.clock.advance(31)
    late.http.cookies.delete("ww-session")
    assert await come_back(late, await begin(late, provider)) == "/sign-in/second-factor"
    await late.send({"code": code_of(server, key)}, having="method")
    assert late.path == "/account", "whoever the provider vouches for since"


@pytest.mark.parametrize(
    ("subject", "sid"), [("248289761001", None), (None, "s")], ids=["the person", "only the session"]
)
async def test_who_was_signed_out_at_the_provider_links_nothing_here(
    server: Server, provider: Provider, subject: str | None, sid: str | None
) -> None:
    provider.claims["sid"] = "s"
    person = Person(server, another(server))
    assert await come_back(person, await begin(person, provider)) == "/upstream/link"
    await signed_out(server, provider, subject, sid)
    await person.send({"password": PASSWORD}, having="identifier")
    assert person.path == "/upstream/link"
    assert person.page is not None
    assert person.page.status_code == 400, "the account may be changed: sign in again"
    server.clock.advance(1)
    assert await sign_in(server, provider) == "/upstream/link", "it is not linked"
    await link(server, provider)
    assert await sign_in(server, provider) == "/account", "the honest variant"
