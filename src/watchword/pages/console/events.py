"""The console's audit trail: newest first, filtered by event, actor and target; also as a file to download."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from watchword.flows.users import people
from watchword.http import NO_STORE, Request, Response, Stream
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, render
from watchword.pages.console import frame, links
from watchword.pages.console.links import Place
from watchword.store.audit import events
from watchword.store.audit.events import Event, Found

FILTERS = ("name", "target", "actor")
MOST, STEP = 10_000, 500  # events in a file, and how many are read at a time
LOOKED = events.LOOKED_BACK
FILE_HEADERS = (
    (b"content-type", b"application/x-ndjson"),
    (b"content-disposition", b'attachment; filename="events.jsonl"'),
    *NO_STORE,
    *browser.HEADERS,
)


async def show(request: Request) -> Response:
    """List events."""
    found = await frame.require(request)
    filters = {name: frame.filter_of(request, name) for name in FILTERS}
    before = events.position_of(frame.after(request, "events"))
    meant = await _meant(request, filters)
    looked = await request.runtime.lists.read(
        events.look_back, limit=frame.PAGE + 1, before=before, looked=LOOKED, **meant
    )
    shown, following = frame.listed(request, "events", looked.events, events.position, filters)
    wanted = urlencode({name: value for name, value in filters.items() if value})
    context = {
        "action": frame.address(request, "events"),
        "events": await views(request, shown),
        "next_url": following,
        "further_url": frame.further(request, "events", looked.rest, filters) if looked.rest else None,
        "looked_until": events.moment_of(looked.rest) if looked.rest else None,
        "file_url": f"{frame.address(request, 'events', 'file')}{'?' if wanted else ''}{wanted}",
        "most": MOST,
        "values": filters,
    }
    return frame.page(request, found, "events", context)


async def file(request: Request) -> Response:
    """Answer the newest events that match the filters, one JSON document a line: a spreadsheet cannot mistake that for a formula."""
    await frame.require(request, frame.path("events"))
    filters = await _meant(request, {name: frame.filter_of(request, name) for name in FILTERS})

    async def read(place: str = "") -> Found:
        before = events.position_of(place)
        return await request.runtime.lists.read(
            events.look_back, limit=STEP, before=before, looked=LOOKED, **filters
        )

    # The first page is read before the response begins, so that an outage is answered as such, and not with a truncated file.
    return Response(200, b"", FILE_HEADERS, Stream(_lines(await read(), read), lambda: None))


async def _meant(request: Request, filters: dict[str, str]) -> dict[str, Any]:
    """Return the search for some filters, with the name of a person replaced by their identifier.

    Events recorded under the text as it was typed are found as well, so that nobody hides them by choosing it as a user name.
    """
    read, target, actor = request.runtime.lists.read, filters["target"], filters["actor"]
    if target and not await read(events.list_events, limit=1, target=target):
        target = await _identifier(request, target) or target
    actors = dict.fromkeys((actor, await _identifier(request, actor))) if actor else {}
    return {"name": filters["name"], "target": target, "actors": [one for one in actors if one]}


async def _identifier(request: Request, who: str) -> str | None:
    with contextlib.suppress(OAuthError):
        return (await people.find(request.runtime, who)).id
    return None


async def _lines(found: Found, read: Callable[[str], Awaitable[Found]]) -> AsyncIterator[bytes]:
    encode, left = msgspec.json.Encoder().encode_lines, MOST
    while True:
        rows = found.events[:left]
        yield encode(rows)
        left -= len(rows)
        place = events.position(rows[-1]) if len(rows) == STEP else found.rest
        if not left or place is None:
            return
        found = await read(place)


async def views(request: Request, shown: Sequence[Event]) -> list[dict[str, object]]:
    """Return events as the pages show them, with people by their names."""
    places = await links.find(request, {who for event in shown for who in (event.actor, event.target)})
    return [_view(request, event, places) for event in shown]


def _view(request: Request, event: Event, places: dict[str, Place]) -> dict[str, object]:
    details = [
        (name, _text(name, value)) for name, value in event.data.items() if value not in (None, "", False)
    ]
    return {
        "id": event.id,
        "at": event.at,
        "name": event.name,
        "actor": places[event.actor],
        "target": places[event.target],
        "about_url": f"{frame.address(request, 'events')}?{urlencode({'target': event.target})}",
        "details": details,
    }


def _text(name: str, value: object) -> str:
    if isinstance(value, int) and name.endswith(("_at", "_until")) and 0 < value < 2**32:
        return render.iso(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
