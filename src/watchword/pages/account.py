"""My account: the frame of its pages, who may see them, and the profile; everything needs a live session."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar
from urllib.parse import urlencode

from watchword.credentials.methods import Method
from watchword.credentials.names import MAX_DISPLAY, NameRefused, display
from watchword.flows import factors, mail, paging, sessions
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import Throttled
from watchword.flows.upstream import upstream_links
from watchword.flows.users import account_changes
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, reasons, refused_proof, returning, step_up, visit
from watchword.pages.render import Problem
from watchword.store import user_changes, users
from watchword.store.factors import Enrolled, enrolled
from watchword.store.sessions import Session
from watchword.store.users import User

SECTIONS = (
    "overview",
    "passkeys",
    "second_factors",
    "sessions",
    "applications",
    "tokens",
    "identities",
    "password",
)
NOTICES = frozenset(
    {
        "profile_saved", "email_verified", "password_changed", "passkey_added", "passkey_renamed", "passkey_removed",
        "totp_added", "totp_removed", "email_code_on", "email_code_off", "session_ended", "others_ended",
        "application_revoked", "token_revoked", "token_once", "codes_once", "confirmed", "upstream_linked", "upstream_unlinked",
    }
)  # fmt: skip
PAGE = 50  # entries of a list that are shown at a time
Person = tuple[Session, User]
T = TypeVar("T")
NAME_INVALID = Problem("name_invalid", {"maximum": MAX_DISPLAY})


async def require(request: Request, back: str | None = None) -> Person:
    """Return the session and its person; divert to the sign-in page, which leads `back`: to the page itself unless it is named."""
    found = await visit.visitor(request)
    if found is None:
        place = returning.seal_return(request.runtime, back or returning.place_of(request))
        # The form's contents are lost on the way: the page says that nothing has been done.
        notice = "&notice=signed_out" if request.method == "POST" else ""
        issuer = request.runtime.settings.issuer
        raise browser.Diverted(redirect(f"{issuer}/sign-in?return={place}{notice}"))
    return found


async def require_fresh(request: Request, back: str | None = None) -> Person:
    """Return the session and its person when they authenticated recently; otherwise divert to do so, which leads back (SE-02)."""
    found = await require(request, back)
    if await step_up.is_proved(request, *found):
        return found
    place = back or returning.place_of(request)
    # The form's contents are lost on the way: the page says that nothing has been done yet.
    told = f"{place}?notice=confirmed" if request.method == "POST" else place
    raise browser.Diverted(step_up.ask(request, told))


def sections(request: Request) -> list[str]:
    """Return the sections that this service offers."""
    allowed = request.runtime.settings.sign_in_methods
    methods = {"passkeys": "passkey", "identities": "identity", "password": "password"}
    return [name for name in SECTIONS if methods.get(name, "password") in allowed or name not in methods]


def page(
    request: Request,
    person: Person,
    section: str,
    context: Mapping[str, object],
    *,
    template: str | None = None,
    status: int = 200,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Response:
    """Answer a page of the account; `template` is the section's own unless it is named."""
    settings, user = request.runtime.settings, person[1]
    issuer = settings.issuer
    notice = request.query().get("notice") if request.method == "GET" else None
    shared = {
        "account": {
            "name": user.display_name or user.username,
            "identifier": user.username,
            "switch_url": f"{issuer}/sign-out",
        },
        "section": section,
        "sections": sections(request),
        "root": f"{issuer}/account",
        "links": {
            "sign_out": f"{issuer}/sign-out",
            "back": _address(issuer, section),
            "go_on": _waiting(request),
            "console": f"{issuer}/console" if user.is_admin and settings.console else None,
        },
        "notice": notice if notice in NOTICES else None,
    }
    return browser.page(
        request,
        f"account/{template or section}",
        {**shared, **context},
        status=status,
        headers=headers,
        about=user.id,
    )


def listed(
    request: Request, section: str, found: Sequence[T], position: Callable[[T], str]
) -> tuple[list[T], str | None]:
    """Split rows that were read with one more than PAGE into a page and the URL of the next one."""
    shown, cursor = paging.page(request.runtime, f"own {section}", list(found), PAGE, position)
    onward = f"{_address(request.runtime.settings.issuer, section)}?{urlencode({'cursor': cursor})}"
    return shown, onward if cursor else None


def after(request: Request, section: str) -> str:
    """Return the position that a list continues after; raise `invalid_request` for a cursor that this list did not issue."""
    return paging.open_cursor(request.runtime, f"own {section}", request.query().get("cursor") or "")


def form_of(request: Request, person: Person, *, repeatable: frozenset[str] = frozenset()) -> Form:
    """Return the fields of a form that this browser showed to this person; raise `access_denied` for any other's (SE-09).

    A form that was left open while somebody else signed in is about that other person's account.
    """
    sent = request.form(repeatable)
    browser.check_csrf(request, sent.get("csrf"), person[1].id)
    return sent


def _waiting(request: Request) -> str | None:
    """Return the URL of an application or device that waits for a second factor to be set up, or None."""
    settings = request.runtime.settings
    sealed = request.cookie(browser.cookie_name(settings, returning.WAITING_COOKIE))
    path = returning.open_return(request.runtime, sealed)
    waits = returning.interaction_of(path) or path.partition("?")[0] == returning.DEVICE
    return settings.issuer + path if waits else None


def _address(issuer: str, section: str) -> str:
    return f"{issuer}/account" if section == "overview" else f"{issuer}/account/{section}"


def done(
    request: Request, section: str, notice: str, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Response:
    """Go back to a section after a change and say what was done."""
    return redirect(f"{_address(request.runtime.settings.issuer, section)}?notice={notice}", headers)


def changing(
    request: Request,
    person: Person,
    form: Form | None,
    *,
    page: str,
    change: str,
    done: object = True,
    proved: Method | None = None,
) -> tuple[Runtime, tuple[tuple[bytes, bytes], ...]]:
    """Return the runtime for a change of credentials, of which the owner is told by mail, and the headers of the answer after it.

    The mail speaks of `change` and links to `page`; `done` and `proved` are as for `account_changes.changing`. Other sessions end if the
    form says so.
    """
    session, user = person
    told = mail.notice(request.runtime, user, "new_factor", visit.origin_of(request), page, change=change)
    others = form is not None and form.get("end_others") == "yes"
    within, cookie = account_changes.changing(
        request.runtime, session, done, told, end_others=others, proved=proved
    )
    return within, (visit.session_cookie(request, session, cookie),)


async def unchanged(request: Request, person: Person, form: Form) -> None:
    """End other sessions as the form says, where what it removes was gone already."""
    if form.get("end_others") == "yes":
        await end_elsewhere(request, person)


async def end_elsewhere(request: Request, person: Person) -> None:
    """End every other session, and what applications were granted in them."""
    runtime, (session, user) = request.runtime, person
    given = {"but": session.id, "actor": user.id, "now": runtime.now()}
    await sessions.act(runtime, session, user_changes.end_elsewhere, user.id, **given)


async def overview(request: Request) -> Response:
    """Show the profile."""
    return await show_overview(request, await require(request))


async def show_overview(
    request: Request, person: Person, errors: dict[str, object] | None = None
) -> Response:
    """Answer the profile, with the errors of a change to it."""
    runtime, user = request.runtime, person[1]
    have = await runtime.database.read(enrolled, user.id)
    profile = {
        "username": user.username,
        "email": user.email,
        "email_verified": user.email_verified_at is not None,
        "pending_email": await account_changes.pending_email(runtime, user.id),
        "created_at": user.created_at,
    }
    context = {
        "action": f"{runtime.settings.issuer}/account",
        "profile": profile,
        "advice": await _advice(request, user, have),
        "may": [*(["change_email"] if runtime.settings.mails else []), "delete"],
        "providers": await _providers(request, person),
        "values": {"name": user.display_name or ""},
        "errors": errors or {},
    }
    return page(request, person, "overview", context, status=400 if errors else 200)


async def _providers(request: Request, person: Person) -> list[dict[str, object]]:
    runtime, (session, user) = request.runtime, person
    offered: list[dict[str, object]] = [
        {
            "id": provider.name,
            "name": provider.title,
            "account": linked.name if linked else None,
            "linked_at": linked.linked_at if linked else None,
            "link_url": f"{runtime.settings.issuer}/upstream/{provider.name}"
            f"?link={upstream_links.ticket(runtime, session.id, provider.name)}",
        }
        for provider, linked in await upstream_links.linked(runtime, user)
    ]
    left_over: list[dict[str, object]] = [
        {
            "id": linked.issuer,
            "name": upstream_links.host_of(linked),
            "account": linked.name,
            "linked_at": linked.linked_at,
            "link_url": None,
        }
        for linked in await upstream_links.left_over(runtime, user)
    ]
    return [*offered, *left_over]


async def _advice(request: Request, user: User, have: Enrolled) -> list[str]:
    runtime = request.runtime
    settings = runtime.settings
    offered = factors.usable(settings, have)
    advice = []
    if "passkey" in settings.sign_in_methods and not have.passkeys:
        advice.append("add_passkey")
    may_add = "password" in settings.sign_in_methods and bool(settings.second_factors) and not offered
    # The advice is about who has nothing but a password
    if may_add and await runtime.database.read(users.find_password, user.id) is not None:
        advice.append("add_second_factor")
    if offered and not have.recovery_codes and "recovery_code" in settings.second_factors:
        advice.append("save_recovery_codes")
    if user.email and user.email_verified_at is None and settings.mails:
        advice.append("verify_email")
    return advice


async def save_profile(request: Request) -> Response:
    """Change the name that people see."""
    found = await require(request)
    form = form_of(request, found)
    typed = (form.get("name") or "").strip()
    try:
        name = display(typed) if typed else None
    except NameRefused:
        return await show_overview(request, found, {"name": NAME_INVALID})
    runtime, (session, user) = request.runtime, found
    given = {"actor": user.id, "now": runtime.now()}
    await sessions.act(runtime, session, users.set_display_name, user.id, name, **given)
    return done(request, "overview", "profile_saved")


async def show_email(request: Request) -> Response:
    """Show the form for another address."""
    return _email(request, await require_fresh(request))


def _email(request: Request, person: Person, typed: str = "", problem: object = None) -> Response:
    context = {
        "action": f"{request.runtime.settings.issuer}/account/email",
        "email": person[1].email,
        "is_name": "@" in person[1].username,
        "values": {"email": typed},
        "errors": {"email": problem} if problem else {},
    }
    return page(request, person, "overview", context, template="email", status=400 if problem else 200)


async def change_email(request: Request) -> Response:
    """Send a link to the new address; it counts once it is confirmed."""
    found = await require_fresh(request)
    form = form_of(request, found)
    email = (form.get("email") or "").strip()[:320]
    runtime, (session, user) = request.runtime, found
    try:
        sent = await account_changes.request_email(runtime, user, session.id, email, visit.origin_of(request))
    except OAuthError:
        return _email(request, found, email, "email_invalid")
    except Throttled as refused:
        return _email(request, found, email, refused_proof.throttled(refused))
    if not sent:  # the session was ended from elsewhere just now
        return redirect(f"{runtime.settings.issuer}/sign-in")
    context = {
        "purpose": "change",
        "email": email,
        "minutes": account_changes.VERIFY_LIFETIME // 60,
        "links": {"again": f"{runtime.settings.issuer}/account/email", "sign_in": None},
    }
    return browser.page(request, "email_sent", context)


async def show_delete(request: Request) -> Response:
    """Say what ends with the account and ask for its name."""
    return await _delete(request, await require_fresh(request))


async def _delete(
    request: Request, person: Person, problems: Mapping[str, object] = MappingProxyType({})
) -> Response:
    runtime = request.runtime
    ends = await runtime.database.read(user_changes.count_ends, person[1].id, runtime.now())
    context = {
        "action": f"{runtime.settings.issuer}/account/delete",
        "ends": dict(zip(("sessions", "applications", "tokens"), ends, strict=True)),
        "errors": problems,
    }
    return page(request, person, "overview", context, template="delete", status=400 if problems else 200)


async def delete(request: Request) -> Response:
    """Delete the account when its name was typed."""
    found = await require_fresh(request)
    form = form_of(request, found)
    user = found[1]
    if (form.get("identifier") or "").strip() != user.username:
        return await _delete(request, found, {"identifier": "confirmation_wrong"})
    origin = visit.origin_of(request)
    try:
        await account_changes.delete(request.runtime, user, actor=user.id, session=found[0], origin=origin)
    except OAuthError as error:  # nobody would be left to run the service
        why = reasons.find(error.description)
        if why is None:
            raise
        return await _delete(request, found, {"form": why})
    settings = request.runtime.settings
    gone = browser.set_cookie(settings, visit.SESSION_COOKIE, "", 0)
    return redirect(f"{settings.issuer}/sign-in?notice=account_deleted", (gone,))


async def home(request: Request) -> Response:
    """Redirect from the server's root to the account, and so to the sign-in page if need be."""
    return redirect(f"{request.runtime.settings.issuer}/account")


async def well_known_change_password(request: Request) -> Response:
    """W3C "A Well-Known URL for Changing Passwords": send password managers to the page."""
    return redirect(f"{request.runtime.settings.issuer}/account/password")
