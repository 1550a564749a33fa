"""A forgotten password: ask for a link, follow it, set a new one. The answer is the same for every name (LG-05).

Where no passwords are taken nobody asks for a link, and the one that an administrator hands over leads to a new passkey.
"""

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import accounts, enrolment, recovery
from watchword.flows.throttle import Throttled
from watchword.http import Form, Request, Response, redirect
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, errors, passwords, second_factor, visit
from watchword.pages import enrolment as pages
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
    """Show the form for a new password, or for a passkey, when the link is live."""
    link = request.query().get("link")
    user = await recovery.whose(request.runtime, link)
    if user is None or link is None:
        return errors.expired(request)
    if "password" not in enrolment.taken(request.runtime):
        return await _passkey(request, user, link)
    return _reset(request, user, link)


async def _passkey(request: Request, user: User, link: str, problem: object = None) -> Response:
    context = {
        "action": f"{request.runtime.settings.issuer}/reset-password",
        "identifier": user.username,
        "errors": {"form": problem} if problem else {},
    }
    return await pages.page(request, "recover_passkey", context, user, link, status=400 if problem else 200)


async def _keep_passkey(request: Request, form: Form, user: User, link: str) -> Response:
    runtime = request.runtime
    end_all, origin = form.get("end_others") == "yes", visit.origin_of(request)
    try:
        _password, made = pages.chosen(request, form, user, link)
        done = made is not None and await enrolment.recover(
            runtime, user, link, made, end_all=end_all, origin=origin
        )
    except PasskeyRefused as refused:
        return await _passkey(request, user, link, second_factor.problem_of(refused))
    return pages.sign_in(request, "passkey_registered") if done else errors.expired(request)


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
    """Set the new password, or keep the passkey, and use the link up; nobody is signed in by it."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    link = form.get("link") or ""
    user = await recovery.whose(request.runtime, link)
    if user is None:
        return errors.expired(request)
    if "password" not in enrolment.taken(request.runtime):
        return await _keep_passkey(request, form, user, link)
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
