"""People who guess passwords, and one who knows hers."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest_asyncio
from tests.fixtures.accounts import make
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

WRONG = "wrong wrong wrong wrong"


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application with a person in it."""
    async with open_server(tmp_path, on=store.address, mode="development", sign_up="open") as opened:
        await make(opened)
        yield opened


def at(server: Server, address: str) -> Person:
    """Return somebody at a fresh browser behind an address."""
    transport = httpx.ASGITransport(app=server.app, client=(address, 50_000))
    return Person(server, httpx.AsyncClient(transport=transport, base_url=server.settings.issuer))


async def guess(person: Person, name: str = "ada", password: str = WRONG) -> int:
    """Try a password; return the status."""
    return (await person.sign_in(name, password)).status_code
