"""Live sessions at the console: whose, where, since when and by what means; ended one by one, one's own by signing out."""

import re
from urllib.parse import urlencode

import pytest
from tests.fixtures.accounts import another, code_of, make, session_of
from tests.fixtures.code_flow import answer_of, redeem, refresh, register, request
from tests.fixtures.console import admin, server
from tests.fixtures.console_forms import form_of
from tests.fixtures.people import Person
from tests.fixtures.servers import Server

from watchword.pages.console import frame

__all__ = ["admin", "server"]
LIST = "/console/sessions"
PHONE = "Mozilla/5.0 (iPhone) Safari/605"


async def signed_in(server: Server, name: str = "kim", agent: str = PHONE) -> Person:
    """Return somebody at a browser of their own."""
    person = Person(server, another(server, agent))
    await person.sign_in(name)
    return person


async def test_one_is_counted_as_one(admin: Person) -> None:
    await admin.open("/console")
    assert re.search(r"\s1\s+person\s", admin.text), admin.text
    await make(admin.server, "kim", "kim@example.com")
    await admin.open("/console")
    assert re.search(r"\s2\s+people\s", admin.text), admin.text


async def test_live_sessions_say_whose_where_and_by_what_means_the_newest_first(admin: Person) -> None:
    await make(admin.server, "kim", "kim@example.com")
    await signed_in(admin.server)
    text = " ".join((await admin.open(LIST)).text and admin.text.split())
    assert re.search(
        r"kim · Safari on iPhone.*127\.0\.0\.1.*One factor Password.*ada · Firefox on Linux", text
    )
    assert "Two factors Password Authenticator app" in text
    for who in ("kim", "kim@example.com"):
        await admin.open(f"{LIST}?{urlencode({'user': who})}")
        assert "Safari on iPhone" in admin.text
        assert "Firefox on Linux" not in admin.text
    assert (await admin.open(f"{LIST}?user=nobody")).status_code == 400
    assert "There is no such account." in admin.text


async def test_who_ends_a_session_on_a_later_page_stays_there(
    admin: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame, "PAGE", 2)
    server = admin.server
    await make(server, "kim", "kim@example.com")
    oldest = await signed_in(server)
    for _ in range(3):
        await signed_in(server)
    await admin.open(f"{LIST}?user=kim")
    following = re.search(r'href="([^"]*cursor=[^"]*)"', admin.page.text if admin.page else "")
    assert following is not None
    later = following[1].replace("&amp;", "&")
    await admin.open(later)
    form = form_of(admin, "end")
    assert form is not None
    answer = await admin.http.post(form.pop(""), data=form)
    assert answer.headers["location"] == f"{later}&notice=session_ended"
    assert (await oldest.open("/account")).url.path == "/account"
    await admin.open(answer.headers["location"])
    assert (admin.page.text if admin.page else "").count('class="row"') == 1


async def test_a_session_is_ended_where_it_was_found(admin: Person) -> None:
    server = admin.server
    await make(server, "kim", "kim@example.com")
    first, second = await signed_in(server), await signed_in(server)
    newest = await session_of(server, "kim")
    await admin.open(f"{LIST}?user=kim")
    form = form_of(admin, "end", session=newest.id)
    assert form is not None
    answer = await admin.http.post(form.pop(""), data=form)
    assert answer.headers["location"].endswith(f"{LIST}?user=kim&notice=session_ended")
    assert (await first.open("/account")).url.path == "/account"
    assert (await second.open("/account")).url.path == "/sign-in"
    again = await admin.http.post(LIST, data=form)
    assert again.status_code == 303, "what is over needs no end"
    person_page = f"/console/people/{newest.user_id}"
    await admin.open(person_page)
    left = form_of(admin, "end")
    assert left is not None
    await admin.http.post(left.pop(""), data=left)
    assert (await first.open("/account")).url.path == "/sign-in"


@pytest.mark.parametrize(("ticked", "lives"), [("yes", False), ("", True)], ids=["with", "without"])
async def test_lasting_access_ends_with_a_session_if_that_is_wished(
    admin: Person, ticked: str, lives: bool
) -> None:
    server, scope = admin.server, "openid offline_access orders:read"
    await make(server, "kim", "kim@example.com")
    client = await register(server, scope=scope)
    person = await signed_in(server)
    await person.open(f"/authorize?{urlencode(request(client, scope=scope))}")
    await person.send({"decision": "approve"}, having="interaction")
    assert person.page is not None
    tokens = (await redeem(server, client, answer_of(person.page)["code"])).json()
    await admin.open(LIST)
    form = form_of(admin, "end", session=(await session_of(server, "kim")).id)
    assert form is not None
    await admin.http.post(form.pop(""), data={**form, "end_access": ticked})
    assert (await person.open("/account")).url.path == "/sign-in"
    answer = (await refresh(server, client, tokens["refresh_token"])).json()
    assert ("refresh_token" in answer) is lives


async def test_ones_own_session_is_ended_by_signing_out(admin: Person) -> None:
    own = await session_of(admin.server)
    await admin.open(LIST)
    assert form_of(admin, "end", session=own.id) is None
    await admin.open("/console/people/new")
    form = {"csrf": admin.form()["csrf"], "session": own.id}
    for path in (LIST, f"/console/people/{own.user_id}"):
        answer = await admin.http.post(path, data={**form, "do": "end"})
        assert answer.headers["location"].endswith("/sign-out")
    assert (await admin.open("/console")).status_code == 200


async def test_another_session_of_ones_own_is_ended_like_anybodys(admin: Person) -> None:
    server = admin.server
    server.clock.advance(31)
    lost = await signed_in(server, "ada")
    await lost.send({"code": code_of(server, server.extra["totp"])}, having="method")
    assert (await lost.open("/account")).url.path == "/account"
    newest = await session_of(server)
    await admin.open(f"/console/people/{newest.user_id}")
    form = form_of(admin, "end", session=newest.id)
    assert form is not None
    await admin.http.post(form.pop(""), data=form)
    assert (await lost.open("/account")).url.path == "/sign-in"
    assert (await admin.open("/console")).status_code == 200


async def test_what_names_no_session_ends_none(admin: Person) -> None:
    await admin.open("/console/people/new")
    csrf = admin.form()["csrf"]
    for session in ("", "session_x", "' OR 1=1 --", "\u0000"):
        answer = await admin.http.post(LIST, data={"csrf": csrf, "session": session})
        assert answer.status_code in (303, 400)
    assert (await admin.open("/console")).status_code == 200
