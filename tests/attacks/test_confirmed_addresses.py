"""LG-17, LG-23: links that others ask for: they end none that was handed over, and an address helps nobody to an account unawares."""

import pytest
from tests.fixtures.accounts import another, make, server, user_of
from tests.fixtures.people import Person, letters, link_in
from tests.fixtures.servers import Server

from watchword.flows.mail import Origin
from watchword.flows.users import account_changes, people, recovery, sign_up
from watchword.store.database import Transaction

__all__ = ["server"]

ADDRESS = "grace@example.com"


async def wished_link(server: Server, name: str) -> str:
    """Wish for grace's address for an account; return the link that is mailed to her."""
    person = Person(server, another(server))
    await person.sign_in(name)
    await person.open("/account/email")
    await person.send({"email": ADDRESS})
    return next(link_in(text) for to, text in await letters(server) if to == ADDRESS)


@pytest.mark.parametrize("name", ["grace", "eve"])
async def test_lg_23_who_confirms_an_address_is_told_for_which_account(server: Server, name: str) -> None:
    await make(server, "eve", "eve@example.com")
    await make(server, "grace", "grace@example.net")
    grace = Person(server, another(server))
    await grace.sign_in("grace")
    await grace.open(await wished_link(server, name))
    assert name in grace.text.split()
    await grace.send({}, having="link")
    assert (await user_of(server, name)).email == ADDRESS
    assert ("Your email address is confirmed." in grace.text) == (name == "grace"), "of her own account alone"


async def test_lg_23_a_disabled_account_gets_no_address_whatever_became_of_the_link(server: Server) -> None:
    await make(server, "eve", "eve@example.com")
    link = await wished_link(server, "eve")
    person = Person(server, another(server))

    async def switch(tx: Transaction, disabled_at: int | None) -> None:
        await tx.run("UPDATE users SET disabled_at = $1", disabled_at)

    assert (await person.open(link)).status_code == 200
    await server.runtime.database.write(switch, 1)
    assert (await person.send({}, having="link")).status_code == 404
    assert (await user_of(server, "eve")).email == "eve@example.com"
    assert (await person.open(link)).status_code == 404
    await server.runtime.database.write(switch, None)
    await person.open(link)
    await person.send({}, having="link")
    assert (await user_of(server, "eve")).email == ADDRESS, "the honest variant"


@pytest.mark.parametrize("deleted", [False, True])
async def test_who_was_thrown_out_comes_back_by_no_invitation_from_before(
    server: Server, deleted: bool
) -> None:
    runtime, filled = server.runtime, {"new_password": "correct horse battery staple", "name": ""}
    await make(server, "root", "root@example.com")
    link = await sign_up.invite(runtime, ADDRESS, is_admin=True, inviter="root", actor="test")
    if deleted:
        await make(server, "grace", ADDRESS)
        await account_changes.delete(runtime, await user_of(server, "grace"), actor="test")
    person = Person(server, another(server))
    await person.open(link)
    assert ("This link" in person.text) == deleted
    if not deleted:
        await person.send(filled, having="link")
        assert (await user_of(server, ADDRESS)).is_admin
        return
    again = await sign_up.invite(runtime, ADDRESS, is_admin=False, inviter="root", actor="test")
    await person.open(again)
    await person.send(filled, having="link")
    assert not (await user_of(server, ADDRESS)).is_admin, "as the newer invitation says"


async def test_lg_17_whoever_asks_for_a_link_by_mail_ends_none_that_an_operator_handed_over(
    server: Server,
) -> None:
    await make(server, "eve", "eve@example.com")
    eve, here = await user_of(server, "eve"), Origin("192.0.2.1", "Firefox on Linux")
    invited = await sign_up.invite(server.runtime, ADDRESS, is_admin=False, inviter=None, actor="test")
    handed_over = await people.reset_link(server.runtime, eve, actor="test")
    await recovery.request(server.runtime, "eve", here)
    await sign_up.request(server.runtime, ADDRESS, here)
    asked_for = next(link_in(text) for to, text in await letters(server) if to == "eve@example.com")
    for link in (handed_over, asked_for, invited):
        assert (await server.http.get(link)).status_code == 200
    person = Person(server, another(server))
    await person.open(handed_over)
    await person.send({"new_password": "a different set of words entirely"})
    assert "Your password is set" in person.text
    for link in (handed_over, asked_for):
        assert (await server.http.get(link)).status_code == 404, "both end with the new password"
