"""LG-16, FD-03: what was proved by a password that was changed before the proof took effect, and asked in a session that ended."""

from typing import Any

import pytest
from tests.attacks.factors import ada, elsewhere, server
from tests.fixtures.accounts import OTHER, add_totp, another, change_password, code_of, session_of
from tests.fixtures.people import PASSWORD, Person

from watchword.credentials.upstream import Identity
from watchword.flows import sessions, sign_in, upstream
from watchword.flows.throttle import Source
from watchword.oauth.errors import OAuthError
from watchword.store import upstream_accounts

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
    assert await upstream.link(runtime, slow, Identity("https://hub.example", "ada")), "the honest variant"
    ada.server.clock.advance(1)
    await change_password(ada, PASSWORD, OTHER)
    assert not await upstream.link(runtime, slow, EVES)
    assert not await is_linked(ada, EVES)
    assert await upstream.link(runtime, await sign_in.by_password(runtime, "ada", OTHER, source), EVES)


async def test_lg_16_a_session_that_ended_links_no_provider_any_more(ada: Person) -> None:
    runtime = ada.server.runtime
    thief = await elsewhere(ada.server)
    stolen = await session_of(ada.server)
    found = await sign_in.by_password(runtime, "ada", PASSWORD, Source("203.0.113.9"))
    assert await upstream.link(runtime, found, Identity("https://hub.example", "ada"), stolen.id), "honest"
    await sessions.end(runtime, stolen)
    assert not await upstream.link(runtime, found, EVES, stolen.id)
    assert not await is_linked(thief, EVES)


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
