"""The first visit of a person: the owner's one-time link, sign-in, the account, sign-out."""

import re

from tests.fixtures.servers import Server

from watchword.flows.databases import start
from watchword.flows.users import accounts

PASSWORD = "correct horse battery staple"


def csrf_of(html: str) -> str:
    """Return the anti-forgery value of a page."""
    found = re.search(r'name="csrf" value="([^"]+)"', html)
    assert found is not None, html[:500]
    return found[1]


async def make_owner(server: Server) -> None:
    """Make the owner's account as a person would."""
    link = await start.setup_link(server.runtime)
    assert link is not None
    page = await server.http.get(link)
    assert page.status_code == 200
    form = {
        "csrf": csrf_of(page.text),
        "link": link.partition("link=")[2],
        "username": "ada",
        "new_password": PASSWORD,
    }
    made = await server.http.post("/setup", data=form)
    assert made.status_code == 303
    assert made.headers["location"].endswith("/sign-in?notice=registered")


async def sign_in(server: Server, password: str = PASSWORD) -> int:
    """Fill in the sign-in form; return the status."""
    page = await server.http.get("/sign-in")
    form = {"csrf": csrf_of(page.text), "identifier": "Ada", "password": password}
    return (await server.http.post("/sign-in", data=form)).status_code


async def test_the_owner_is_made_by_the_link_once_and_signs_in_and_out(server: Server) -> None:
    await make_owner(server)
    assert await start.setup_link(server.runtime) is None
    assert await sign_in(server, "something else entirely") == 401
    assert (await server.http.get("/account")).status_code == 303
    assert await sign_in(server) == 303
    account = await server.http.get("/account")
    assert account.status_code == 200
    assert "ada" in account.text
    stolen = dict(server.http.cookies)
    page = await server.http.get("/sign-out")
    await server.http.post("/sign-out", data={"csrf": csrf_of(page.text), "decision": "sign_out"})
    server.http.cookies.update(stolen)
    assert (await server.http.get("/account")).status_code == 303, (
        "LO-04: a copied cookie is dead after sign-out"
    )


async def test_the_link_is_dead_once_an_owner_exists(server: Server) -> None:
    link = await start.setup_link(server.runtime)
    assert link is not None
    page = await server.http.get(link)
    assert page.status_code == 200
    # By a command, so that nothing replaced the link that the server printed.
    await accounts.create(server.runtime, username="grace", email=None, is_admin=True, actor="test")
    assert (await server.http.get(link)).status_code == 404, "LG-24"
    form = {"csrf": csrf_of(page.text), "link": link.partition("link=")[2], "username": "ada"}
    assert (await server.http.post("/setup", data=form | {"new_password": PASSWORD})).status_code == 404


async def test_a_weak_password_is_refused_beside_its_field_and_the_link_lives_on(server: Server) -> None:
    link = await start.setup_link(server.runtime)
    assert link is not None
    page = await server.http.get(link)
    form = {
        "csrf": csrf_of(page.text),
        "link": link.partition("link=")[2],
        "username": "ada",
        "new_password": "short",
    }
    refused = await server.http.post("/setup", data=form)
    assert refused.status_code == 400
    assert "at least 15 characters" in refused.text
    assert (await server.http.get(link)).status_code == 200


async def test_a_form_of_another_browser_is_refused(server: Server) -> None:
    await make_owner(server)
    page = await server.http.get("/sign-in")
    value = csrf_of(page.text)
    server.http.cookies.clear()
    await server.http.get("/sign-in")
    form = {"csrf": value, "identifier": "ada", "password": PASSWORD}
    refused = await server.http.post("/sign-in", data=form)
    assert refused.status_code == 400, "SE-09"
    assert (await server.http.get("/account")).status_code == 303
