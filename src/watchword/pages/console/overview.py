"""The console's first page: counts, advice that would make the service safer, and the latest events."""

from watchword.flows.runtime import Runtime
from watchword.http import Request, Response
from watchword.pages.console import events as events_page
from watchword.pages.console import frame
from watchword.store import overview, users
from watchword.store.audit import events
from watchword.store.overview import MOST, Numbers

SOON = 7 * 86_400
LATEST = 12


async def show(request: Request) -> Response:
    """Show the first page."""
    found = await frame.require(request)
    runtime, now = request.runtime, request.runtime.now()
    numbers = await runtime.lists.read(overview.count_everything, now, now + SOON)
    latest = await runtime.lists.read(events.list_events, limit=LATEST)
    context = {
        "numbers": _shown(request, numbers),
        "ending": numbers.ending,
        "advice": await _advice(runtime),
        "events": await events_page.views(request, latest),
        "all_events": frame.address(request, "events"),
    }
    return frame.page(request, found, "overview", context)


def _shown(request: Request, numbers: Numbers) -> list[dict[str, object]]:
    counted = {name: getattr(numbers, name) for name in ("tokens", "clients", "people", "sessions")}
    return [
        {"section": name, "count": count, "more": count >= MOST, "url": frame.address(request, name)}
        for name, count in counted.items()
    ]


async def _advice(runtime: Runtime) -> list[str]:
    """Return advice that would make the service safer, or keep its operator from being locked out."""
    settings = runtime.settings
    found = {
        "second_factor": settings.second_factor_required == "never",
        "one_administrator": await runtime.database.read(users.count_admins) < 2,
        "no_mail": not settings.mails,
        "open_registration": settings.registration == "open",
        "development": settings.mode == "development",
    }
    return [name for name, applies in found.items() if applies]
