"""FD-01, FD-02, LG-24, PS-05: the owner's link and invitations taken with a provider, where there may be no other way in."""

import html
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.attacks.enrolling import owner_link, visitor
from tests.attacks.test_upstream_lies import ANSWERS, LIES
from tests.fixtures.accounts import another, session_of
from tests.fixtures.lying_provider import PATH, Provider, begin, come_back, provider
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server, together

from watchword.flows.databases import start
from watchword.flows.users import account_changes, accounts, sign_up
from watchword.settings import Upstream
from watchword.store import upstream_accounts, users
from watchword.store.audit import events
from watchword.store.users import User

__all__ = ["provider"]

INVITED, SUBJECT = "kim@example.com", "248289761001"
TITLE = "The Hub"
Link = Callable[[Server], Awaitable[str]]


@pytest_asyncio.fixture
async def server(provider: Provider, store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """A server where a provider is the only way in."""
    async with open_server(
        tmp_path,
        on=store.address,
        mode="development",
        fetch_allow_loopback=True,
        sign_in_methods=(),
        upstream=(Upstream(name="hub", title=TITLE, client_id="us", issuer=provider.issuer),),
    ) as opened:
        provider.now = opened.clock
        yield opened


async def invitation(server: Server, email: str = INVITED, *, is_admin: bool = False) -> str:
    """Return the link of an invitation."""
    return await sign_up.invite(server.runtime, email, is_admin=is_admin, inviter=None, actor="test")


# The provider says ada@example.com: the owner's account is named by that, an invited one by the address that was invited.
LINKS: dict[str, tuple[Link, str]] = {
    "the first owner's link": (owner_link, "ada@example.com"),
    "an invitation": (invitation, INVITED),
}
each_link = pytest.mark.parametrize("kind", LINKS)


def onward(person: Person) -> str:
    """Return the address of the provider's button."""
    assert person.page is not None
    found = re.search(r'href="([^"]*/upstream/hub\?enrol=[^"]+)"', person.page.text)
    assert found is not None, person.text
    return html.unescape(found[1])


async def take(person: Person, provider: Provider) -> str:
    """Go on with the provider and come back; return where that leads."""
    return await come_back(person, await begin(person, provider, onward(person)))


async def account(server: Server, name: str) -> User | None:
    """Return an account by its name."""
    return await server.runtime.database.read(users.find_user, name, name)


async def whose(server: Server, provider: Provider, subject: str = SUBJECT) -> str | None:
    """Return whose account an identity signs in to."""
    found = await server.runtime.database.read(upstream_accounts.find_upstream, provider.issuer, subject)
    return found.user_id if found else None


def status(person: Person) -> int:
    """Return the status of the page that somebody sees."""
    assert person.page is not None
    return person.page.status_code


@each_link
async def test_a_link_is_taken_with_a_provider_which_signs_in_from_then_on(
    server: Server, provider: Provider, kind: str
) -> None:
    make, name = LINKS[kind]
    person = await visitor(server, await make(server))
    assert f"Continue with {TITLE}" in " ".join(person.text.split())
    assert "new_password" not in (person.page.text if person.page else "")
    assert await account(server, name) is None, "nothing is made before the provider has answered"
    assert await take(person, provider) == "/account"
    made = await account(server, name)
    assert made is not None
    assert (made.is_admin, made.email, made.password_changed_at) == (
        kind == "the first owner's link",
        name,
        None,
    )
    assert (await session_of(server, name)).amr == ("fed",)
    assert await whose(server, provider) == made.id
    linked = await server.runtime.database.read(events.list_events, limit=100, name="upstream.linked")
    assert [(event.actor, event.target) for event in linked] == [(made.id, made.id)]
    again = Person(server, another(server))
    assert await come_back(again, await begin(again, provider)) == "/account"


@each_link
async def test_ps_05_a_link_that_was_taken_is_refused_plainly_and_makes_nothing(
    server: Server, provider: Provider, kind: str
) -> None:
    make, _ = LINKS[kind]
    link = await make(server)
    first, late, later = [await visitor(server, link) for _ in range(3)]
    answer = await begin(late, provider, onward(late))
    assert await take(first, provider) == "/account", "the honest variant"
    owned = await whose(server, provider)
    provider.claims = {**provider.claims, "sub": "somebody else", "email": "eve@example.com"}
    await later.open(onward(later))
    assert (status(later), "no longer works" in later.text) == (404, True)
    assert await come_back(late, answer) == PATH
    await late.open(link)
    assert (status(late), "no longer works" in late.text) == (404, True)
    assert await whose(server, provider) == owned
    assert await whose(server, provider, "somebody else") is None
    assert await account(server, "eve@example.com") is None


@each_link
async def test_ps_05_a_link_that_is_taken_while_somebody_is_at_the_provider_is_gone_when_they_come_back(
    server: Server, provider: Provider, kind: str
) -> None:
    make, _ = LINKS[kind]
    link = await make(server)
    first, late = await visitor(server, link), await visitor(server, link)
    answer = await begin(late, provider, onward(late))
    assert await take(first, provider) == "/account", "the honest variant"
    provider.claims = {"sub": "late", "email": "late@example.com", "email_verified": True}
    assert await come_back(late, answer) == PATH
    assert (status(late), "no longer works" in late.text) == (404, True)
    assert await whose(server, provider, "late") is None


@pytest.mark.parametrize(
    ("kind", "lifetime"),
    [("the first owner's link", start.SETUP_LIFETIME), ("an invitation", sign_up.INVITE_LIFETIME)],
)
async def test_ps_05_a_link_that_runs_out_at_the_provider_makes_nothing(
    server: Server, provider: Provider, kind: str, lifetime: int
) -> None:
    make, name = LINKS[kind]
    link = await make(server)
    server.clock.advance(lifetime - 10)
    person = await visitor(server, link)
    answer = await begin(person, provider, onward(person))
    server.clock.advance(11)
    assert await come_back(person, answer) == PATH
    assert (status(person), "no longer works" in person.text) == (404, True)
    assert await account(server, name) is None
    again = await visitor(server, await make(server))
    assert await take(again, provider) == "/account", "the honest variant"


@each_link
async def test_ps_05_of_two_browsers_with_one_link_at_once_one_gets_the_account(
    server: Server, provider: Provider, kind: str
) -> None:
    make, name = LINKS[kind]
    link = await make(server)
    pair = [await visitor(server, link), await visitor(server, link)]
    answers = [await begin(person, provider, onward(person)) for person in pair]
    results = await together(
        *(come_back(person, answer) for person, answer in zip(pair, answers, strict=True))
    )
    assert sorted(results) == ["/account", PATH]
    made = await account(server, name)
    assert made is not None
    assert await whose(server, provider) == made.id


@each_link
async def test_fd_02_nobody_is_led_into_an_account_by_an_attackers_answer_or_ticket(
    server: Server, provider: Provider, kind: str
) -> None:
    make, name = LINKS[kind]
    link = await make(server)
    attacker, victim = await visitor(server, link), Person(server, another(server))
    answer = await begin(attacker, provider, onward(attacker))
    assert await come_back(victim, answer) == PATH, "another browser's answer"
    await begin(victim, provider)
    assert await come_back(victim, answer) == PATH, "another attempt's answer"
    begun = await victim.http.get(onward(attacker))
    assert begun.status_code == 404, "a ticket of another browser begins nothing"
    assert await account(server, name) is None
    assert await whose(server, provider) is None
    assert await take(attacker, provider) == "/account", "the honest variant"


async def test_fd_02_a_ticket_is_good_for_its_own_provider_alone(tmp_path: Path, provider: Provider) -> None:
    hubs = tuple(
        Upstream(name=name, title=name.title(), client_id="us", issuer=provider.issuer)
        for name in ("hub", "den")
    )
    async with open_server(
        tmp_path, mode="development", fetch_allow_loopback=True, sign_in_methods=(), upstream=hubs
    ) as server:
        provider.now = server.clock
        person = await visitor(server, await invitation(server))
        begun = await person.http.get(onward(person).replace("/hub?", "/den?"))
        assert begun.status_code == 404
        assert await take(person, provider) == "/account", "the honest variant"


async def test_fd_02_a_lying_answer_makes_nothing_and_leaves_the_link(
    server: Server, provider: Provider
) -> None:
    person = await visitor(server, await invitation(server))
    honest = dict(provider.claims)
    for lie in (*LIES, *ANSWERS):
        provider.claims = {**honest, **LIES.get(lie, {})}
        answer = await begin(person, provider, onward(person))
        changed = {**answer, **ANSWERS.get(lie, {})}
        sent = {name: value for name, value in changed.items() if value is not None}
        assert await come_back(person, sent) == PATH, lie
        assert status(person) == 400
        assert "didn’t sign you in" in person.text
        assert await account(server, INVITED) is None
    provider.claims = honest
    assert await take(person, provider) == "/account", "the honest variant, from the page that came back"


async def test_who_changes_their_mind_at_the_provider_comes_back_to_the_invitation(
    server: Server, provider: Provider
) -> None:
    person = await visitor(server, await invitation(server))
    answer = await begin(person, provider, onward(person))
    denied = {**answer, "error": "access_denied"}
    del denied["code"]
    await come_back(person, denied)
    assert "You were invited" in person.text
    assert "didn’t sign you in" in person.text
    assert await take(person, provider) == "/account"


@each_link
async def test_fd_01_an_identity_that_signs_somebody_in_already_takes_no_link(
    server: Server, provider: Provider, kind: str
) -> None:
    make, name = LINKS[kind]
    grace = await visitor(server, await invitation(server, "grace@example.com"))
    assert await take(grace, provider) == "/account"
    owned = await whose(server, provider)
    person = await visitor(server, await make(server))
    assert await take(person, provider) == PATH
    assert "already signs somebody in here" in person.text
    assert await account(server, name) is None
    user = await account(server, "grace@example.com")
    assert user is not None
    await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert await take(person, provider) == PATH, "FD-03: nor does a disabled one"
    assert await whose(server, provider) == owned
    provider.claims = {**provider.claims, "sub": "another"}
    assert await take(person, provider) == "/account", "the honest variant"


async def test_one_identity_takes_one_of_two_invitations_at_once(server: Server, provider: Provider) -> None:
    pair = [await visitor(server, await invitation(server, f"{name}@example.com")) for name in ("a", "b")]
    answers = [await begin(person, provider, onward(person)) for person in pair]
    results = await together(
        *(come_back(person, answer) for person, answer in zip(pair, answers, strict=True))
    )
    assert sorted(results) == ["/account", PATH]
    made = [await account(server, f"{name}@example.com") for name in ("a", "b")]
    assert [user.id for user in made if user] == [await whose(server, provider)], (
        "no account without a way in"
    )


async def test_an_invitation_gives_what_it_says_whoever_is_signed_in_at_the_browser(
    server: Server, provider: Provider
) -> None:
    person = await visitor(server, await owner_link(server))
    assert await take(person, provider) == "/account"
    await person.open(await invitation(server, is_admin=False))
    provider.claims = {
        "sub": "kim",
        "email": "kim.private@example.net",
        "email_verified": True,
        "name": "Kim\u202e",
    }
    assert await take(person, provider) == "/account"
    made = await account(server, INVITED)
    assert made is not None
    assert (made.is_admin, made.email, made.display_name) == (False, INVITED, None), (
        "a name that hides is none"
    )
    assert (await session_of(server, INVITED)).user_id == made.id


@pytest.mark.parametrize(
    ("claims", "username", "email"),
    [
        pytest.param({"email": "ada@example.com", "email_verified": True}, "ada@example.com", "ada@example.com",
                     id="an address that the provider has verified"),
        pytest.param({"email": "ada@example.com", "preferred_username": "ada"}, "ada", None,
                     id="else the name that it tells"),
        pytest.param({"preferred_username": "ada@example.com"}, "owner", None,
                     id="an address that it has not verified is no name"),
        pytest.param({}, "owner", None, id="owner, where it tells nothing"),
    ],
)  # fmt: skip
async def test_the_owner_is_named_by(
    server: Server, provider: Provider, claims: dict[str, Any], username: str, email: str | None
) -> None:
    provider.claims = {"sub": SUBJECT, **claims}
    person = await visitor(server, await owner_link(server))
    assert await take(person, provider) == "/account"
    made = await account(server, username)
    assert made is not None
    assert (made.username, made.email, made.is_admin) == (username, email, True)


async def test_an_owner_whose_name_is_taken_is_told_so_and_the_link_lives_on(
    server: Server, provider: Provider
) -> None:
    await accounts.create(server.runtime, username="ada", email="ada@example.com", actor="test")
    person = await visitor(server, await owner_link(server))
    assert await take(person, provider) == PATH
    assert "is taken" in person.text
    provider.claims = {"sub": SUBJECT, "preferred_username": "grace"}
    assert await take(person, provider) == "/account"


@each_link
async def test_beside_passwords_and_passkeys_the_provider_is_offered_as_well(
    tmp_path: Path, provider: Provider, kind: str
) -> None:
    make, name = LINKS[kind]
    hub = Upstream(name="hub", title=TITLE, client_id="us", issuer=provider.issuer)
    async with open_server(
        tmp_path, mode="development", fetch_allow_loopback=True, upstream=(hub,)
    ) as server:
        provider.now = server.clock
        link = await make(server)
        person = await visitor(server, link)
        assert "new_password" in (person.page.text if person.page else "")
        assert await take(person, provider) == "/account"
        assert await account(server, name) is not None
        late = await visitor(server, link)
        assert status(late) == 404


@each_link
async def test_a_password_is_no_answer_where_providers_are_the_only_way(
    server: Server, provider: Provider, kind: str
) -> None:
    make, name = LINKS[kind]
    person = await visitor(server, await invitation(server, "eve@example.com"))
    assert await take(person, provider) == "/account"
    csrf = person.form()["csrf"]
    link = await make(server)
    sent = await person.http.post(
        link.partition("?")[0],
        data={"csrf": csrf, "link": link.partition("=")[2], "username": "ada", "new_password": PASSWORD},
    )
    assert sent.status_code == 400
    assert await account(server, name) is None
    assert await account(server, "ada") is None
    provider.claims = {**provider.claims, "sub": "another"}
    await person.open(link)
    assert await take(person, provider) == "/account", "the honest variant"
