"""LG-18, AP-01: what somebody takes away on their account page is their own, though another person has the same or they name another's."""

import httpx
import pytest_asyncio
from tests.fixtures.accounts import another, make, user_of
from tests.fixtures.applications import application, connect, is_alive
from tests.fixtures.code_flow import request
from tests.fixtures.holders import make_holder, refused
from tests.fixtures.people import Person
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server

from watchword.credentials.upstream import Identity
from watchword.flows.upstream import upstream_links
from watchword.store import identities, upstream_accounts
from watchword.store.users import User

HUB = "https://hub.example"
People = dict[str, tuple[Person, User]]

server = server_with(mode="development")


@pytest_asyncio.fixture
async def both(server: Server) -> People:
    """Ada and Eve, each at a browser of her own, signed in."""
    found = {}
    for name in ("ada", "eve"):
        await make(server, name, f"{name}@example.com")
        person = Person(server, another(server))
        await person.sign_in(name)
        found[name] = (person, await user_of(server, name))
    return found


async def take(person: Person, page: str, to: str = "", **form: str) -> int:
    """Send a form of an account page, to another address if named, with what somebody writes into it."""
    await person.open(page)
    return (await person.http.post(to or page, data={"csrf": person.form()["csrf"], **form})).status_code


async def test_nobody_revokes_the_identity_of_another_person(server: Server, both: People) -> None:
    (_, ada), (eve, own) = both["ada"], both["eve"]
    hers, mine = [await make_holder(server, ("user", user.id)) for user in (ada, own)]
    read = server.runtime.database.read
    for user, holder, ended in ((ada, hers, False), (own, mine, True)):
        (listed,) = await read(identities.list_identities, user.id)
        assert await take(eve, "/account/identities", do="revoke", identity_id=listed.id) == 303
        assert await refused(holder, holder.answer(await holder.challenge("sign-in"))) is ended


async def test_nobody_ends_what_another_person_granted_to_the_same_application(
    server: Server, both: People
) -> None:
    (ada, _), (eve, _) = both["ada"], both["eve"]
    client = await application(server)
    hers, mine = [(await connect(person, client))["access_token"] for person in (ada, eve)]
    page, name = "/account/applications", client.client.client_id
    assert await take(eve, page, application=name) == 303
    assert [await is_alive(server, client, token) for token in (hers, mine)] == [True, False]
    asked = str(httpx.URL("/authorize", params=request(client, scope="openid orders:read")))
    answers = [await person.open(asked) for person in (ada, eve)]
    assert [answer.status_code for answer in answers] == [303, 200], "only who took it back is asked anew"


async def test_nobody_unlinks_the_account_of_another_person_at_the_same_provider(
    server: Server, both: People
) -> None:
    (_, her_account), (eve, own_account) = both["ada"], both["eve"]
    for account in (her_account, own_account):
        assert await upstream_links.link(server.runtime, account, Identity(HUB, account.username))
    assert await take(eve, "/account", to="/account/upstream", provider=HUB) == 303
    read = server.runtime.database.read
    left = [len(await read(upstream_accounts.list_upstream, one.id)) for one in (her_account, own_account)]
    assert left == [1, 0]
