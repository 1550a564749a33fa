"""Whom most attacks are about."""

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.fixtures.accounts import another
from tests.fixtures.people import Person
from tests.fixtures.servers import Server


@pytest_asyncio.fixture
async def ada(server: Server) -> AsyncIterator[Person]:
    """A person at a browser, not signed in."""
    yield Person(server, another(server))
