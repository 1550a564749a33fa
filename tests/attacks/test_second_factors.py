"""MF, LG-16, LG-20: second factors are guessed, skipped, replayed and taken away; what is issued by another way is not spared them."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
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
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server, together

from watchword.flows import factors
from watchword.settings import ScopeText
from watchword.store import events
from watchword.store import factors as factor_store


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application with a person in it, whose scripts may have tokens."""
    async with open_server(
        tmp_path,
        database=store.address,
        key_file=str(tmp_path / "key"),
        mode="development",
        scopes={"notes:read": ScopeText(sentence="Read your notes", personal=True)},
    ) as opened:
        await make(opened)
        yield opened


@pytest_asyncio.fixture
async def ada(server: Server) -> AsyncIterator[Person]:
    """The person, at a browser, signed in."""
    async with another(server) as browser:
        person = Person(server, browser)
        await person.sign_in()
        yield person


async def elsewhere(server: Server) -> Person:
    """Return somebody at another browser who has given ada's password."""
    person = Person(server, another(server))
    await person.sign_in()
    return person


async def test_mf_02_codes_are_counted_over_every_sign_in_under_way(ada: Person) -> None:
    server = ada.server
    key = await add_totp(ada)
    server.clock.advance(31)
    answers = []
    for _ in range(6):
        guesser = await elsewhere(server)
        tries = [await guesser.send({"code": "000000"}, having="method") for _ in range(3)]
        answers += [answer.status_code for answer in tries]
        server.clock.advance(61)
    assert answers.count(401) <= 11
    assert answers[-1] == 429
    trail = await server.runtime.database.read(events.list_events, limit=100, name="second_factor.refused")
    assert len(trail) == answers.count(401)
    assert any("may know your password" in text for _, text in await letters(server)), "the owner is warned"
    await sign_out(ada)
    await ada.sign_in()
    await ada.send({"code": code_of(server, key)}, having="method")
    assert ada.path == "/account", "the owner's own browser is not held up by it"


async def test_mf_03_half_a_sign_in_is_none(ada: Person) -> None:
    server = ada.server
    key = await add_totp(ada)
    client = await server.client(
        redirect_uris=["https://app.example.com/cb"], grant_types=["authorization_code"], scope="openid"
    )
    server.clock.advance(31)
    half = await elsewhere(server)
    assert half.path == "/sign-in/second-factor"
    begun = await half.http.get("/authorize", params=authorization(client, scope="openid"))
    assert "code=" not in begun.headers["location"]
    for path in ("/account", "/account/tokens", "/device", "/authorize/resume?interaction=x"):
        answer = await half.http.get(path)
        assert "session" not in str(half.http.cookies)
        assert answer.status_code in (200, 303, 400)
        assert "ada" not in answer.text or answer.status_code == 303
    await half.open("/sign-in/second-factor")
    await half.send({"code": code_of(server, key)}, having="method")
    assert half.path == "/account", "the honest variant"


async def test_mf_04_no_other_way_spares_the_second_factor(ada: Person) -> None:
    server = ada.server
    await add_totp(ada)
    await sign_out(ada)
    ada.http.cookies.clear()
    await ada.open("/device?user_code=ABCD-EFGH")
    await ada.send({"identifier": "ada", "password": PASSWORD})
    assert ada.path == "/sign-in/second-factor"
    basic = httpx.BasicAuth("ada", PASSWORD)
    for path in ("/api/v1/tokens/self", "/api/v1/users", "/userinfo", "/introspect"):
        answer = await server.http.get(path, auth=basic)
        assert answer.status_code in (401, 405), path
    form = {"grant_type": "password", "username": "ada", "password": PASSWORD}
    refused = await server.post("/token", await server.client(), **form)
    assert refused.json()["error"] == "unsupported_grant_type"


async def test_mf_04_a_reset_password_does_not_spare_the_second_factor(ada: Person) -> None:
    from tests.fixtures.accounts import EMAIL
    from tests.fixtures.people import link_in

    await add_totp(ada)
    person = Person(ada.server, another(ada.server))
    await person.open("/recover")
    await person.send({"identifier": EMAIL})
    link = next(link_in(text) for to, text in await letters(ada.server) if "/reset-password" in text)
    await person.open(link)
    await person.send({"new_password": OTHER, "end_others": "yes"})
    await person.sign_in(password=OTHER)
    assert person.path == "/sign-in/second-factor"


async def recovery_codes(person: Person) -> list[str]:
    """Make recovery codes and return them."""
    await person.open("/account/second_factors")
    await person.send({"do": "new_recovery_codes"}, having="do", index=-1)
    assert person.page is not None
    return re.findall(r"<li><code>([0-9a-z-]{29})</code></li>", person.page.text)


async def use_code(server: Server, code: str) -> str:
    """Sign in elsewhere with a recovery code; return where that leads."""
    person = await elsewhere(server)
    await person.open("/sign-in/second-factor?method=recovery_code")
    await person.send({"code": code}, having="method")
    return person.path


async def test_mf_05_a_recovery_code_works_once_and_never_after_new_ones(ada: Person) -> None:
    server = ada.server
    await add_totp(ada)
    old = await recovery_codes(ada)
    assert await use_code(server, old[0]) == "/account"
    assert await use_code(server, old[0]) == "/sign-in/second-factor"
    new = await recovery_codes(ada)
    assert await use_code(server, old[1]) == "/sign-in/second-factor", "the old set is dead"
    assert await use_code(server, new[0]) == "/account"
    await ada.open("/account/second_factors")
    assert ada.page is not None
    assert not any(code in ada.page.text for code in new), "never shown again"


async def test_mf_05_the_owner_is_told_of_a_recovery_code_wherever_it_is_used(ada: Person) -> None:
    server = ada.server
    await add_totp(ada)
    codes = await recovery_codes(ada)
    assert await use_code(server, codes[0]) == "/account"
    server.clock.advance(700)
    await ada.open("/account/email")
    assert ada.path == "/step-up"
    await ada.open(f"{ada.page and ada.page.url}&method=recovery_code")
    await ada.send({"code": codes[1]}, having="method")
    assert ada.path == "/account/email"
    told = [text for _, text in await letters(server) if "a recovery code was used" in text]
    assert len(told) == 2, "at the sign-in and at the further proof"


async def test_mf_05_recovery_codes_are_kept_as_digests(ada: Person) -> None:
    await add_totp(ada)
    codes = await recovery_codes(ada)

    async def kept(tx: object) -> list[bytes]:
        rows = await tx.all("SELECT digest FROM recovery_codes")  # type: ignore[attr-defined]  # a transaction
        return [bytes(row["digest"]) for row in rows]

    digests = await ada.server.runtime.database.read(kept)
    assert len(digests) == len(codes) == 10
    assert all(len(digest) == 32 for digest in digests)
    assert not any(code.replace("-", "").encode() in digest for code in codes for digest in digests)


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


async def test_mf_08_a_key_is_set_up_by_whose_page_showed_it_only(ada: Person) -> None:
    server = ada.server
    await make(server, "eve", "eve@example.com")
    eve = Person(server, another(server))
    await eve.sign_in("eve")
    await eve.open("/account/second_factors/totp")
    hers = eve.form(having="key")["key"]
    await ada.open("/account/second_factors/totp")
    shown = ada.form(having="key")["key"]
    key = factors.open_totp(server.runtime, await user_of(server, "eve"), hers)
    assert key is not None
    await ada.send({"key": hers, "code": code_of(server, key)}, having="key")
    have = await server.runtime.database.read(factor_store.enrolled, (await user_of(server)).id)
    assert not have.totp, "another person's key"
    own = factors.open_totp(server.runtime, await user_of(server), shown)
    assert own is not None
    server.clock.advance(1000)
    assert factors.open_totp(server.runtime, await user_of(server), shown) is None, "an old page"


async def test_mf_08_of_two_set_ups_at_once_one_counts(ada: Person) -> None:
    server = ada.server
    forms = []
    for _ in range(2):
        await ada.open("/account/second_factors/totp")
        forms.append(ada.form(having="key"))
    user = await user_of(server)
    calls = []
    for form in forms:
        key = factors.open_totp(server.runtime, user, form["key"])
        assert key is not None
        address = form.pop("")
        calls.append(ada.http.post(address, data={**form, "code": code_of(server, key)}))
    answers = await together(*calls)
    kept = [answer for answer in answers if "totp_added" in answer.headers.get("location", "")]
    assert len(kept) == 1
    assert all(answer.status_code in (303, 400) for answer in answers)


async def test_mf_08_a_key_reaches_no_address_and_no_log(
    ada: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    server = ada.server
    page = await ada.open("/account/second_factors/totp")
    sealed = ada.form(having="key")["key"]
    key = factors.open_totp(server.runtime, await user_of(server), sealed)
    assert key is not None
    import base64

    text = base64.b32encode(key).decode().rstrip("=")
    assert text in page.text.replace(" ", ""), "it is shown on the page"
    await ada.send({"code": code_of(server, key)}, having="key")
    assert text not in str(ada.page.url if ada.page else "")
    written = capfd.readouterr()
    assert text not in written.out + written.err


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


async def test_lg_16_what_an_application_was_granted_elsewhere_ends_with_the_old_password(
    ada: Person,
) -> None:
    from tests.flows.test_authorization_code import REDIRECT, answer_of, redeem, refresh, register

    server = ada.server
    client = await register(server, scope="openid offline_access orders:read")
    thief = Person(server, another(server))
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
