"""The console's links: the page about an identifier, and the name of a person who has it."""

from collections.abc import Iterable

import msgspec

from watchword.flows.users import people
from watchword.http import Request
from watchword.pages.console import frame
from watchword.store import sessions

# The prefixes of identifiers, each with the section that has a page about them.
SECTIONS = {"token_": "tokens", "user_": "people", "client_": "clients", "trust_": "trust"}


class Place(msgspec.Struct, frozen=True):
    """An identifier, the name of its person, or None, and the URL of the page about it, or None."""

    id: str
    name: str | None = None
    url: str | None = None


async def find(request: Request, identifiers: Iterable[str]) -> dict[str, Place]:
    """Return the place of each identifier, for a session that of its person; two reads, however many there are."""
    wanted = set(identifiers)
    ended = sorted(one for one in wanted if one.startswith("session_"))
    owners = await request.runtime.lists.read(sessions.owners_of, ended) if ended else {}
    whose = sorted(one for one in wanted | set(owners.values()) if one.startswith("user_"))
    names = await people.names_of(request.runtime, whose) if whose else {}
    return {
        one: Place(one, names.get(owners.get(one, one)), address(request, owners.get(one, one)))
        for one in wanted
    }


def address(request: Request, identifier: str) -> str | None:
    """Return the address of the page about something; None where there is none."""
    section = next((place for begin, place in SECTIONS.items() if identifier.startswith(begin)), None)
    if section is None and request.runtime.keyring.is_known(identifier):
        section = "keys"
    return frame.address(request, section, identifier) if section else None
