"""LG-23: who wishes for somebody else's address for an account of their own is not helped by its owner unawares."""

import pytest
from tests.fixtures.accounts import another, make, server, user_of
from tests.fixtures.people import Person, letters, link_in
from tests.fixtures.servers import Server

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
