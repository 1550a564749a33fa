"""LG-16, FD-03: what was proved by something that was taken away before the proof took effect, and asked in a session that ended."""

from contextlib import nullcontext
from typing import Any

import pytest
from tests.attacks.factors import ada, elsewhere, server
from tests.fixtures.accounts import (
    EMAIL,
    OTHER,
    add_totp,
    another,
    change_password,
    code_of,
    make,
    session_of,
    user_of,
)
from tests.fixtures.applications import application, connect, is_alive
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.servers import Server

from watchword.credentials.upstream import Identity
from watchword.flows import personal_tokens, sessions, sign_in
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import Source
from watchword.flows.upstream import upstream_links
from watchword.flows.users import account_access, account_changes, accounts, people, sign_up
from watchword.oauth.errors import OAuthError
from watchword.pages import step_up
from watchword.store import api_tokens, upstream_accounts, users
from watchword.store.users import User

__all__ = ["ada", "server"]

EVES = Identity("https://hub.example", "eve")


async def is_linked(person: Person, identity: Identity) -> bool:
    """Whether an account elsewhere signs somebody in."""
    found = await person.server.runtime.database.read(upstream_accounts.find_upstream, *identity.key)
    return found is not None


async def test_lg_16_the_old_password_leaves_no_provider_behind_that_was_to_be_linked_by_it(
    ada: Person,
) -> None:
    runtime = ada.server.runtime
    source = Source("203.0.113.9")
    slow = await sign_in.by_password(runtime, "ada", PASSWORD, source)
    assert await upstream_links.link(runtime, slow, Identity("https://hub.example", "ada")), (
        "the honest variant"
    )
    ada.server.clock.advance(1)
    await change_password(ada, PASSWORD, OTHER)
    assert not await upstream_links.link(runtime, slow, EVES)
    assert not await is_linked(ada, EVES)
    assert await upstream_links.link(runtime, await sign_in.by_password(runtime, "ada", OTHER, source), EVES)


async def test_lg_16_a_session_that_ended_links_no_provider_any_more(ada: Person) -> None:
    runtime = ada.server.runtime
    thief = await elsewhere(ada.server)
    stolen = await session_of(ada.server)
    found = await sign_in.by_password(runtime, "ada", PASSWORD, Source("203.0.113.9"))
    assert await upstream_links.link(runtime, found, Identity("https://hub.example", "ada"), stolen), "honest"
    await sessions.end(runtime, stolen)
    with pytest.raises(OAuthError):
        await upstream_links.link(runtime, found, EVES, stolen)
    assert not await is_linked(thief, EVES)


async def test_lg_16_a_session_that_ended_withdraws_no_application_and_revokes_no_token(ada: Person) -> None:
    server = ada.server
    runtime, mine = server.runtime, await session_of(server)
    client, token = await application(server), await server.token(owner="ada")
    given = await connect(ada, client)
    await elsewhere(server)
    stolen = await session_of(server)
    await sessions.end(runtime, stolen)
    name, ask = client.client.client_id, runtime.database.read
    for who in (stolen, mine):
        for end in (
            account_access.withdraw(runtime, mine.user_id, name, session=who),
            personal_tokens.revoke(runtime, who, token.token),
        ):
            with pytest.raises(OAuthError, match="access_denied") if who is stolen else nullcontext():
                await end
        kept = await ask(api_tokens.get_token, token.token.id)
        assert kept is not None
        assert (kept.revoked_at is None) is (who is stolen)
        assert await is_alive(server, client, given["access_token"]) is (who is stolen)


async def test_lg_16_the_old_password_makes_no_running_session_fresh(ada: Person) -> None:
    server = ada.server
    running = await session_of(server)
    given: dict[str, Any] = {"acr": "", "amr": ("pwd",)}
    slow = await sign_in.by_password(server.runtime, "ada", PASSWORD, Source("203.0.113.9"))
    assert await sessions.elevate(server.runtime, running, **given, proved=slow), "the honest variant"
    server.clock.advance(1)
    other = await elsewhere(server)
    await change_password(other, PASSWORD, OTHER, end_others="")
    assert await sessions.elevate(server.runtime, running, **given, proved=slow) is None
    seen = {"user_agent": "", "address": ""}
    with pytest.raises(OAuthError) as refused:
        await sessions.begin(
            server.runtime, slow.id, **given, **seen, proved=slow, instead_of=await session_of(server)
        )
    assert refused.value.code == "access_denied"


async def test_lg_16_a_password_that_is_changed_while_it_is_checked_makes_no_session_fresh(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, confirm = ada.server, sign_in.confirm_password

    async def changed_just_now(runtime: Runtime, user: User, password: str) -> bool:
        right = await confirm(runtime, user, password)
        await runtime.database.write(users.set_password, user.id, "x", actor="test", now=runtime.now())
        return right

    async def is_fresh_by_password() -> bool:
        server.clock.advance(step_up.FRESH)
        await ada.open("/account/email")
        assert ada.path == "/step-up"
        await ada.send({"method": "password", "password": PASSWORD}, having="method")
        await ada.open("/account/email")
        return ada.path == "/account/email"

    assert await is_fresh_by_password(), "the honest variant"
    monkeypatch.setattr(sign_in, "confirm_password", changed_just_now)
    assert not await is_fresh_by_password()


async def test_lg_16_the_old_password_and_a_code_begin_no_session_in_the_second_of_its_change(
    ada: Person,
) -> None:
    server = ada.server
    key = await add_totp(ada)
    server.clock.advance(31)
    half = await elsewhere(server)
    assert half.path == "/sign-in/second-factor"
    await change_password(ada, PASSWORD, OTHER)
    assert "Your password is changed." in ada.text
    await half.send({"code": code_of(server, key)}, having="method")
    await half.open("/account")
    assert half.path == "/sign-in"
    again = Person(server, another(server))
    await again.sign_in(password=OTHER)
    await again.send({"code": code_of(server, key)}, having="method")
    assert again.path == "/account", "the honest variant"


async def fall_of(server: Server, user: User, how: dict[str, bool] | str) -> None:
    """Take from somebody the right to invite administrators."""
    if isinstance(how, dict):
        await people.change(server.runtime, user, people.Changes(**how), actor="test")
    elif how == "disabled":
        await account_changes.set_disabled(server.runtime, user, True, actor="test")
    else:
        await account_changes.delete(server.runtime, user, actor="test")


each_fall = pytest.mark.parametrize("fall", [{"is_admin": False}, "disabled", "deleted"])


@each_fall
async def test_mf_06_an_administrator_of_yesterday_leaves_no_way_to_be_one(
    server: Server, fall: dict[str, bool] | str
) -> None:
    await make(server, "root", "root@example.com", is_admin=True)
    eve = await make(server, "eve", "eve@example.com", is_admin=True)
    token = await server.token("watchword:admin", "eve")
    may = {"authorization": f"Bearer {token.secret}"}

    async def invite(email: str) -> str:
        wanted = {"email": email, "is_admin": True}
        answer = await server.http.post("/api/v1/users/invite", json=wanted, headers=may)
        return str(answer.json()["link"])

    first, second = await invite("a@example.com"), await invite("b@example.com")
    person = Person(server, another(server))
    assert (await person.open(first)).status_code == 200
    await person.send({"name": "A", "new_password": PASSWORD}, having="link")
    assert (await user_of(server, "a@example.com")).is_admin, "the honest variant"
    await fall_of(server, eve, fall)
    assert (await person.open(second)).status_code == 404


@each_fall
async def test_mf_06_an_administrator_who_falls_while_it_is_taken_makes_no_other_one(
    server: Server, monkeypatch: pytest.MonkeyPatch, fall: dict[str, bool] | str
) -> None:
    await make(server, "root", "root@example.com", is_admin=True)
    eve = await make(server, "eve", "eve@example.com", is_admin=True)

    async def take(email: str) -> User | None:
        asked: dict[str, Any] = {"inviter": "eve", "actor": eve.id, "by": eve.id}
        link = await sign_up.invite(server.runtime, email, is_admin=True, **asked)
        given: dict[str, Any] = {"password": PASSWORD, "name": None}
        return await sign_up.accept(server.runtime, link.partition("link=")[2], **given)

    taken = await take("a@example.com")
    assert taken is not None, "the honest variant"
    assert taken.is_admin
    hash_new_password = accounts.hash_new_password

    async def fallen_just_now(*given: Any) -> str:
        await fall_of(server, eve, fall)
        return await hash_new_password(*given)

    monkeypatch.setattr(accounts, "hash_new_password", fallen_just_now)
    assert await take("b@example.com") is None
    assert await server.runtime.database.read(users.find_user, "b@example.com") is None


async def test_an_operator_verifies_the_address_that_they_saw(server: Server) -> None:
    seen = await user_of(server)
    verify = people.Changes(email_verified=True)
    assert (await people.change(server.runtime, seen, verify, actor="test")).email == EMAIL, "honest"
    await people.change(server.runtime, seen, people.Changes(email="ada@example.net"), actor="test")
    with pytest.raises(OAuthError) as refused:
        await people.change(server.runtime, seen, verify, actor="test")
    assert refused.value.code == "conflict"
    now = await user_of(server)
    assert (now.email, now.email_verified_at) == ("ada@example.net", None)


async def test_of_two_changes_by_what_was_read_before_none_undoes_the_other(server: Server) -> None:
    given = people.Changes(display_name="Ada", attributes={"role": "treasurer"})
    seen = await people.change(server.runtime, await user_of(server), given, actor="test")
    assert (seen.display_name, seen.attributes) == ("Ada", {"role": "treasurer"}), "the honest variant"
    taken = people.Changes(display_name="", attributes={"role": "none"})
    await people.change(server.runtime, seen, taken, actor="test")
    now = await people.change(server.runtime, seen, people.Changes(is_admin=True), actor="another")
    assert (now.display_name, now.attributes, now.is_admin) == (None, {"role": "none"}, True)
