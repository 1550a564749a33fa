"""One-time links, and the passkeys that whoever opens them makes."""

from collections.abc import Awaitable, Callable

from tests.fixtures.accounts import another, options_in
from tests.fixtures.people import Person
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server
from tests.unit.credentials.software_authenticator import SoftwareAuthenticator

from watchword.flows.databases import start
from watchword.flows.users import accounts, people, sign_up
from watchword.store import passkeys, users

ORIGIN = "http://localhost"


NEW = "kim@example.com"


PROVED = "urn:watchword:aal2-phr"


Link = Callable[[Server], Awaitable[str]]

# The application: passkeys are the only way in
server = server_with(mode="development", sign_in_methods=("passkey",))


async def owner_link(server: Server) -> str:
    """Return the link of the first owner."""
    link = await start.setup_link(server.runtime)
    assert link is not None
    return link


async def invitation(server: Server, email: str = NEW) -> str:
    """Return the link of an invitation."""
    return await sign_up.invite(server.runtime, email, is_admin=False, inviter=None, actor="test")


async def recovery(server: Server, name: str = "ada") -> str:
    """Return an administrator's link for a person, whose account is made if need be."""
    user = await server.runtime.database.read(users.find_user, name)
    if user is None:
        user = await accounts.create(server.runtime, username=name, email=f"{name}@example.com", actor="test")
    return await people.reset_link(server.runtime, user, actor="test")


LINKS: dict[str, tuple[Link, dict[str, str], str]] = {
    "the first owner's link": (owner_link, {"username": "ada"}, "ada"),
    "an invitation": (invitation, {"name": "Kim"}, NEW),
    "an administrator's link": (recovery, {}, "ada"),
}


async def visitor(server: Server, link: str) -> Person:
    """Return somebody who has opened a link in a browser of their own."""
    person = Person(server, another(server))
    await person.open(link)
    return person


async def enrol(person: Person, given: dict[str, str], credential: str, **more: str) -> bool:
    """Send a passkey; return whether it was kept."""
    await person.send({**given, "credential": credential, **more}, having="link")
    return "Your passkey is ready." in person.text


async def kept(server: Server, name: str) -> int:
    """Return how many passkeys an account has, -1 where there is no account."""
    user = await server.runtime.database.read(users.find_user, name, name if "@" in name else None)
    return -1 if user is None else len(await server.runtime.database.read(passkeys.list_passkeys, user.id))


async def sign_in(person: Person, device: SoftwareAuthenticator) -> str:
    """Sign in with a passkey; return where that leads."""
    await person.open("/sign-in")
    await person.send({"credential": device.get(options_in(person), origin=ORIGIN)}, having="challenge")
    return person.path
