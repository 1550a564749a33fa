"""The console's answer for an object that is not there: its list in place of an error, and a notice where it is known to be deleted.

A second click on a form that deletes, and a reloaded page, come here.
"""

from collections.abc import Awaitable, Callable, Mapping

from watchword.http import Request, Response
from watchword.oauth.errors import OAuthError
from watchword.pages.account import Person
from watchword.pages.console import clients, frame, keys, people, tokens, trust
from watchword.store.audit import events

Listing = Callable[[Request, Person, str, int], Awaitable[Response]]
LISTS: Mapping[str, Listing] = {
    "clients": clients.answer_list,
    "keys": keys.answer_list,
    "people": people.answer_list,
    "tokens": tokens.answer_list,
    "trust": trust.answer_list,
}
# The audit events that record a deletion.
ENDS = {
    "clients": "client.deleted",
    "keys": "key.revoked",
    "people": "user.deleted",
    "trust": "trust.deleted",
}


async def answer(request: Request, error: OAuthError) -> Response:
    """Answer for an object that was not found; raise the error where there is no list that it could be in."""
    section = request.path.split("/")[2] if request.path_params else ""
    if section not in LISTS or not request.runtime.settings.console:
        raise error
    found = await frame.require(request)
    identifier = next(iter(request.path_params.values()))
    if await _is_gone(request, section, identifier):
        return frame.done(request, "gone", section)
    return await LISTS[section](request, found, "not_here", 404)


async def _is_gone(request: Request, section: str, identifier: str) -> bool:
    name = ENDS.get(section)
    known = name is not None and identifier.isprintable()
    return known and bool(
        await request.runtime.lists.read(events.list_events, limit=1, name=name or "", target=identifier)
    )
