"""People who guess passwords, and one who knows hers."""

import httpx
from tests.fixtures.accounts import make
from tests.fixtures.people import Person
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server

WRONG = "wrong wrong wrong wrong"

server = server_with(make, mode="development", sign_up="open")


def at(server: Server, address: str) -> Person:
    """Return somebody at a fresh browser behind an address."""
    transport = httpx.ASGITransport(app=server.app, client=(address, 50_000))
    return Person(server, httpx.AsyncClient(transport=transport, base_url=server.settings.issuer))


async def guess(person: Person, name: str = "ada", password: str = WRONG) -> int:
    """Try a password; return the status."""
    return (await person.sign_in(name, password)).status_code
