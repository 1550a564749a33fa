"""Where the database fails at any step of a request, all of what it did is there or nothing is, and it can be sent again."""

import base64
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.fixtures.accounts import (
    OTHER,
    ada,
    add_passkey,
    add_totp,
    another,
    code_of,
    make,
    server,
    session_of,
    sign_out,
    user_of,
)
from tests.fixtures.people import PASSWORD, Person, letters, link_in
from tests.fixtures.servers import Server

from watchword import jobs
from watchword.flows import factors, mail
from watchword.flows import sessions as sessions_flow
from watchword.flows.factors import FactorRefused
from watchword.flows.mail import Origin
from watchword.flows.users import account_changes, people, recovery
from watchword.flows.users.account_changes import UNTOLD
from watchword.flows.users.people import Changes
from watchword.store import faults, outbox, sessions
from watchword.store.audit import events
from watchword.store.database import StorageUnavailable, Transaction
from watchword.store.sessions import Session

__all__ = ["ada", "server"]
COMMITS = 15  # more than any of these requests makes


@asynccontextmanager
async def failing(turn: int) -> AsyncIterator[None]:
    """Have the commit of this number, counted from 1, fail."""
    faults.arm(f"commit.begun=error@{turn}")
    try:
        yield
    finally:
        faults.arm(None)


async def recorded(server: Server, name: str) -> int:
    """Return how often the audit trail has an event."""
    return len(await server.runtime.database.read(events.list_events, limit=100, name=name))


async def mailed(server: Server, template: str) -> int:
    """Return how many mails of a template there are."""
    await jobs.deliver_mail(server.runtime)
    kept = await server.runtime.database.read(outbox.list_mail)
    return sum(mail.read(server.runtime, one).template == template for one in kept)


async def _password(server: Server) -> None:
    user, session = await user_of(server), await session_of(server)
    words = [PASSWORD, OTHER]
    if user.password_changed_at != user.created_at and await recorded(server, "user.password_changed") % 2:
        words.reverse()
    old, new = words
    await account_changes.change_password(
        server.runtime, user, old=old, new=new, session=session, end_others=False, origin=UNTOLD
    )


async def _reset(server: Server) -> None:
    link = await people.reset_link(server.runtime, user := await user_of(server), actor="test")
    secret = link.rpartition("=")[2]
    assert await recovery.reset(server.runtime, user, secret, PASSWORD, end_all=False, origin=UNTOLD)


async def _address(server: Server) -> None:
    user = await user_of(server)
    other = "ada@example.org" if user.email == "ada@example.net" else "ada@example.net"
    await people.change(server.runtime, user, Changes(email=other, email_verified=True), actor="test")


async def _disabled(server: Server) -> None:
    user = await user_of(server)
    await account_changes.set_disabled(server.runtime, user, False, actor="test")
    await account_changes.set_disabled(server.runtime, user, True, actor="test")


TOLD: Mapping[str, tuple[str, str, Callable[[Server], Awaitable[None]]]] = {
    "a password": ("user.password_changed", "password_changed", _password),
    "a password by a link": ("user.password_changed", "password_changed", _reset),
    "an address": ("user.email_changed", "email_changed", _address),
    "an account switched off": ("user.disabled", "account_ended", _disabled),
}


@pytest.mark.parametrize("what", TOLD)
async def test_nothing_is_changed_of_an_account_without_its_person_being_told(ada: Person, what: str) -> None:
    server, (event, template, change) = ada.server, TOLD[what]
    await ada.sign_in()
    before = await recorded(server, event)
    for turn in range(1, COMMITS):
        async with failing(turn):
            try:
                await change(server)
                failed = False
            except StorageUnavailable:
                failed = True
        assert await recorded(server, event) - before == await mailed(server, template), turn
        if not failed:
            break
        server.clock.advance(3600)
    assert turn > 1, "a commit failed"
    assert await recorded(server, event) > before, "the honest variant"


async def test_a_code_by_mail_is_kept_only_with_the_mail_that_tells_it(server: Server, ada: Person) -> None:
    user = await user_of(server)
    for turn in range(1, COMMITS):
        async with failing(turn):
            try:
                await factors.send_email_code(server.runtime, user, Origin("", ""), again=False)
                failed = False
            except StorageUnavailable:
                failed = True
        if not failed:
            break
        assert await mailed(server, "code") == 0
    assert turn > 1, "a commit failed"
    assert await mailed(server, "code") == 1, "it was sent when it was asked for again"


CHANGES: Mapping[str, tuple[str, str, str, dict[str, str], str]] = {
    "recovery codes": ("second_factors", "once", "recovery_codes.made", {"do": "new_recovery_codes"}, ""),
    "codes by mail": ("second_factors", "do", "email_code.on", {"do": "email_code_on"}, ""),
    "an application": ("second_factors", "do", "totp.removed", {"do": "remove_totp"}, "totp"),
    "a passkey": ("passkeys", "passkey", "passkey.removed", {"do": "remove"}, "passkey"),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_of_credentials_is_made_with_its_mail_the_new_cookie_and_the_end_of_other_sessions(
    ada: Person, what: str
) -> None:
    server, (page, having, event, fields, needed) = ada.server, CHANGES[what]
    for turn in range(1, COMMITS):
        if needed == "passkey":
            await add_passkey(ada)
        else:
            await ada.sign_in()
        if needed == "totp":
            await add_totp(ada)
        other = Person(server, another(server))
        await other.sign_in()
        if other.path == "/sign-in/second-factor":
            await other.open("/account")
        told, done = await mailed(server, "new_factor"), await recorded(server, event)
        await ada.open(f"/account/{page}")
        form = {**ada.form(having=having), **fields, "end_others": "yes"}
        address, cookie = form.pop(""), ada.http.cookies["ww-session"]
        async with failing(turn):
            answer = await ada.http.post(address, data=form)
        is_done = await recorded(server, event) - done
        assert await mailed(server, "new_factor") - told == is_done
        assert (ada.http.cookies["ww-session"] != cookie) == bool(is_done), "SE-02"
        alive = await server.runtime.database.read(
            sessions.list_sessions, user_id=(await user_of(server)).id, now=server.runtime.now()
        )
        assert (len(alive) == 1) or not is_done, "LG-16"
        assert (answer.status_code == 503) == (not is_done)
        if answer.status_code != 503:
            break
        again = await ada.http.post(address, data=form)
        assert (again.status_code, await recorded(server, event) - done) in ((303, 1), (200, 1))
        await people.remove_factors(server.runtime, await user_of(server), actor="test")
        server.clock.advance(3600)
        await sign_out(ada)
    assert turn > 1, "a commit failed"


async def test_an_application_is_set_up_with_the_level_that_its_code_gives_the_session(ada: Person) -> None:
    server, outcomes = ada.server, list[int]()
    for turn in range(1, COMMITS):
        await ada.sign_in()
        await ada.open("/account/second_factors/totp")
        form = ada.form(having="key")
        key = base64.b32decode(re.findall(r"(?:[A-Z2-7]{4} ){7}[A-Z2-7]{4}", ada.text)[0].replace(" ", ""))
        form["code"], address = code_of(server, key), form.pop("")
        told = await mailed(server, "new_factor")
        async with failing(turn):
            answer = await ada.http.post(address, data=form)
        outcomes.append(answer.status_code)
        if answer.status_code == 503:
            answer = await ada.http.post(address, data=form)
        assert answer.headers["location"].endswith("notice=totp_added")
        assert await mailed(server, "new_factor") == told + 1
        assert (await session_of(server)).acr == "urn:watchword:aal2"
        if outcomes[-1] != 503:
            break
        await people.remove_factors(server.runtime, await user_of(server), actor="test")
        server.clock.advance(3600)
        await sign_out(ada)
    assert (outcomes[0], outcomes[-1]) == (503, 303), "every commit failed once"


async def test_a_link_that_confirms_an_address_confirms_it_when_the_form_is_sent_again(ada: Person) -> None:
    server, outcomes = ada.server, list[int]()
    for turn in range(1, COMMITS):
        server.clock.advance(3600)
        await ada.sign_in()
        await ada.open("/account/email")
        await ada.send({"email": f"ada{turn}@example.org"})
        mails = [text for to, text in await letters(server) if to == f"ada{turn}@example.org"]
        await ada.open(link_in(mails[0]))
        form = ada.form(having="link")
        address = form.pop("")
        server.clock.advance(90)  # so that the use of the session is noted
        async with failing(turn):
            answer = await ada.http.post(address, data=form)
        outcomes.append(answer.status_code)
        if answer.status_code == 503:
            answer = await ada.http.post(address, data=form)
        assert answer.headers["location"].endswith("/account?notice=email_verified")
        if outcomes[-1] != 503:
            break
        await sign_out(ada)
    assert (outcomes[0], outcomes[-1]) == (503, 303), "every commit failed once"


@pytest.mark.parametrize("proof", ["a password", "a code of an application", "a recovery code"])
async def test_a_sign_in_that_the_database_failed_leaves_no_session_and_goes_on_with_the_same_form(
    ada: Person, proof: str
) -> None:
    server = ada.server
    await ada.sign_in()
    key, codes = b"", [""]
    if proof != "a password":
        key = await add_totp(ada)
        await ada.open("/account/second_factors")
        await ada.send({"do": "new_recovery_codes"}, having="do", index=-1)
        codes = [one for one in ada.text.split() if one.count("-") >= 2 and len(one) > 10]
    outcomes = []
    for turn in range(1, COMMITS):
        server.clock.advance(3600)
        async with another(server) as browser:
            person = Person(server, browser)
            await person.open("/sign-in")
            fields = {"identifier": "ada", "password": PASSWORD}
            if proof != "a password":
                await person.send(fields)
                given = code_of(server, key) if "application" in proof else codes[turn]
                fields = {"code": given, "method": "totp" if "application" in proof else "recovery_code"}
            form = {**person.form(having="method" if key else "csrf"), **fields}
            address = form.pop("")
            before, told = await _live(server), await mailed(server, "new_device")
            async with failing(turn):
                answer = await browser.post(address, data=form)
            outcomes.append(answer.status_code)
            if answer.status_code == 503:
                assert await _live(server) == before
                answer = await browser.post(address, data=form)
            assert answer.headers["location"].endswith("/account")
            assert await _live(server) == before + 1
            assert await mailed(server, "new_device") == told + 1
        if outcomes[-1] != 503:
            break
    assert (outcomes[0], outcomes[-1]) == (503, 303), "every commit failed once"


async def test_whoever_was_signed_in_before_stays_so_where_another_sign_in_comes_to_nothing(
    server: Server, ada: Person
) -> None:
    await ada.sign_in()
    hers, eve = await session_of(server), await make(server, "eve", "eve@example.com")
    runtime, outcomes = server.runtime, list[bool]()
    given: dict[str, Any] = {"acr": "", "amr": ("pwd",), "user_agent": "", "address": "", "instead_of": hers}

    async def refused(_tx: Transaction, _session: Session) -> None:
        raise FactorRefused("code_used")

    with pytest.raises(FactorRefused):
        await sessions_flow.begin(runtime, eve.id, **given, along=refused)
    assert await _live(server) == 1
    for turn in range(1, COMMITS):
        async with failing(turn):
            with contextlib.suppress(StorageUnavailable):
                await sessions_flow.begin(runtime, eve.id, **given)
        found = await runtime.database.read(sessions.list_sessions, user_id=eve.id, now=runtime.now())
        assert len(found) + await _live(server) == 1, "one of the two"
        outcomes.append(bool(found))
        if found:
            break
    assert outcomes == [False, True], "the commit failed once"


async def _live(server: Server) -> int:
    user = await user_of(server)
    now = server.runtime.now()
    return len(await server.runtime.database.read(sessions.list_sessions, user_id=user.id, now=now))
