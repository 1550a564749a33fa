"""LG-16: a proof that takes effect after what it was made with was taken away, and a change that is asked for in a session that ended."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.attacks.factors import ada, elsewhere, server
from tests.fixtures.accounts import (
    EMAIL,
    add_passkey,
    add_totp,
    another,
    code_of,
    make,
    options_in,
    session_of,
    user_of,
)
from tests.fixtures.holders import new_secret
from tests.fixtures.people import Person, letters
from tests.fixtures.servers import Server
from tests.unit.credentials.software_authenticator import SoftwareAuthenticator

from watchword.credentials.upstream import Identity
from watchword.flows import factors, identities, passkeys, personal_tokens, sessions
from watchword.flows.mail import Origin
from watchword.flows.upstream import upstream_links
from watchword.flows.users import people, recovery
from watchword.oauth.errors import OAuthError
from watchword.pages import account
from watchword.store import browsers, links, upstream_accounts, user_changes, ways_in
from watchword.store import factors as factor_store
from watchword.store import identities as identity_store
from watchword.store import passkeys as passkey_store
from watchword.store import sessions as session_store
from watchword.store.sessions import Session
from watchword.store.users import User
from watchword.store.ways_in import Accepted

__all__ = ["ada", "server"]

Act = Callable[[Server, Session], Awaitable[object]]
HUB = "https://hub.example"
ALL = Accepted(True, True, True, frozenset({HUB}))


async def add_a_passkey(server: Server, session: Session) -> object:
    runtime, user = server.runtime, await user_of(server)
    asked = await passkeys.creation_options(runtime, "b", user)
    assert asked is not None
    credential = SoftwareAuthenticator().create(json.loads(asked[0]), origin=server.settings.issuer)
    given: dict[str, Any] = {"challenge": asked[1], "credential": credential, "name": "x"}
    return await passkeys.register(runtime, session, browser="b", **given)


async def add_an_application(server: Server, session: Session) -> object:
    key = bytes(20)
    return await factors.confirm_totp(server.runtime, session, key, code_of(server, key))


async def make_recovery_codes(server: Server, session: Session) -> object:
    return await factors.make_recovery_codes(server.runtime, session)


async def switch_codes_by_mail_on(server: Server, session: Session) -> object:
    return await factors.set_email_code(server.runtime, session, True)


async def add_an_identity(server: Server, session: Session) -> object:
    owner, more = ("user", session.user_id), {"name": "x", "actor": session.user_id}
    document = new_secret(server)[1]
    return await identities.register(
        server.runtime, document, owner=owner, given=None, session=session, **more
    )


async def link_a_provider(server: Server, session: Session) -> object:
    return await upstream_links.link(server.runtime, await user_of(server), Identity(HUB, "ada"), session)


async def make_a_token(server: Server, session: Session) -> object:
    wanted: dict[str, Any] = {"name": "x", "scopes": ("notes:read",), "resource": None, "days": 1}
    return await personal_tokens.create(server.runtime, await user_of(server), session, **wanted)


async def kept_of(server: Server) -> list[object]:
    """Return what is set up on ada's account."""
    read, user = server.runtime.database.read, await user_of(server)
    known = await read(identity_store.list_identities, user.id)
    return [
        await read(factor_store.enrolled, user.id),
        [one.id for one in known if one.revoked_at is None],
        await read(upstream_accounts.list_upstream, user.id),
        [token.id for token, _ in await personal_tokens.own(server.runtime, user)],
    ]


@pytest.mark.parametrize(
    "add",
    [
        add_a_passkey,
        add_an_application,
        make_recovery_codes,
        switch_codes_by_mail_on,
        add_an_identity,
        link_a_provider,
        make_a_token,
    ],
)
async def test_lg_16_a_session_that_ends_in_the_same_moment_adds_nothing_to_the_account(
    ada: Person, add: Act
) -> None:
    server = ada.server
    mine = await session_of(server)
    await elsewhere(server)
    stolen = await session_of(server)
    before = await kept_of(server)
    await sessions.end(server.runtime, stolen)
    with pytest.raises(OAuthError) as refused:
        await add(server, stolen)
    assert refused.value.code == "access_denied"
    assert await kept_of(server) == before
    await add(server, mine)
    assert await kept_of(server) != before, "the honest variant"


async def test_lg_16_a_session_that_ends_in_the_same_moment_takes_nothing_from_the_account(
    ada: Person,
) -> None:
    server = ada.server
    mine = await session_of(server)
    await elsewhere(server)
    stolen = await session_of(server)
    await add_an_application(server, mine)
    await sessions.end(server.runtime, stolen)
    with pytest.raises(OAuthError):
        await factors.remove_totp(server.runtime, stolen)
    assert (await server.runtime.database.read(factor_store.enrolled, mine.user_id)).totp
    assert await factors.remove_totp(server.runtime, mine), "the honest variant"


async def test_ap_05_who_administers_nothing_any_more_in_the_same_moment_gives_no_script_such_a_right(
    ada: Person,
) -> None:
    server, mine = ada.server, await session_of(ada.server)
    await server.client(scope="orders:write", grant_types=["client_credentials"])
    await make(server, "zoe", "zoe@example.com", is_admin=True)
    await people.change(server.runtime, await user_of(server), people.Changes(is_admin=True), actor="test")
    read = await user_of(server)

    async def made_with(scope: str) -> str:
        wanted: dict[str, Any] = {"name": "x", "scopes": (scope,), "resource": None, "days": 1}
        made = await personal_tokens.create(server.runtime, read, mine, **wanted)
        return made.token.scope

    assert await made_with("orders:write") == "orders:write", "the honest variant"
    await people.change(server.runtime, read, people.Changes(is_admin=False), actor="test")
    kept = await kept_of(server)
    with pytest.raises(OAuthError) as refused:
        await made_with("orders:write")  # by what was read of ada just before
    assert refused.value.code == "access_denied"
    assert await kept_of(server) == kept
    assert await made_with("notes:read") == "notes:read", "what is open to everybody still is"


async def test_lg_16_a_browser_is_trusted_in_no_session_that_ends_in_the_same_moment(ada: Person) -> None:
    server = ada.server
    write, read, now = server.runtime.database.write, server.runtime.database.read, server.runtime.now()
    user, mine = await user_of(server), await session_of(server)
    until: dict[str, Any] = {"until": now + 600, "now": now}
    for browser in (b"laptop", b"lost"):
        await write(browsers.note_browser, user.id, browser, now)
    held = (user.id, b"laptop", mine.id)
    assert await write(browsers.trust_browser, *held, proof_epoch=user.proof_epoch, **until), "honest"
    assert await read(browsers.find_trust, user.id, b"laptop", now)
    await take_every_factor(server, user)
    assert not await write(browsers.trust_browser, *held, proof_epoch=user.proof_epoch, **until)
    await elsewhere(server)
    stolen = await session_of(server)
    await write(session_store.end_sessions_of, user.id, but=mine.id, actor=user.id, now=now)
    epoch = (await user_of(server)).proof_epoch
    held = (user.id, b"lost", stolen.id)
    assert not await write(browsers.trust_browser, *held, proof_epoch=epoch, **until)
    assert not await read(browsers.find_trust, user.id, b"lost", now)


async def take_the_passkey(server: Server, user: User) -> None:
    (one,) = await server.runtime.database.read(passkey_store.list_passkeys, user.id)
    write, now = server.runtime.database.write, server.runtime.now()
    assert await write(ways_in.remove_passkey, one.id, user.id, ALL, actor="a", now=now) == "removed"


async def take_the_application(server: Server, user: User) -> None:
    now = server.runtime.now()
    assert await server.runtime.database.write(factor_store.remove_totp, user.id, actor="a", now=now)


async def take_the_recovery_codes(server: Server, user: User) -> None:
    await make_recovery_codes(server, await session_of(server))


async def take_the_codes_by_mail(server: Server, user: User) -> None:
    now = server.runtime.now()
    await server.runtime.database.write(factor_store.set_email_code, user.id, False, actor="a", now=now)


async def take_the_provider(server: Server, user: User) -> None:
    write, now = server.runtime.database.write, server.runtime.now()
    assert await write(ways_in.unlink_upstream, user.id, HUB, ALL, actor="a", now=now) == "removed"


async def take_the_identity(server: Server, user: User) -> None:
    (one,) = await server.runtime.database.read(identity_store.list_identities, user.id)
    point = identities.read_identity(one.document).public
    write, now = server.runtime.database.write, server.runtime.now()
    assert await write(identity_store.revoke_identity, point, actor=one.id, now=now)


async def take_every_factor(server: Server, user: User) -> None:
    await people.remove_factors(server.runtime, user, actor="operator")


async def take_the_address(server: Server, user: User) -> None:
    email, write = "ada@example.net", server.runtime.database.write
    now = server.runtime.now()
    await write(user_changes.set_email, user.id, email, email, verified=True, actor="a", now=now)


async def nothing(server: Server, session: Session) -> None:
    """Set nothing up."""


PROOFS: dict[str, tuple[Act, Callable[[Server, User], Awaitable[None]]]] = {
    "a passkey": (add_a_passkey, take_the_passkey),
    "a code by application": (add_an_application, take_the_application),
    "a recovery code": (make_recovery_codes, take_the_recovery_codes),
    "a code by mail": (switch_codes_by_mail_on, take_the_codes_by_mail),
    "a code mailed to the former address": (switch_codes_by_mail_on, take_the_address),
    "a provider": (link_a_provider, take_the_provider),
    "an identity": (add_an_identity, take_the_identity),
    "what an administrator removes": (add_an_application, take_every_factor),
}


@pytest.mark.parametrize("proof", PROOFS)
async def test_lg_16_what_was_taken_away_begins_and_raises_no_session_by_an_earlier_proof(
    ada: Person, proof: str
) -> None:
    server, (set_up, take_away) = ada.server, PROOFS[proof]
    running = await session_of(server)
    await set_up(server, running)
    proved = await user_of(server)
    given: dict[str, Any] = {"acr": "", "amr": ("pwd",), "proved": proved}
    seen = {"user_agent": "", "address": ""}
    assert await sessions.begin(server.runtime, proved.id, **given, **seen), "the honest variant"
    assert await sessions.elevate(server.runtime, running, **given), "the honest variant"
    await take_away(server, proved)
    with pytest.raises(OAuthError) as refused:
        await sessions.begin(server.runtime, proved.id, **given, **seen)
    assert refused.value.code == "access_denied"
    assert await sessions.elevate(server.runtime, running, **given) is None
    again = given | {"proved": await user_of(server)}
    assert await sessions.begin(server.runtime, proved.id, **again, **seen), "whoever proves it anew"


async def test_lg_16_a_passkeys_proof_stands_for_the_account_of_before_it(ada: Person) -> None:
    server = ada.server
    device = await add_passkey(ada)
    await ada.open("/sign-in?notice=registered")
    browser = ada.http.cookies["ww-browser"]
    before = await user_of(server)
    answer = device.get(options_in(ada), origin=server.settings.issuer)
    challenge = ada.form(having="challenge")["challenge"]
    given = {"browser": browser, "purpose": "sign-in", "challenge": challenge, "credential": answer}
    user, _method = await passkeys.prove(server.runtime, **given)
    assert user == before
    await take_the_passkey(server, user)
    with pytest.raises(OAuthError):
        await sessions.begin(
            server.runtime, user.id, acr="", amr=("pop",), user_agent="", address="", proved=user
        )


async def test_lg_16_half_a_sign_in_ends_with_the_factor_that_it_waits_for(ada: Person) -> None:
    server = ada.server
    key = await add_totp(ada)
    half = await elsewhere(server)
    assert half.path == "/sign-in/second-factor"
    await take_the_application(server, await user_of(server))
    await half.send({"code": code_of(server, key)}, having="method")
    assert half.path != "/account"
    again = Person(server, another(server))
    await again.sign_in()
    assert again.path == "/account", "the honest variant"


async def test_a_code_is_mailed_to_nobody_who_has_another_address_meanwhile(ada: Person) -> None:
    server = ada.server
    await switch_codes_by_mail_on(server, await session_of(server))
    write, read, now = server.runtime.database.write, server.runtime.database.read, server.runtime.now()
    user = await user_of(server)
    kept: dict[str, Any] = {"expires_at": now + 600}
    assert await write(factor_store.keep_email_code, user.id, "sign-in", b"1", email=EMAIL, **kept)
    await take_the_address(server, user)
    assert not await write(factor_store.keep_email_code, user.id, "sign-in", b"2", email=EMAIL, **kept)
    assert not await read(factor_store.has_live_email_code, user.id, "sign-in", now)


async def test_lg_21_no_link_is_mailed_to_an_address_that_was_given_up_meanwhile(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, origin = ada.server, Origin("192.0.2.1", "")
    throttle, read, user = recovery.throttle, server.runtime.database.read, await user_of(server)

    async def mailed() -> list[str]:
        return [to for to, text in await letters(server) if "/reset-password?" in text]

    await recovery.request(server.runtime, "ada", origin)
    assert await mailed() == [EMAIL], "the honest variant"
    await recovery.request(server.runtime, "ada", origin)

    async def moved_just_now(*given: Any) -> None:
        await take_the_address(server, user)
        await throttle(*given)

    monkeypatch.setattr(recovery, "throttle", moved_just_now)
    assert await mailed() == [EMAIL], "who reads the former mailbox gets no other link"
    assert await read(links.find_live_link, user.id, user_changes.MAILED, server.runtime.now()) is None
    monkeypatch.undo()
    await recovery.request(server.runtime, "ada", origin)
    assert await mailed() == ["ada@example.net", EMAIL]


CHANGES_BY_FORM: dict[str, tuple[str, dict[str, str]]] = {
    "end all others": ("/account/sessions", {"do": "end_others"}),
    "end all others and their access": ("/account/sessions", {"do": "end_others", "end_access": "yes"}),
    "end one": ("/account/sessions", {"do": "end"}),
    "change the name": ("/account", {"name": "Mallory"}),
}


@pytest.mark.parametrize("change", CHANGES_BY_FORM)
async def test_lg_16_a_session_that_ends_between_look_and_change_does_nothing_by_a_form(
    ada: Person, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    server, mine, (path, form) = ada.server, await session_of(ada.server), CHANGES_BY_FORM[change]
    thief = await elsewhere(server)
    stolen = await session_of(server)
    require = account.require

    async def ended_just_now(request: Any) -> Any:
        found = await require(request)
        await sessions.end(server.runtime, stolen)
        return found

    async def send(person: Person) -> int:
        await person.open(path)
        given = {"csrf": person.form()["csrf"], "session": mine.id, **form}
        monkeypatch.setattr(account, "require", ended_just_now)
        answer = await person.http.post(path, data=given)
        monkeypatch.undo()
        return answer.status_code

    assert await send(thief) == 400
    read, now = server.runtime.database.read, server.runtime.now()
    assert await read(session_store.get_session, mine.id, now) is not None
    assert (await user_of(server)).display_name is None
    other = await elsewhere(server)
    await other.open(path)
    given = {"csrf": other.form()["csrf"], "session": mine.id, **form}
    assert (await other.http.post(path, data=given)).status_code == 303, "the honest variant"
    gone = await read(session_store.get_session, mine.id, now) is None
    assert gone or (await user_of(server)).display_name == "Mallory"
