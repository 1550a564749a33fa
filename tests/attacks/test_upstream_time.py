"""Core §2: a provider's old session is no fresh proof: not to applications, and not for a change to the account."""

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from tests.attacks.authorization import claims_of
from tests.fixtures.accounts import add_totp, another, code_of, make, session_of
from tests.fixtures.code_flow import answer_of, redeem, register, request
from tests.fixtures.lying_provider import (
    PATH,
    Provider,
    begin,
    come_back,
    link,
    provider,
    server,
    sign_in,
    trusting,
)
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.servers import Server

from watchword.flows import factors
from watchword.flows.clients.client_registry import Registered
from watchword.pages import returning
from watchword.settings import Upstream

__all__ = ["provider", "server"]

HOUR = 3600


def button(person: Person) -> str:
    """Return the address of the provider's button on the sign-in page."""
    assert person.path in ("/sign-in", PATH), person.text
    assert person.page is not None
    return html.unescape(next(it for it in person.page.text.split('"') if "/upstream/hub" in it))


def page_of(person: Person) -> str:
    """Return the page as it was sent."""
    assert person.page is not None
    return person.page.text


async def asked_of(person: Person) -> dict[str, str]:
    """Choose the provider; return what it is asked."""
    location = (await person.http.get(button(person))).headers["location"]
    return dict(pair.split("=", 1) for pair in urlsplit(location).query.split("&"))


async def visit(server: Server, client: Registered, **wishes: str) -> Person:
    """Return somebody whom an application sends to sign in."""
    person = Person(server, another(server))
    await person.open(f"/authorize?{urlencode(request(client, **wishes))}")
    return person


async def told(person: Person, client: Registered) -> Any:
    """Agree, if asked; return what the application is told."""
    assert person.page is not None
    if person.page.status_code == 200:
        await person.send({"decision": "approve"}, having="interaction")
    answer = answer_of(person.page)
    tokens = (await redeem(person.server, client, answer["code"])).json()
    return claims_of(tokens["id_token"])


async def test_applications_are_told_when_the_provider_says_it_was(
    server: Server, provider: Provider
) -> None:
    await link(server, provider)
    client = await register(server)
    now = int(server.clock())
    for said, expected in ((now - 5 * HOUR, now - 5 * HOUR), (now + 30, now), (None, None)):
        provider.claims["auth_time"] = said
        person = await visit(server, client)
        await come_back(person, await begin(person, provider, button(person)))
        claims = await told(person, client)
        assert (claims.get("auth_time"), claims["amr"]) == (expected, ["fed"]), said


async def test_a_provider_that_takes_claims_is_asked_when_it_was(server: Server, provider: Provider) -> None:
    await link(server, provider)
    person = Person(server, another(server))
    await person.open("/sign-in")
    assert "claims" not in await asked_of(person)
    server.runtime.documents.clear()
    server.clock.advance(2)
    provider.metadata["claims_parameter_supported"] = True
    wish = parse_qs("claims=" + (await asked_of(person))["claims"])["claims"]
    assert wish == ['{"id_token":{"auth_time":{"essential":true}}}']


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({"max_age": "600"}, {"max_age": "600"}),
        ({"max_age": "0"}, {"prompt": "login", "max_age": "0"}),
        ({"prompt": "login"}, {"prompt": "login", "max_age": "0"}),
    ],
)
async def test_az_12_an_old_session_at_the_provider_is_too_old_for_an_application_as_well(
    server: Server, provider: Provider, wishes: dict[str, str], expected: dict[str, str]
) -> None:
    await link(server, provider)
    client = await register(server)
    provider.claims["auth_time"] = int(server.clock()) - 5 * HOUR
    person = await visit(server, client, **wishes)
    asked = await asked_of(person)
    assert {name: asked.get(name) for name in ("max_age", "prompt")} == {
        "max_age": None,
        "prompt": None,
    } | expected
    assert await come_back(person, await begin(person, provider, button(person))) == PATH, (
        "the wish was taken out of the address"
    )
    assert "Sign out there, then try again." in person.text
    again = button(person)
    provider.claims["auth_time"] = int(server.clock()) - 5
    await come_back(person, await begin(person, provider, again))
    assert (await told(person, client))["auth_time"] == int(server.clock()) - 5, "the honest variant"


@pytest.mark.parametrize("wishes", [{"max_age": "600"}, {"prompt": "login"}])
@pytest.mark.parametrize("tells", [None, False], ids=["has to tell", "is known to tell nothing"])
async def test_az_12_a_provider_that_says_no_time_proves_none_to_an_application(
    provider: Provider, tmp_path: Path, wishes: dict[str, str], tells: bool | None
) -> None:
    """Core §3.1.2.1: who is asked for a `max_age` has to tell, and who cannot ask again must not act as if."""
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer, tells_auth_time=tells)
    async with trusting(tmp_path, hub) as server:
        provider.now = server.clock
        await make(server)
        await link(server, provider)
        client = await register(server)
        provider.claims["auth_time"] = None
        person = await visit(server, client, **wishes)
        assert ("/upstream/hub" in page_of(person)) is (tells is None), (
            "it is not offered where it serves nobody"
        )
        by_hand = f"/upstream/hub?return={quote(person.form(having='return')['return'])}"
        assert await come_back(person, await begin(person, provider, by_hand)) == PATH
        assert "Sign in another way." in person.text
        del provider.claims["auth_time"]
        await come_back(person, await begin(person, provider, by_hand))
        assert (await told(person, client))["auth_time"] == int(server.clock()), "the honest variant"


ESSENTIAL = '{"id_token": {"auth_time": {"essential": true}}}'


@pytest.mark.parametrize("said", ["a time", "nothing"])
@pytest.mark.parametrize("wishes", [{"max_age": "600"}, {"claims": ESSENTIAL}], ids=["max_age", "auth_time"])
async def test_az_12_a_session_whose_time_nobody_said_is_no_sign_in_of_a_known_time(
    server: Server, provider: Provider, wishes: dict[str, str], said: str
) -> None:
    await link(server, provider)
    client = await register(server)
    provider.claims["auth_time"] = int(server.clock()) if said == "a time" else None
    person = await visit(server, client)
    await come_back(person, await begin(person, provider, button(person)))
    known = await told(person, client)
    assert ("auth_time" in known) is (said == "a time")
    silently = await person.open(f"/authorize?{urlencode(request(client, prompt='none', **wishes))}")
    later = await person.open(f"/authorize?{urlencode(request(client, **wishes))}")
    if said == "a time":
        assert "code" in answer_of(silently), "the honest variant"
        assert "code" in answer_of(later)
        return
    assert answer_of(silently)["error"] == "login_required"
    assert person.path == "/sign-in"
    server.clock.advance(60)
    await person.send({"identifier": "ada", "password": PASSWORD})
    assert (await told(person, client))["auth_time"] == int(server.clock()), "and then it is known"


@pytest.mark.parametrize("wishes", [{"max_age": "600"}, {"prompt": "login"}, {"claims": ESSENTIAL}])
@pytest.mark.parametrize("said", ["hours ago", "nothing"])
async def test_az_12_who_signed_in_for_a_request_proved_it_for_nobody_else(
    server: Server, provider: Provider, wishes: dict[str, str], said: str
) -> None:
    """At a browser that a person has left, with a session of theirs at the provider: signed in first is the attacker."""
    await link(server, provider)
    await make(server, "eve", "eve@example.com")
    client = await register(server)
    person = await visit(server, client, **wishes)
    waiting = person.form(having="return")["return"]
    await person.send({"identifier": "eve", "password": PASSWORD})
    assert person.form(having="interaction"), "it is Eve's own consent that is asked for"
    provider.claims["auth_time"] = int(server.clock()) - 5 * HOUR if said == "hours ago" else None
    await person.open("/sign-out")
    await person.send({})
    assert await come_back(person, await begin(person, provider, "/upstream/hub")) == "/account"
    assert "ada" in person.text, "signed in, as her provider says"
    server.clock.advance(1)
    resumed = returning.open_return(server.runtime, waiting)
    await person.open(str(resumed))
    old_enough = "claims" in wishes and said == "hours ago"  # its time is known, and may be any
    assert (person.path == "/sign-in") is not old_enough, page_of(person)
    if not old_enough:
        await person.send({"identifier": "ada", "password": PASSWORD})
        assert (await told(person, client))["auth_time"] == int(server.clock()), "the honest variant"


async def test_an_application_without_such_a_wish_needs_no_second_sign_in(
    server: Server, provider: Provider
) -> None:
    await link(server, provider)
    client = await register(server)
    provider.claims["auth_time"] = None
    person = await visit(server, client)
    await come_back(person, await begin(person, provider, button(person)))
    await told(person, client)
    assert "code" in answer_of(await person.open(f"/authorize?{urlencode(request(client, prompt='none'))}"))
    assert (await session_of(server)).auth_time is None
    await person.open("/account/passkeys")
    assert person.path == "/account/passkeys", "for the account the moment of the answer counts"


async def test_where_only_silent_providers_are_left_the_page_says_that_nobody_can_tell(
    provider: Provider, tmp_path: Path
) -> None:
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer, tells_auth_time=False)
    async with trusting(tmp_path, hub, sign_in_methods=()) as server:
        client = await register(server)
        person = await visit(server, client)
        assert (
            "/upstream/hub" in page_of(person),
            "none of the ways to sign in here can tell" in person.text,
        ) == (
            True,
            False,
        )
        person = await visit(server, client, max_age="600")
        assert (
            "/upstream/hub" in page_of(person),
            "none of the ways to sign in here can tell" in person.text,
        ) == (
            False,
            True,
        )


@pytest.mark.parametrize("tells", [None, False], ids=["has to tell", "is known to tell nothing"])
async def test_who_takes_the_wish_out_of_the_address_confirms_nothing(
    provider: Provider, tmp_path: Path, tells: bool | None
) -> None:
    """Who is asked for no `max_age` need not tell; one that never does is taken at its word for the account."""
    hub = Upstream(name="hub", title="The Hub", client_id="us", issuer=provider.issuer, tells_auth_time=tells)
    async with trusting(tmp_path, hub) as server:
        provider.now = server.clock
        await make(server)
        person = await link(server, provider)
        server.clock.advance(700)
        before = (await session_of(server)).confirmed_at
        answer = await begin(person, provider)
        provider.aged.clear()
        assert await come_back(person, answer) == (PATH if tells is None else "/account")
        assert ((await session_of(server)).confirmed_at == before) is (tells is None)
        assert await come_back(person, await begin(person, provider)) == "/account", "the honest variant"
        assert (await session_of(server)).confirmed_at == int(server.clock())


async def test_a_session_by_an_old_session_elsewhere_changes_nothing_of_the_account(
    server: Server, provider: Provider
) -> None:
    await link(server, provider)
    provider.claims["auth_time"] = int(server.clock()) - 5 * HOUR
    person = Person(server, another(server))
    assert await come_back(person, await begin(person, provider)) == "/account"
    session = await session_of(server)
    assert session.authenticated_at == session.confirmed_at == provider.claims["auth_time"]
    await person.open("/account/passkeys")
    assert person.path == "/step-up"
    provider.claims["auth_time"] = int(server.clock())
    fresh = Person(server, another(server))
    assert await come_back(fresh, await begin(fresh, provider)) == "/account"
    await fresh.open("/account/passkeys")
    assert fresh.path == "/account/passkeys", "the honest variant"


@pytest.mark.parametrize("factor", ["an application", "a mailbox"])
async def test_a_second_factor_makes_an_old_proof_fresh_where_it_raises_what_is_proved(
    server: Server, provider: Provider, factor: str
) -> None:
    ada = await link(server, provider)
    by_mail = factor == "a mailbox"
    key = b"" if by_mail else await add_totp(ada)
    if by_mail:
        await ada.open("/account/second_factors")
        await ada.send({"do": "email_code_on"}, having="do")
    server.clock.advance(31)
    now = int(server.clock())
    provider.claims["auth_time"] = now - 5 * HOUR
    person = Person(server, another(server))
    assert await come_back(person, await begin(person, provider)) == "/sign-in/second-factor"
    code = await mailed_code(server) if by_mail else code_of(server, key)
    await person.send({"code": code}, having="method")
    assert person.path == "/account"
    session = await session_of(server)
    assert session.authenticated_at == (now - 5 * HOUR if by_mail else now)
    assert session.confirmed_at == now, "which is enough for a change to the account"
    await person.open("/account/passkeys")
    assert person.path == "/account/passkeys"


async def test_a_code_by_mail_makes_no_password_younger(server: Server) -> None:
    person = Person(server, another(server))
    await person.sign_in()
    await person.open("/account/second_factors")
    await person.send({"do": "email_code_on"}, having="do")
    typed = int(server.clock())
    slow = Person(server, another(server))
    await slow.sign_in()
    server.clock.advance(300)
    await slow.send({"code": await mailed_code(server)}, having="method")
    assert slow.path == "/account"
    session = await session_of(server)
    assert (session.authenticated_at, session.confirmed_at) == (typed, typed + 300)


async def mailed_code(server: Server) -> str:
    """Return the newest code that was mailed."""
    text = next(text for _, text in await letters(server) if re.search(r"\d{4} \d{4}", text))
    found = re.search(r"\d{4} \d{4}", text)
    assert found is not None
    return found[0]


async def test_who_only_comes_by_a_provider_confirms_there_that_it_is_them(
    server: Server, provider: Provider
) -> None:
    provider.claims |= {"email": "grace@example.com", "auth_time": int(server.clock()) - 5 * HOUR}
    grace = Person(server, another(server))
    assert await come_back(grace, await begin(grace, provider)) == "/account"
    await grace.open("/account/passkeys")
    assert (grace.path, "Confirm it’s you" in grace.text) == ("/step-up", True)
    assert grace.page is not None
    address = html.unescape(next(it for it in grace.page.text.split('"') if "/upstream/hub" in it))
    answer = await begin(grace, provider, address)
    provider.claims["auth_time"] = int(server.clock())
    assert await come_back(grace, answer) == "/account/passkeys"
    server.clock.advance(700)
    await add_totp_of(server, grace)
    await grace.open("/step-up")
    assert grace.page is not None
    assert "/upstream/hub" not in grace.page.text, "where a second factor is taken, that alone is asked for"


async def add_totp_of(server: Server, person: Person) -> None:
    """Set up an application on the account that somebody is signed in to."""
    session = await session_of(server, "grace@example.com")
    key = bytes(20)
    await factors.confirm_totp(server.runtime, session, key, code_of(server, key))


async def test_an_attempt_from_before_makes_no_session_fresh(server: Server, provider: Provider) -> None:
    """Begun before its browser signed in otherwise, an attempt asked the provider for nothing."""
    await link(server, provider)
    person = Person(server, another(server))
    answer = await begin(person, provider)
    await person.sign_in()
    first = await session_of(server)
    server.clock.advance(700)
    provider.claims["auth_time"] = int(server.clock()) - 5 * HOUR
    await person.open("/sign-in")
    assert await come_back(person, answer) == PATH, "ten minutes are over"
    person = Person(server, another(server))
    answer = await begin(person, provider)
    await person.sign_in()
    assert await come_back(person, answer) == "/account"
    session = await session_of(server)
    assert session.id != first.id
    assert (session.amr, session.authenticated_at) == (("fed",), provider.claims["auth_time"])
    await person.open("/account/passkeys")
    assert person.path == "/step-up"


async def test_a_proof_from_before_the_sessions_of_a_restored_backup_ended_signs_in(
    server: Server, provider: Provider
) -> None:
    """A session belongs to the time in which it began, not to that of its proof."""
    person = await link(server, provider)
    provider.claims["auth_time"] = int(server.clock()) - 5 * HOUR
    server.clock.advance(60)
    now = int(server.clock())
    await server.runtime.database.write(_end_what_was_before, now)
    await person.open("/account")
    assert person.path == "/sign-in", "what was before is over"
    assert await sign_in(server, provider) == "/account", "the honest variant"


async def _end_what_was_before(tx: Any, now: int) -> None:
    """Say of every account what a restored backup says of it."""
    await tx.run("UPDATE users SET valid_from = $1", now)
