"""Tokens that were issued, and how they are presented and asked about."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from tests.fixtures.code_flow import obtain_code, redeem, register
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

from watchword.flows.client_registry import Registered


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The real application on each kind of database."""
    async with open_server(tmp_path, on=store.address) as opened:
        yield opened


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
