"""Initiating User Registration via OpenID Connect 1.0: `prompt=create` leads to a new account, and from there back to the application."""

import re
from urllib.parse import urlencode

import pytest
from tests.attacks.authorization import claims_of
from tests.fixtures.accounts import ada, another, make, server, session_of, user_of
from tests.fixtures.code_flow import REDIRECT, answer_of, redeem, register, request
from tests.fixtures.people import PASSWORD, Person, letters, link_in
from tests.fixtures.servers import Server
from tests.flows.test_secrets_told_once import FailsAfterAWrite

from watchword.flows.clients.client_registry import Registered
from watchword.settings import Settings
from watchword.store.conditions import from_address

__all__ = ["ada", "server"]

NEW = "grace@example.com"


def address(client: Registered, **changes: str) -> str:
    """Return an authorization request that wishes a new account, or what else is wished."""
    return f"/authorize?{urlencode(request(client, **{'prompt': 'create', **changes}))}"


async def visit(server: Server, client: Registered, **changes: str) -> Person:
    """Return somebody whom an application sends to make an account."""
    person = Person(server, another(server))
    await person.open(address(client, **changes))
    return person


async def mailed_link(server: Server, to: str = NEW) -> str:
    """Return the link of the newest mail to an address."""
    return next(link_in(text) for addressed, text in await letters(server) if addressed == to)


async def approved(person: Person, client: Registered) -> str:
    """Agree; return about whom the application is told."""
    await person.send({"decision": "approve"}, having="interaction")
    assert person.page is not None
    tokens = (await redeem(person.server, client, answer_of(person.page)["code"])).json()
    return str(claims_of(tokens["id_token"])["sub"])


def session_cookies(person: Person) -> list[str]:
    """Return the session that a browser has."""
    return [value for name, value in person.http.cookies.items() if name.endswith("ww-session")]


async def test_a_new_person_makes_an_account_and_goes_on_to_the_application(server: Server) -> None:
    client = await register(server)
    person = await visit(server, client, login_hint=NEW)
    assert person.path == "/sign-up"
    assert person.page is not None
    assert f'value="{NEW}"' in person.page.text, "what the application knows is filled in"
    await person.send({"email": NEW}, having="return")
    await person.open(await mailed_link(server))
    await person.send({"name": "Grace Hopper", "new_password": PASSWORD}, having="link")
    assert "Your account is ready." in person.text
    await person.send({"password": PASSWORD}, having="identifier")
    assert await approved(person, client) == (await user_of(server, NEW)).id


async def test_the_way_to_the_application_is_shown_though_the_database_fails_once_the_link_is_used_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = await visit(server, await register(server))
    await person.send({"email": NEW}, having="return")
    await person.open(await mailed_link(server))
    form = {**person.form(having="link"), "name": "", "new_password": PASSWORD}
    address = form.pop("")
    with monkeypatch.context() as patched:
        patched.setattr(server.runtime, "database", FailsAfterAWrite(server.runtime.database, from_address))
        answer = await person.http.post(address, data=form)
    assert "&return=" in answer.headers["location"], answer.text


async def test_the_application_waits_in_its_own_browser_alone(server: Server) -> None:
    client = await register(server)
    person, phone = await visit(server, client), Person(server, another(server))
    await person.send({"email": NEW}, having="return")
    await phone.open(await mailed_link(server))
    await phone.send({"name": "", "new_password": PASSWORD}, having="link")
    await phone.send({"password": PASSWORD}, having="identifier")
    assert phone.path == "/account", "a link is followed anywhere"
    assert person.page is not None
    back = re.search(r'href="[^"]*(/sign-in\?return=[^"]+)"', person.page.text)
    assert back is not None
    await person.open(back[1])
    await person.send({"identifier": NEW, "password": PASSWORD}, having="identifier")
    assert await approved(person, client) == (await user_of(server, NEW)).id


async def test_who_comes_too_late_for_the_application_has_an_account_all_the_same(server: Server) -> None:
    client = await register(server)
    person = await visit(server, client)
    await person.send({"email": NEW}, having="return")
    link = await mailed_link(server)
    server.clock.advance(1795)
    await person.open(link)
    server.clock.advance(4)
    await person.send({"name": "", "new_password": PASSWORD}, having="link")
    server.clock.advance(10)
    await person.open("/sign-in?notice=registered")
    await person.send({"password": PASSWORD}, having="identifier")
    assert person.path == "/account"


async def test_who_has_an_account_signs_in_and_goes_on(ada: Person) -> None:
    client = await register(ada.server)
    await ada.open(address(client))
    assert ada.page is not None
    back = re.search(r'href="[^"]*(/sign-in\?return=[^"]+)"', ada.page.text)
    assert back is not None
    await ada.open(back[1])
    await ada.send({"identifier": "ada", "password": PASSWORD}, having="identifier")
    assert await approved(ada, client) == (await user_of(ada.server)).id


async def test_the_sign_in_page_keeps_the_request_for_who_registers_from_there(server: Server) -> None:
    client = await register(server)
    person = Person(server, another(server))
    await person.open(f"/authorize?{urlencode(request(client))}")
    assert person.page is not None
    there = re.search(r'href="[^"]*(/sign-up\?return=[^"]+)"', person.page.text)
    assert there is not None
    await person.open(there[1])
    await person.send({"email": NEW}, having="return")
    await person.open(await mailed_link(server))
    await person.send({"name": "", "new_password": PASSWORD}, having="link")
    await person.send({"password": PASSWORD}, having="identifier")
    assert await approved(person, client) == (await user_of(server, NEW)).id


async def test_a_session_is_neither_ended_nor_used_by_an_application_that_wishes_a_new_account(
    ada: Person,
) -> None:
    client = await register(ada.server)
    await ada.open(f"/authorize?{urlencode(request(client))}")
    await ada.send({"identifier": "ada", "password": PASSWORD}, having="identifier")
    await approved(ada, client)
    answered = await ada.open(f"/authorize?{urlencode(request(client))}")
    assert "code" in answer_of(answered), "the honest variant: agreed before, it is answered without a page"
    before, cookies = await session_of(ada.server), session_cookies(ada)
    shown = await ada.open(address(client))
    assert (ada.path, shown.status_code) == ("/sign-up", 200), "nothing is answered for who is signed in"
    assert session_cookies(ada) == cookies
    after = await session_of(ada.server)
    assert (after.id, after.ended_at) == (before.id, None)
    choice = re.search(r'href="[^"]*(/select-account\?return=[^"]+)"', shown.text)
    assert choice is not None
    await ada.open(choice[1])
    assert "ada" in ada.text
    chosen = await ada.send({"account": before.user_id}, having="return")
    assert "code" in answer_of(chosen), "who chooses to goes on as who they are"


async def test_a_new_account_replaces_a_session_only_with_its_own_sign_in(ada: Person) -> None:
    client = await register(ada.server)
    await ada.sign_in()
    old = await session_of(ada.server)
    await ada.open(address(client))
    await ada.send({"email": NEW}, having="return")
    await ada.open(await mailed_link(ada.server))
    await ada.send({"name": "", "new_password": PASSWORD}, having="link")
    assert (await session_of(ada.server)).id == old.id, "a link signs nobody in, and nobody out"
    await ada.send({"password": PASSWORD}, having="identifier")
    assert await approved(ada, client) == (await user_of(ada.server, NEW)).id


@pytest.mark.parametrize(
    "prompt", ["create none", "none create", "create login", "create consent", "create select_account"]
)
async def test_the_prompt_create_stands_alone(server: Server, prompt: str) -> None:
    client = await register(server)
    assert (await visit(server, client)).path == "/sign-up", "the honest variant"
    refused = answer_of(await server.http.get(address(client, prompt=prompt)))
    assert refused["error"] == "invalid_request"
    assert "cannot be combined" in refused["error_description"]


async def test_a_pushed_request_may_wish_it(server: Server) -> None:
    client = await register(server)
    pushed = await server.post("/par", client, **request(client, prompt="create"))
    query = {"client_id": client.client.client_id, "request_uri": pushed.json()["request_uri"]}
    person = Person(server, another(server))
    await person.open(f"/authorize?{urlencode(query)}")
    assert person.path == "/sign-up"


@pytest.mark.parametrize(
    ("options", "offered"),
    [
        pytest.param({}, True, id="people make accounts by themselves"),
        pytest.param({"sign_up": "invited"}, False, id="by invitation only"),
        pytest.param({"sign_in_methods": ("identity",)}, False, id="an address alone makes none"),
    ],
)
async def test_it_is_announced_and_taken_where_anybody_can_make_an_account(
    server: Server, options: dict[str, object], offered: bool
) -> None:
    import msgspec

    runtime = server.runtime
    changed: Settings = msgspec.structs.replace(runtime.settings, **options)
    runtime.settings = changed
    metadata = (await server.http.get("/.well-known/openid-configuration")).json()
    told = ["none", "login", "consent", "select_account"]
    assert metadata["prompt_values_supported"] == [*told, *(["create"] if offered else [])]
    client = await register(server)
    answer = await server.http.get(address(client))
    if offered:
        assert "/sign-up?return=" in answer.headers["location"]
    else:
        assert answer.headers["location"].startswith(REDIRECT)
        assert answer_of(answer)["error"] == "invalid_request"
        assert "prompt=create" in answer_of(answer)["error_description"]


async def test_nobody_waits_for_a_request_that_is_not_this_browsers(server: Server) -> None:
    """A sealed way back of somebody else's browser leads nowhere: neither as a parameter nor from a form."""
    client = await register(server)
    victim, attacker = Person(server, another(server)), await visit(server, client)
    theirs = attacker.form(having="return")["return"]
    await victim.open(f"/sign-up?return={theirs}")
    await victim.send({"email": NEW}, having="return")
    assert not [name for name in victim.http.cookies if name.endswith("ww-registering")]
    await make(server)
    await victim.sign_in()
    assert victim.path == "/account"
