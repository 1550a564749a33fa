"""Whose an API token is, by what its maker calls the owner."""

import pytest
from tests.fixtures.servers import Server

from watchword.flows import api_tokens, token_verification
from watchword.flows.token_verification import Use
from watchword.flows.users import account_changes, accounts


@pytest.mark.parametrize("typed", ["ada@example.com", "Ada@Example.COM"])
@pytest.mark.parametrize("name", ["ada@example.com", "ada"])
async def test_a_person_known_by_an_address_owns_what_is_made_for_it(
    server: Server, name: str, typed: str
) -> None:
    given = {"username": name, "email": "ada@example.com", "email_verified": True}
    user = await accounts.create(server.runtime, **given, actor="test")
    token = await server.token(owner=typed)
    assert (token.token.owner_kind, token.token.owner_id) == ("user", user.id)
    await account_changes.set_disabled(server.runtime, user, True, actor="test")
    assert (
        await token_verification.verify(server.runtime, token.secret, Use())
    ).reason == "owner_disabled", "it would outlive the account"
    assert await api_tokens.revoke_all(server.runtime, typed, actor="test") == [token.token.id]


async def test_an_address_that_nobody_verified_owns_nothing(server: Server) -> None:
    await accounts.create(server.runtime, username="eve", email="ada@example.com", actor="test")
    token = await server.token(owner="ada@example.com")
    assert (token.token.owner_kind, token.token.owner_id) == ("application", "application:ada@example.com")
