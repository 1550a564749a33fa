"""AP: the console gives the whole power over the server to administrators who prove it, and to nobody else."""

from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from tests.fixtures.accounts import add_totp, another, code_of, make, session_of, sign_out, user_of
from tests.fixtures.console import admin, server
from tests.fixtures.people import Person
from tests.fixtures.servers import Server, open_server

from watchword.app.routes import ROUTES
from watchword.credentials import methods
from watchword.flows import factors, sessions
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.users import people
from watchword.flows.users.people import Changes
from watchword.pages import returning
from watchword.pages.browser import cookie_name
from watchword.store import factors as store

__all__ = ["admin", "server"]
CONSOLE = {
    path.format(id="x", kid="x", kind="web"): answered
    for path, answered in ROUTES.items()
    if path.startswith("/console")
}
PAGES = [path for path, answered in CONSOLE.items() if "GET" in answered]
CHANGES = [path for path, answered in CONSOLE.items() if "POST" in answered]


async def test_an_administrator_with_a_second_step_comes_in(admin: Person) -> None:
    answer = await admin.open("/console")
    assert (answer.status_code, admin.path) == (200, "/console")
    assert "user.created" in admin.text


async def test_ap_05_a_visitor_is_sent_to_the_sign_in_page_from_every_page(admin: Person) -> None:
    assert (await admin.open("/console")).status_code == 200
    async with another(admin.server) as browser:
        sent = {path: (await browser.get(path)).headers.get("location", "") for path in PAGES}
    sign_in = f"{admin.server.settings.issuer}/sign-in?return="
    assert [path for path, location in sent.items() if not location.startswith(sign_in)] == []


async def test_ap_05_somebody_who_is_no_administrator_sees_and_changes_nothing(admin: Person) -> None:
    assert (await admin.open("/console")).status_code == 200
    await make(admin.server, "eve", "eve@example.com")
    async with another(admin.server) as browser:
        eve = Person(admin.server, browser)
        await eve.sign_in("eve")
        await add_totp(eve)  # or the second step would be all that is missing
        await eve.open("/account")
        form = {"csrf": eve.form()["csrf"]}
        seen = {path: (await browser.get(path)).status_code for path in PAGES}
        changed = {path: (await browser.post(path, data=form)).status_code for path in CHANGES}
    assert seen == dict.fromkeys(PAGES, 403)
    assert changed == dict.fromkeys(CHANGES, 403)


async def statuses(person: Person) -> dict[str, int]:
    """Return how every page of the console answers somebody."""
    return {path: (await person.http.get(path)).status_code for path in PAGES}


async def test_ap_05_who_lost_the_right_is_out_with_the_next_page(admin: Person) -> None:
    assert 403 not in (await statuses(admin)).values()
    await make(admin.server, "zoe", "zoe@example.com", is_admin=True)
    await people.change(
        admin.server.runtime, await user_of(admin.server), Changes(is_admin=False), actor="test"
    )
    assert await statuses(admin) == dict.fromkeys(PAGES, 403)


async def test_mf_06_without_a_second_step_an_administrator_is_asked_to_set_one_up(server: Server) -> None:
    await make(server, is_admin=True)
    person = Person(server, another(server))
    await person.sign_in()
    answer = await person.open("/console")
    assert answer.status_code == 403
    assert "Set one up" in person.text
    assert await statuses(person) == dict.fromkeys(PAGES, 403)
    await add_totp(person)
    assert 403 not in (await statuses(person)).values(), "the honest variant"


async def test_mf_06_a_trusted_browser_spares_nobody_the_second_step(admin: Person) -> None:
    server = admin.server
    await sign_out(admin)
    server.clock.advance(31)
    await admin.sign_in()
    await admin.send({"code": code_of(server, server.extra["totp"]), "remember": "yes"}, having="method")
    await sign_out(admin)
    await admin.sign_in()
    assert admin.path == "/account", "the browser is trusted"
    assert (await admin.open("/console")).status_code == 403
    assert "Confirm that it is you" in admin.text


async def test_se_02_the_console_is_closed_to_a_proof_of_long_ago(admin: Person) -> None:
    assert (await admin.open("/console")).status_code == 200
    admin.server.clock.advance(8 * 3600)
    await admin.open("/console")
    assert admin.path in ("/step-up", "/sign-in")


async def test_se_02_a_change_asks_for_a_proof_of_now(admin: Person) -> None:
    issued = await admin.server.token()
    page = f"/console/tokens/{issued.token.id}"
    assert (await admin.open(page)).status_code == 200
    admin.server.clock.advance(601)
    await admin.send({"do": "revoke", "reason": "revoked"}, having="reason")
    assert admin.path == "/step-up"
    assert (
        await admin.server.http.get("/api/v1/tokens/self", headers=_bearer(issued.secret))
    ).status_code == 200


def _bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


async def test_se_09_another_site_changes_nothing(admin: Person) -> None:
    issued = await admin.server.token()
    page = f"/console/tokens/{issued.token.id}"
    await admin.open(page)
    form = {**admin.form(having="reason"), "do": "revoke"}
    form.pop("")
    for forged in (
        {**form, "csrf": "0" * 64},
        {name: value for name, value in form.items() if name != "csrf"},
    ):
        assert (await admin.http.post(page, data=forged)).status_code == 400
    crossed = await admin.http.post(page, data=form, headers={"sec-fetch-site": "cross-site"})
    assert crossed.status_code == 400
    assert (
        await admin.server.http.get("/api/v1/tokens/self", headers=_bearer(issued.secret))
    ).status_code == 200
    assert (await admin.http.post(page, data=form)).status_code == 303
    assert (
        await admin.server.http.get("/api/v1/tokens/self", headers=_bearer(issued.secret))
    ).status_code == 401


async def test_az_09_an_invented_address_is_only_not_there(admin: Person) -> None:
    invented = ["%C3%A9", "%00", "%E2%80%AE", "a%2Fb", "%FF", "%22%3E%3Cscript%3E", "x" * 3000]
    paths = [f"/console/tokens/{name}" for name in invented]
    async with another(admin.server) as browser:
        for path in paths:
            assert (await admin.http.get(path)).status_code in (400, 404)
            assert (await browser.get(path)).status_code == 303
    admin.server.clock.advance(8 * 3600)
    for path in paths:
        assert (await admin.http.get(path)).status_code == 303, "to be proved, or signed in, anew"


async def test_a_service_without_a_console_has_none(tmp_path: Path) -> None:
    async with open_server(tmp_path, mode="development", console=False) as server:
        await make(server, is_admin=True)
        person = Person(server, another(server))
        await person.sign_in()
        assert (await person.open("/console")).status_code == 404
        assert "/console" not in (await person.open("/account")).text
    async with open_server(tmp_path, mode="development") as server, another(server) as browser:
        person = Person(server, browser)
        await person.sign_in()
        assert (await person.open("/console")).status_code == 200
        assert "/console" in (await person.open("/account")).text


async def _holding(person: Person, *amr: str) -> None:
    """Give a browser a session as it would be after these methods."""
    runtime, session = person.server.runtime, await session_of(person.server)
    cookie = await sessions.elevate(runtime, session, acr=methods.AAL1, amr=amr)
    assert cookie is not None
    name = cookie_name(person.server.settings, "ww-session")
    person.http.cookies.clear()
    person.http.cookies.set(name, cookie)


async def test_mf_06_the_mailbox_of_an_administrator_opens_no_console(admin: Person) -> None:
    user = await user_of(admin.server)
    await admin.server.runtime.database.write(
        store.set_email_code, user.id, True, actor="test", now=admin.server.runtime.now()
    )
    await _holding(admin, "pwd", "otp", "mfa")
    assert (await admin.open("/console")).status_code == 200
    assert (await admin.open("/account/second_factors/totp")).status_code == 200
    assert admin.path == "/account/second_factors/totp"
    # The password was set anew by mail, and the code came there as well.
    await _holding(admin, "pwd", "email")
    assert (await admin.open("/console")).status_code == 403
    assert "not enough here" in admin.text
    await admin.open("/account/second_factors/totp")
    assert admin.path == "/step-up", "nor does it set up or remove what would open it"
    assert "authenticator app" in admin.text
    settings = msgspec.structs.replace(admin.server.settings, smtp_url="smtp://mail.example.com")
    have = await admin.server.runtime.database.read(store.enrolled, user.id)
    assert "email_code" in factors.usable(settings, have)
    assert "email_code" not in factors.confirming(settings, user, have)
    assert "email_code" in factors.confirming(settings, msgspec.structs.replace(user, is_admin=False), have)
    alone = msgspec.structs.replace(have, totp=False, passkeys=0)
    assert factors.confirming(settings, user, alone) == ("email_code",), (
        "who has nothing else is not locked out"
    )


@pytest.mark.parametrize("client_id", ["shop", "a%20b", "https://app.example.com/a%2Fb", "console"])
async def test_who_proves_it_anew_or_signs_in_comes_back_to_the_same_thing(
    admin: Person, client_id: str
) -> None:
    runtime = admin.server.runtime
    await client_registry.register(runtime, ClientInput(name="Shop"), actor="test", client_id=client_id)
    page = f"/console/clients/{quote(client_id, safe='')}/edit"
    assert (await admin.http.get(page)).status_code == 200
    admin.server.clock.advance(601)
    away = (await admin.http.get(page)).headers["location"]
    assert returning.open_return(runtime, away.partition("return=")[2]) == page
    async with another(admin.server) as browser:
        away = (await browser.get(page)).headers["location"]
    assert returning.open_return(runtime, away.partition("return=")[2]) == page, "by the sign-in page as well"
