"""Tokens that were issued, and how they are presented and asked about."""

from typing import Any

from tests.fixtures.code_flow import obtain_code, redeem, register
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server

from watchword.flows.clients.client_registry import Registered

server = server_with()


def bearer(token: str) -> dict[str, str]:
    """Return the header that presents a token."""
    return {"authorization": f"Bearer {token}"}


async def tokens_of(server: Server, client: Registered | None = None, **changes: str) -> dict[str, Any]:
    """Walk the code flow and return what it gave."""
    client = client or await register(server)
    given: dict[str, Any] = (
        await redeem(server, client, (await obtain_code(server, client, **changes))["code"])
    ).json()
    return given
