"""MF-04, MF-06, LG-16, LG-20, AP-04: what a change of credentials demands, and what it ends."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from tests.attacks.factors import ada, elsewhere, server
from tests.fixtures.accounts import (
    OTHER,
    add_passkey,
    add_totp,
    another,
    change_password,
    code_of,
    make,
    options_in,
    session_of,
    sign_out,
    user_of,
)
from tests.fixtures.code_flow import request as authorization
from tests.fixtures.people import PASSWORD, Person, letters
from tests.fixtures.servers import Server
from tests.unit.credentials.software_authenticator import SoftwareAuthenticator

from watchword.flows import factors
from watchword.flows.users import people, recovery
from watchword.store import factors as factor_store

__all__ = ["ada", "server"]


async def trusted(ada: Person, key: bytes) -> Person:
    """Return ada at a browser that spares her the second factor, signed in by the password alone."""
    person = await elsewhere(ada.server)
    await person.send({"code": code_of(ada.server, key), "remember": "yes"}, having="method")
    await sign_out(person)
    await person.sign_in()
    assert person.path == "/account"
    assert (await session_of(ada.server)).amr == ("pwd",)
    return person


CHANGES = {
    "/account/second_factors": {"do": "remove_totp"},
    "/account/passkeys": {"do": "remove", "passkey": "x"},
    "/account/tokens/new": {"name": "x", "scope": "notes:read", "days": "30"},
    "/account/email": {"email": "eve@example.com"},
    "/account/delete": {"identifier": "ada"},
    "/account/identities": {"do": "revoke", "identity_id": "x"},
}


@pytest.mark.parametrize("path", CHANGES)
async def test_mf_06_a_session_by_password_alone_changes_nothing_of_who_has_a_second_factor(
    ada: Person, path: str
) -> None:
    key = await add_totp(ada)
    ada.server.clock.advance(31)
    person = await trusted(ada, key)
    await person.open("/account")
    form = {"csrf": person.form()["csrf"], **CHANGES[path]}
    answer = await person.http.post(path, data=form)
    assert answer.status_code == 303
    assert "/step-up" in answer.headers["location"]
    await person.open(answer.headers["location"])
    refused = await person.send({"method": "password", "password": PASSWORD}, having="method")
    assert person.path == "/step-up", "a password proves nothing new"
    assert refused.status_code == 200
    have = await ada.server.runtime.database.read(factor_store.enrolled, (await user_of(ada.server)).id)
    assert have.totp
    ada.server.clock.advance(31)
    await person.send({"code": code_of(ada.server, key)}, having="method")
    assert person.path == path, "the honest variant: a code, and back to the place"


async def test_mf_06_the_present_password_is_no_fresh_second_factor(ada: Person) -> None:
    server = ada.server
    key = await add_totp(ada)
    server.clock.advance(31)
    await sign_out(ada)
    await ada.sign_in()
    await ada.send({"code": code_of(server, key)}, having="method")
    proved = await session_of(server)
    server.clock.advance(3600)
    await change_password(ada, PASSWORD, OTHER)
    assert "Your password is changed." in ada.text, "the honest variant"
    form = {"csrf": ada.form()["csrf"], "do": "remove_totp"}
    answer = await ada.http.post("/account/second_factors", data=form)
    assert "/step-up" in answer.headers["location"]
    told = await session_of(server)
    assert (told.acr, told.authenticated_at) == (proved.acr, proved.authenticated_at)


async def test_mf_06_a_password_makes_no_older_passkey_fresh(ada: Person) -> None:
    server = ada.server
    device = await add_passkey(ada)
    await sign_out(ada)
    await ada.open("/sign-in")
    await ada.send({"credential": device.get(options_in(ada), origin="http://localhost")}, having="challenge")
    proved = await session_of(server)
    assert proved.acr == "urn:watchword:aal2-phr", "the honest variant"
    server.clock.advance(3600)
    await ada.open("/account/tokens/new")
    assert ada.path == "/step-up"
    assert ada.page is not None
    await ada.open(f"{ada.page.url}&method=password")
    await ada.send({"password": PASSWORD}, having="method")
    assert ada.path == "/account/tokens/new", "good enough for a change to the account"
    told = await session_of(server)
    assert told.acr == proved.acr
    assert told.authenticated_at == proved.authenticated_at, (
        "an application that wants it fresh is not deceived"
    )


@pytest.mark.parametrize(
    "way", ["the page of devices", "signing out", "an administrator", "a changed password"]
)
async def test_mf_04_a_lost_device_is_spared_nothing_once_everything_was_signed_out(
    ada: Person, way: str
) -> None:
    server = ada.server
    key = await add_totp(ada)
    server.clock.advance(31)
    lost = await trusted(ada, key)  # the honest variant: it is spared the second factor until then
    if way == "the page of devices":
        await ada.open("/account/sessions")
        await ada.send({"do": "end_others"}, having="do", index=-1)
    elif way == "signing out":
        await ada.open("/sign-out")
        await ada.send({"decision": "sign_out", "everywhere": "yes"})
    elif way == "an administrator":
        await people.end_sessions(server.runtime, await user_of(server), actor="operator")
    else:
        await change_password(ada, PASSWORD, OTHER)
    assert (await lost.open("/account")).url.path == "/sign-in"
    await lost.sign_in(password=OTHER if way == "a changed password" else PASSWORD)
    assert lost.path == "/sign-in/second-factor"


@pytest.mark.parametrize("way", ["the page of devices", "an administrator", "before it was known from where"])
async def test_mf_04_a_lost_device_is_spared_nothing_once_its_session_was_ended_from_elsewhere(
    ada: Person, way: str
) -> None:
    server = ada.server
    key = await add_totp(ada)
    server.clock.advance(31)
    kept = await trusted(ada, key)
    server.clock.advance(31)
    lost = await trusted(ada, key)  # the honest variant: it signed out there, and is spared the second factor
    session = await session_of(server)
    if way == "an administrator":
        await people.end_session(server.runtime, session.id, actor="operator")
    else:
        if way == "before it was known from where":
            await server.runtime.database.write(_forget_where, session.id)
        await ada.open("/account/sessions")
        await ada.send({"session": session.id}, having="session")
    assert (await lost.open("/account")).url.path == "/sign-in"
    await lost.sign_in()
    assert lost.path == "/sign-in/second-factor"
    await sign_out(kept)
    await kept.sign_in()
    other = "/sign-in/second-factor" if way == "before it was known from where" else "/account"
    assert kept.path == other, "another device is trusted as before"


async def _forget_where(tx: Any, session_id: str) -> None:
    """Make a session one of an earlier release."""
    await tx.run("UPDATE sessions SET browser = NULL WHERE id = $1", session_id)


@pytest.mark.parametrize("path", CHANGES)
async def test_lg_20_a_change_needs_a_proof_of_the_last_minutes(ada: Person, path: str) -> None:
    await ada.open("/account")
    csrf = ada.form()["csrf"]
    ada.server.clock.advance(700)
    answer = await ada.http.post(path, data={"csrf": csrf, **CHANGES[path]})
    assert answer.status_code == 303
    assert "/step-up" in answer.headers["location"]
    assert (await user_of(ada.server)).email == "ada@example.com"
    await ada.open(answer.headers["location"])
    await ada.send({"password": PASSWORD}, having="method")
    assert ada.path == path


async def test_lg_20_a_password_is_changed_by_who_knows_it_only(ada: Person) -> None:
    await ada.open("/account/password")
    refused = await ada.send({"password": OTHER, "new_password": "some entirely new words here"})
    assert refused.status_code == 400
    await change_password(ada, PASSWORD, OTHER)
    assert "Your password is changed." in ada.text


@pytest.mark.parametrize("change", ["password", "totp", "passkey"])
async def test_lg_16_a_change_of_credentials_ends_the_other_sessions_if_wished(
    ada: Person, change: str
) -> None:
    other = Person(ada.server, another(ada.server))
    await other.sign_in()
    before = ada.http.cookies["ww-session"]
    if change == "password":
        await change_password(ada, PASSWORD, OTHER)
    elif change == "totp":
        await ada.open("/account/second_factors/totp")
        key = factors.open_totp(ada.server.runtime, await user_of(ada.server), ada.form(having="key")["key"])
        assert key is not None
        await ada.send({"code": code_of(ada.server, key), "end_others": "yes"}, having="key")
    else:
        await add_passkey(ada)
        await ada.open("/account/passkeys")
        await ada.send({"do": "rename", "name": "Laptop"}, having="passkey")
        await ada.open("/account")
        form = {
            "csrf": ada.form()["csrf"],
            "do": "remove",
            "end_others": "yes",
            "passkey": await passkey_of(ada),
        }
        await ada.http.post("/account/passkeys", data=form)
    assert (await other.open("/account")).url.path == "/sign-in"
    assert (await ada.open("/account")).url.path == "/account"
    assert ada.http.cookies["ww-session"] != before
    thief = another(ada.server)
    thief.cookies.set("ww-session", before)
    assert (await thief.get("/account")).status_code == 303, "a copy of the old cookie is dead"
    assert await letters(ada.server), "the owner is told"


async def passkey_of(person: Person) -> str:
    """Return the identifier of the person's passkey."""
    from watchword.store import passkeys

    user = await user_of(person.server)
    return (await person.server.runtime.database.read(passkeys.list_passkeys, user.id))[0].id


@pytest.mark.parametrize("here", [False, True], ids=["in another session", "in the session that goes on"])
async def test_lg_16_what_an_application_was_granted_ends_with_the_old_password(
    ada: Person, here: bool
) -> None:
    from tests.flows.test_authorization_code import REDIRECT, answer_of, redeem, refresh, register

    server = ada.server
    client = await register(server, scope="openid offline_access orders:read")
    thief = ada if here else Person(server, another(server))
    if not here:
        await thief.sign_in()
    await thief.open(
        httpx.URL("/authorize", params=authorization(client, scope="openid offline_access")).raw_path.decode()
    )
    fields = thief.form(having="interaction")
    answer = await thief.http.post(fields.pop(""), data={**fields, "decision": "approve"})
    assert answer.headers["location"].startswith(REDIRECT)
    tokens = (await redeem(server, client, answer_of(answer)["code"])).json()
    tokens = (await refresh(server, client, tokens["refresh_token"])).json()
    assert "refresh_token" in tokens, "the honest variant"
    await change_password(ada, PASSWORD, OTHER)
    refused = await refresh(server, client, tokens["refresh_token"])
    assert refused.json()["error"] == "invalid_grant"
    told = await server.post("/introspect", client, token=tokens["access_token"])
    assert told.json() == {"active": False}, "TK-02"
    assert (await ada.http.get("/account")).status_code == 200, "the session goes on"


def by_reset(end: str) -> Callable[[Person], Awaitable[object]]:
    """Return what sets a password by an administrator's link at a fresh browser."""

    async def reset(ada: Person) -> None:
        person = Person(ada.server, another(ada.server))
        user = await user_of(ada.server)
        await person.open(await recovery.hand_over_link(ada.server.runtime, user, 600, actor="test"))
        await person.send({"new_password": OTHER, "end_others": end}, having="link")
        assert "Your password is set." in person.text

    return reset


def by_passkey(end: str) -> Callable[[Person], Awaitable[object]]:
    """Return what puts a passkey in the place of the password, by such a link."""

    async def recover(ada: Person) -> None:
        person = Person(ada.server, another(ada.server))
        user = await user_of(ada.server)
        await person.open(await recovery.hand_over_link(ada.server.runtime, user, 600, actor="test"))
        made = SoftwareAuthenticator().create(options_in(person), origin=ada.server.settings.issuer)
        await person.send({"new_password": "", "credential": made, "end_others": end}, having="link")
        assert "Your passkey is ready." in person.text

    return recover


def by_change(end: str) -> Callable[[Person], Awaitable[object]]:
    """Return what changes the password in a session."""
    return lambda ada: change_password(ada, PASSWORD, OTHER, end)


@pytest.mark.parametrize("way", [by_reset, by_passkey, by_change])
@pytest.mark.parametrize("end", ["yes", ""])
async def test_ap_04_a_token_made_with_the_old_password_ends_with_the_sessions(
    ada: Person, way: Callable[[str], Callable[[Person], Awaitable[object]]], end: str
) -> None:
    server = ada.server
    await make(server, "eve", "eve@example.com")
    owners = [(await user_of(server, name)).id for name in ("ada", "eve")]
    token, hers = [(await server.token("notes:read", owner)).secret for owner in owners]
    narrowed = await server.http.post(
        "/api/v1/tokens/self/narrow", json={"scope": "notes:read"}, headers=bearer(token)
    )
    mine = (token, narrowed.json()["token"])
    assert {await shown(server, one) for one in (*mine, hers)} == {200}, "the honest variant"
    await way(end)(ada)
    assert {await shown(server, one) for one in mine} == {401 if end else 200}
    assert await shown(server, hers) == 200, "nobody else's token ends"


def bearer(token: str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"authorization": f"Bearer {token}"}


async def shown(server: Server, token: str) -> int:
    """Return the status of a token's use."""
    return (await server.http.get("/api/v1/tokens/self", headers=bearer(token))).status_code
