"""The console: the frame of the pages by which administrators run the service, and who may see them.

It gives full power over this server, so a session alone is not enough: outside development its person must have used a second factor
or a passkey in it, have authenticated recently, and do so again before a change (SE-02, MF-06). `console = false` removes the pages.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import quote, urlencode

from watchword.flows import factors, paging
from watchword.flows.acting import NO_ADMINISTRATOR, runtime_in
from watchword.flows.identifiers import LONGEST
from watchword.flows.runtime import Runtime
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import account, browser, reasons, returning, step_up
from watchword.pages.account import Person
from watchword.pages.render import Problem
from watchword.store.factors import enrolled

SECTIONS = (
    *("overview", "tokens", "clients", "people", "sessions"),
    *("scopes", "trust", "keys", "events", "check", "playground", "settings"),
)
NOTICES = frozenset(
    {
        *("confirmed", "token_revoked", "token_once"),
        *("person_created", "person_deleted", "person_once", "link_once", "profile_saved"),
        *("admin_given", "admin_taken"),
        *("switched_off", "switched_on", "factors_removed", "session_ended", "sessions_ended"),
        *("key_rotated", "key_withdrawn", "trust_created", "trust_deleted"),
        *("client_created", "client_changed", "client_off", "client_on"),
        *("client_once", "client_secret_ended", "client_deleted", "playground_ready", "gone"),
    }
)
LASTS = 8 * 3600  # seconds after authentication for which the console may be viewed
PAGE = 50
T = TypeVar("T")


async def require(request: Request, back: str | None = None) -> Person:
    """Return the session of an administrator; divert to where they prove more, or raise `not_found` or `access_denied`.

    `back` is where that leads to afterwards: the page itself unless it is named.
    """
    runtime = request.runtime
    if not runtime.settings.console:
        raise OAuthError("not_found", "There is nothing at this address.")
    session, user = await account.require(request, back)
    if not user.is_admin:
        raise OAuthError("access_denied", NO_ADMINISTRATOR, status=403)
    # A code by mail does not count: whoever reads the mailbox can reset the password as well.
    if runtime.settings.mode != "development" and not factors.holds_second(session.amr, by_mail=False):
        raise browser.Diverted(await _second_needed(request, (session, user)))
    if runtime.now() - max(session.authenticated_at, session.confirmed_at) >= LASTS:
        raise browser.Diverted(step_up.ask(request, back or returning.place_of(request)))
    return session, user


async def require_fresh(request: Request, back: str | None = None) -> Person:
    """Return the session of an administrator who authenticated recently; otherwise divert to do so, which leads back (SE-02)."""
    found = await require(request, back)
    if await step_up.is_proved(request, *found):
        return found
    place = back or returning.place_of(request)
    # The form's contents are lost on the way: the page says that nothing has been done yet.
    told = f"{place}{'&' if '?' in place else '?'}notice=confirmed"
    raise browser.Diverted(step_up.ask(request, told if request.method == "POST" else place))


async def _second_needed(request: Request, person: Person) -> Response:
    runtime = request.runtime
    enlisted = await runtime.database.read(enrolled, person[1].id)
    have = set(factors.usable(runtime.settings, enlisted)) - {"email_code"}
    set_up = f"{runtime.settings.issuer}/account/second_factors"
    context = {
        "may": ["confirm" if have else "set_up"],
        "way": step_up.address(request, returning.place_of(request)) if have else set_up,
    }
    return page(request, person, "overview", context, template="second_needed", status=403)


def page(
    request: Request,
    person: Person,
    section: str,
    context: Mapping[str, object],
    *,
    template: str | None = None,
    status: int = 200,
) -> Response:
    """Answer a page of the console; `template` is the section's own unless it is named."""
    issuer, user = request.runtime.settings.issuer, person[1]
    notice = request.query().get("notice") if request.method == "GET" else None
    shared = {
        "account": {"name": user.display_name or user.username, "identifier": user.username},
        "section": section,
        "sections": list(SECTIONS),
        "root": f"{issuer}/console",
        "links": {
            "sign_out": f"{issuer}/sign-out",
            "account": f"{issuer}/account",
            "back": address(request, section),
        },
        "notice": notice if notice in NOTICES else None,
    }
    shown = {**shared, **context}
    return browser.page(request, f"console/{template or section}", shown, status=status, about=user.id)


def acting(request: Request, person: Person) -> Runtime:
    """Return a runtime whose changes are conditional on the administrator's session, which the audit trail then names."""
    return runtime_in(request.runtime, person[0])


def path(section: str, *below: str) -> str:
    """Return the path of a section, or of an object in it."""
    first = "/console" if section == "overview" else f"/console/{section}"
    return "/".join((first, *(quote(one, safe="") for one in below)))


def address(request: Request, section: str, *below: str) -> str:
    """Return the URL of a section, or of an object in it."""
    return request.runtime.settings.issuer + path(section, *below)


def done(request: Request, notice: str, section: str, *below: str) -> Response:
    """Go back to a page after a change and say what was done."""
    return redirect(f"{address(request, section, *below)}?notice={notice}")


def refused(error: OAuthError) -> Problem:
    """Return the message for a refusal of what an administrator entered."""
    return reasons.find(error.description) or Problem("refused", {"why": error.description})


def problems(
    error: OAuthError, sent: Form, called: Mapping[str, str] = MappingProxyType({})
) -> dict[str, object]:
    """Return a refusal by the form's field that it is about, or by "form"; raise again what another input would not mend.

    `called` maps the flow's names of fields to the form's, where they differ.
    """
    if error.rule.status not in (400, 409) or error.code == "access_denied":
        raise error
    # For an item of a list or table, the whole field.
    about = (error.field or "form").partition(".")[0].partition("[")[0]
    field = called.get(about, about)
    return {field if sent.has(field) else "form": refused(error)}


def filter_of(request: Request, name: str, longest: int = LONGEST) -> str:
    """Return one filter of a list from the query, "" when it is not set."""
    return (request.query().get(name) or "").strip()[:longest]


def listed(
    request: Request,
    section: str,
    found: Sequence[T],
    position: Callable[[T], str],
    filters: Mapping[str, str],
) -> tuple[list[T], str | None]:
    """Split rows that were read with one more than PAGE into a page and the URL of the next one."""
    shown, cursor = paging.page(request.runtime, section, list(found), PAGE, position)
    return shown, _onward(request, section, cursor, filters) if cursor else None


def further(request: Request, section: str, place: str, filters: Mapping[str, str]) -> str:
    """Return the URL that continues a list after a position."""
    cursor = paging.make_cursor(request.runtime, section, place)
    return _onward(request, section, cursor, filters)


def _onward(request: Request, section: str, cursor: str, filters: Mapping[str, str]) -> str:
    query = {**{name: value for name, value in filters.items() if value}, "cursor": cursor}
    return f"{address(request, section)}?{urlencode(query)}"


def after(request: Request, section: str) -> str:
    """Return the position that a list continues after; raise `invalid_request` for a cursor that this list did not issue."""
    return paging.open_cursor(request.runtime, section, request.query().get("cursor") or "")
