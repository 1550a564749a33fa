"""A person whose second factor is under attack, and her other browser."""

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.fixtures.accounts import (
    another,
    make,
)
from tests.fixtures.people import Person
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server

from watchword.settings import ScopeText

# The application: with a person in it, whose scripts may have tokens
server = server_with(
    make,
    mode="development",
    scopes={"notes:read": ScopeText(sentence="Read your notes", personal=True)},
)


@pytest_asyncio.fixture
async def ada(server: Server) -> AsyncIterator[Person]:
    """The person, at a browser, signed in."""
    person = Person(server, another(server))
    await person.sign_in()
    yield person


async def elsewhere(server: Server) -> Person:
    """Return somebody at another browser who has given ada's password."""
    person = Person(server, another(server))
    await person.sign_in()
    return person
