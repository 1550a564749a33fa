"""What a token is made for may have ended since the request was let in: then there is none."""

import pytest
from tests.fixtures.accounts import PASSWORD
from tests.fixtures.servers import Server

from watchword.flows import minting
from watchword.flows.minting import AccessGrant
from watchword.flows.users import accounts
from watchword.oauth.errors import OAuthError
from watchword.store.database import Transaction


async def run(server: Server, sql: str) -> None:
    """Change rows behind the server's back, as another node does."""

    async def change(tx: Transaction) -> None:
        assert await tx.run(sql)

    await server.runtime.database.write(change)


@pytest.mark.parametrize(
    ("ended", "error"),
    [
        pytest.param("UPDATE users SET disabled_at = 1", "invalid_grant", id="the account is disabled"),
        pytest.param("DELETE FROM users", "invalid_grant", id="the account is gone"),
        pytest.param("UPDATE clients SET disabled_at = 1", "invalid_client", id="the client is disabled"),
        pytest.param("DELETE FROM clients", "invalid_client", id="the client is gone"),
    ],
)
async def test_no_token_is_made_for_who_has_ended_since_the_request_was_let_in(
    server: Server, ended: str, error: str
) -> None:
    client = (await server.client()).client
    user = await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    grant = AccessGrant(client, user.id, ("orders:read",), ("https://api.example",), 60)
    assert (await minting.mint(server.runtime, grant, server.runtime.now())).row is None, "a JWT"
    await run(server, ended)
    with pytest.raises(OAuthError) as refused:
        await minting.mint(server.runtime, grant, server.runtime.now())
    assert refused.value.code == error
