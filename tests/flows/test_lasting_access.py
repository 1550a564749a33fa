"""Offline access outlives a sign-out (OpenID Connect Core §11); who ends a session decides whether it outlives that."""

import re
from urllib.parse import urlencode

import pytest
from tests.attacks.factors import elsewhere
from tests.fixtures.accounts import another, make, session_of, user_of
from tests.fixtures.code_flow import answer_of, redeem, refresh, register, request
from tests.fixtures.people import Person
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server

from watchword.flows.clients.client_registry import Registered
from watchword.flows.users import people

SCOPE = "openid offline_access orders:read"

server = server_with(make, mode="development")


class Phone:
    """A browser in which an application was given lasting access, and its refresh token."""

    def __init__(self, person: Person, client: Registered, session: str, token: str) -> None:
        self.person, self.client, self.session, self.token = person, client, session, token

    async def lives(self) -> bool:
        """Use the refresh token; whether that worked."""
        answer = (await refresh(self.person.server, self.client, self.token)).json()
        self.token = answer.get("refresh_token", self.token)
        assert "refresh_token" in answer or answer["error"] == "invalid_grant"
        return "refresh_token" in answer


async def phone(server: Server) -> Phone:
    """Sign in at another browser and allow an application lasting access there."""
    client = await register(server, scope=SCOPE)
    person = Person(server, another(server))
    await person.sign_in()
    await person.open(f"/authorize?{urlencode(request(client, scope=SCOPE))}")
    await person.send({"decision": "approve"}, having="interaction")
    assert person.page is not None
    tokens = (await redeem(server, client, answer_of(person.page)["code"])).json()
    return Phone(person, client, (await session_of(server)).id, tokens["refresh_token"])


async def test_what_was_granted_for_longer_outlives_a_sign_out(server: Server) -> None:
    lost = await phone(server)
    await lost.person.open("/sign-out")
    await lost.person.send({"decision": "sign_out"})
    assert await lost.lives()


@pytest.mark.parametrize(("ticked", "lives"), [("yes", False), ("", True)])
async def test_a_person_ends_a_lost_phone_with_what_applications_hold_there_or_without(
    server: Server, ticked: str, lives: bool
) -> None:
    lost, other = await phone(server), await phone(server)
    assert await lost.lives()
    desk = await elsewhere(server)
    await desk.open("/account/sessions")
    assert desk.page is not None
    shown = [
        box for box in re.findall(r"<details.*?</details>", desk.page.text, re.DOTALL) if lost.session in box
    ]
    assert len(shown) == 1
    assert re.search(r'name="end_access"[^>]* checked', shown[0]), "it is the default, and can be unticked"
    csrf = desk.form()["csrf"]
    form = {"csrf": csrf, "do": "end", "session": lost.session, "end_access": ticked}
    for unknown in ("end_other", ""):
        assert (await desk.http.post("/account/sessions", data=form | {"do": unknown})).status_code == 400
    assert (await lost.person.open("/account")).url.path == "/account", "what is not known ends nothing"
    await desk.http.post("/account/sessions", data=form)
    assert (await lost.person.open("/account")).url.path == "/sign-in"
    assert await lost.lives() is lives
    assert await other.lives(), "of that session alone"


async def test_a_session_without_lasting_access_is_ended_by_one_click(server: Server) -> None:
    other, desk = await elsewhere(server), await elsewhere(server)
    await desk.open("/account/sessions")
    await desk.send({}, having="session")
    assert "That device is signed out." in desk.text
    assert (await other.open("/account")).url.path == "/sign-in"


async def test_nobody_ends_the_lasting_access_of_another_person(server: Server) -> None:
    lost = await phone(server)
    await make(server, "eve", "eve@example.com")
    eve = Person(server, another(server))
    await eve.sign_in("eve")
    await eve.open("/account")
    form = {"csrf": eve.form()["csrf"], "do": "end", "session": lost.session, "end_access": "yes"}
    await eve.http.post("/account/sessions", data=form)
    assert (await lost.person.open("/account")).url.path == "/account"
    assert await lost.lives()


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("of_all", [False, True])
async def test_an_administrator_ends_sessions_with_lasting_access_or_without(
    server: Server, of_all: bool, lasting: bool
) -> None:
    lost, other = await phone(server), await phone(server)
    token = await server.token("watchword:sessions:write")
    own = {"authorization": f"Bearer {token.secret}"}
    wish = "?lasting_access=true" if lasting else ""
    if of_all:
        user = await user_of(server)
        answer = await server.http.post(f"/api/v1/users/{user.id}/sessions/end{wish}", headers=own)
    else:
        answer = await server.http.delete(f"/api/v1/sessions/{lost.session}{wish}", headers=own)
    assert answer.status_code in (200, 204), answer.text
    assert (await lost.person.open("/account")).url.path == "/sign-in"
    assert await lost.lives() is not lasting
    assert await other.lives() is not (lasting and of_all)


async def test_a_lasting_access_whose_session_was_over_before_ends_with_all_of_a_person(
    server: Server,
) -> None:
    lost = await phone(server)
    await people.end_session(server.runtime, lost.session, actor="operator")
    assert await lost.lives()
    await people.end_sessions(server.runtime, await user_of(server), lasting=True, actor="operator")
    assert not await lost.lives()
