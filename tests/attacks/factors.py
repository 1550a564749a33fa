"""A person whose second factor is under attack, and her other browser."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from tests.fixtures.accounts import (
    another,
    make,
)
from tests.fixtures.people import Person
from tests.fixtures.postgres import Store
from tests.fixtures.servers import Server, open_server

from watchword.settings import ScopeText


@pytest_asyncio.fixture
async def server(store: Store, tmp_path: Path) -> AsyncIterator[Server]:
    """The application with a person in it, whose scripts may have tokens."""
    async with open_server(
        tmp_path,
        on=store.address,
        mode="development",
        scopes={"notes:read": ScopeText(sentence="Read your notes", personal=True)},
    ) as opened:
        await make(opened)
        yield opened


@pytest_asyncio.fixture
async def ada(server: Server) -> AsyncIterator[Person]:
    """The person, at a browser, signed in."""
    async with another(server) as browser:
        person = Person(server, browser)
        await person.sign_in()
        yield person


async def elsewhere(server: Server) -> Person:
    """Return somebody at another browser who has given ada's password."""
    person = Person(server, another(server))
    await person.sign_in()
    return person
