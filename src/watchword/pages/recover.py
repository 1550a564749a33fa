"""A forgotten password: ask for a link, follow it, set a new one. The answer is the same for every name (LG-05)."""

from watchword.flows import accounts, recovery
from watchword.flows.throttle import Throttled
from watchword.http import Request, Response, redirect
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, errors, passwords, second_factor, visit
from watchword.store import browsers
from watchword.store.users import User


def _check_possible(request: Request) -> None:
    if not request.runtime.settings.mails:
        raise OAuthError("not_found", "This service sends no mail: ask its administrator for a new password.")


async def show(request: Request) -> Response:
    """Show the form for a link."""
    _check_possible(request)
    return _ask(request)


def _ask(request: Request, identifier: str = "", problem: object = None, status: int = 200) -> Response:
    issuer = request.runtime.settings.issuer
    context = {
        "action": f"{issuer}/recover",
        "links": {"sign_in": f"{issuer}/sign-in"},
        "values": {"identifier": identifier},
        "errors": {"form": problem} if problem else {},
    }
    return browser.page(request, "recover", context, status=status)


async def submit(request: Request) -> Response:
    """Take the wish and answer the same whoever it is."""
    _check_possible(request)
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    identifier = (form.get("identifier") or "").strip()[:320]
    if not identifier:
        return _ask(request, problem="required", status=400)
    try:
        await recovery.request(request.runtime, identifier, visit.origin_of(request))
    except Throttled as refused:
        return _ask(request, identifier, second_factor.throttled(refused), 429)
    issuer = request.runtime.settings.issuer
    context = {
        "identifier": identifier,
        "minutes": recovery.LIFETIME // 60,
        "links": {"sign_in": f"{issuer}/sign-in", "again": f"{issuer}/recover"},
    }
    return browser.page(request, "recover_sent", context)


async def show_reset(request: Request) -> Response:
    """Show the form for a new password when the link is live."""
    link = request.query().get("link")
    user = await recovery.whose(request.runtime, link)
    if user is None or link is None:
        return errors.expired(request)
    return _reset(request, user, link)


def _reset(request: Request, user: User, link: str, error: OAuthError | None = None) -> Response:
    context = {
        "action": f"{request.runtime.settings.issuer}/reset-password",
        "identifier": user.username,
        "password_minimum": accounts.MIN_PASSWORD,
        "errors": {"new_password": passwords.problem(error)} if error else {},
        "hidden": {"link": link},
    }
    return browser.page(request, "reset_password", context, status=400 if error else 200)


async def reset(request: Request) -> Response:
    """Set the new password and use the link up; nobody is signed in by it."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    link = form.get("link") or ""
    user = await recovery.whose(request.runtime, link)
    if user is None:
        return errors.expired(request)
    try:
        done = await recovery.reset(
            request.runtime,
            user,
            link,
            form.get("new_password") or "",
            end_all=form.get("end_others") == "yes",
            origin=visit.origin_of(request),
        )
    except OAuthError as error:
        if error.field != "password":
            raise
        return _reset(request, user, link, error)
    if not done:
        return errors.expired(request)
    # Who holds the link is at home in this browser: guesses from elsewhere do not keep them out of it (LG-02).
    await request.runtime.database.write(
        browsers.note_browser,
        user.id,
        browser.source_of(request).browser,
        trusted_until=None,
        now=request.runtime.now(),
    )
    return redirect(f"{request.runtime.settings.issuer}/sign-in?notice=password_reset")
