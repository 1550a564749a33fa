"""The console's sessions: who is signed in, where, since when and by what means, newest first; each can be ended."""

from collections.abc import Mapping
from urllib.parse import urlencode

from watchword.credentials import methods
from watchword.flows import places
from watchword.flows.users import people
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import account, browser
from watchword.pages.account import Person
from watchword.pages.console import frame
from watchword.store.sessions import Session

LEVELS = {
    methods.AAL0: "none",
    methods.AAL1: "one",
    methods.AAL2: "two",
    methods.PHISHING_RESISTANT: "resistant",
}


async def show(request: Request) -> Response:
    """List live sessions."""
    found = await frame.require(request)
    filters, errors = {"user": frame.filter_of(request, "user", 320)}, {}
    rows: list[Session] = []
    try:
        whose = (await people.find(request.runtime, filters["user"])).id if filters["user"] else ""
        after = frame.after(request, "sessions")
        rows = await people.live_sessions(request.runtime, whose, after=after, limit=frame.PAGE + 1)
    except OAuthError as error:
        if error.code != "not_found":
            raise
        errors = {"user": frame.refused(error)}
    shown, following = frame.listed(request, "sessions", rows, lambda session: session.id, filters)
    names = await people.names_of(request.runtime, {session.user_id for session in shown})
    kept = {**filters, "cursor": request.query().get("cursor")}
    context = {
        "action": frame.address(request, "sessions"),
        "visits": [view(request, session, found, names) for session in shown],
        "next_url": following,
        "values": filters,
        "errors": errors,
        "hidden": {name: value for name, value in kept.items() if value},
    }
    return frame.page(request, found, "sessions", context, status=400 if errors else 200)


def view(request: Request, session: Session, person: Person, names: Mapping[str, str]) -> dict[str, object]:
    """Return a session as the console's pages show it; `person` is the administrator, `names` the owners' names by identifier."""
    device = browser.device_of(request, session.user_agent)
    return {
        "id": session.id,
        "username": names.get(session.user_id, session.user_id),
        "user_url": frame.address(request, "people", session.user_id),
        "device": device.name,
        "kind": device.kind,
        "place": places.place_of(request.runtime, session.address, browser.locale_of(request)),
        "address": session.address,
        "methods": [str(method) for method in methods.Method if method in methods.methods_of(session.amr)],
        "level": LEVELS.get(session.acr, "none"),
        "started_at": session.created_at,
        "last_used_at": session.last_seen_at,
        "remembered": session.remembered,
        "current": session.id == person[0].id,
    }


async def end_one(request: Request) -> Response:
    """End a session."""
    found = await frame.require_fresh(request)
    form = account.form_of(request, found)
    leaving = await end(request, found, form)
    if leaving is not None:
        return leaving
    # The list goes on as it was filtered, and where it was.
    query = {name: (form.get(name) or "")[:400] for name in ("user", "cursor")} | {"notice": "session_ended"}
    kept = urlencode({name: value for name, value in query.items() if value})
    return redirect(f"{frame.address(request, 'sessions')}?{kept}")


async def end(request: Request, person: Person, form: Form) -> Response | None:
    """End the session that a form names, if it is live; for one's own, return a redirect to the sign-out page instead."""
    session, user = person
    chosen = form.get("session") or ""
    if chosen == session.id:
        return redirect(f"{request.runtime.settings.issuer}/sign-out")
    try:
        lasting = form.get("end_access") == "yes"
        await people.end_session(frame.acting(request, person), chosen, lasting=lasting, actor=user.id)
    except OAuthError as error:
        if error.code != "not_found":  # it has ended already
            raise
    return None
