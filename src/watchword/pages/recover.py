"""A forgotten password: ask for a link, follow it, set a new one. The answer is the same for every name (LG-05).

Whoever follows a link may set up a passkey instead of the password. Where passwords are not accepted there is no form for a link, and
one that an administrator hands over leads to a new passkey.
"""

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import acting
from watchword.flows.throttle import Throttled
from watchword.flows.users import accounts, enrolment, recovery
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, errors, passwords, refused_proof, visit
from watchword.pages import enrolment as pages
from watchword.store import browsers
from watchword.store.database import Transaction
from watchword.store.passkeys import MadePasskey
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
    """Take the request for a link, and answer the same for every name."""
    _check_possible(request)
    form = request.form()
    identifier = (form.get("identifier") or "").strip()[:320]
    if not browser.is_own_form(request, form.get("csrf")):
        problem = "no_cookies" if browser.blocks_cookies(request) else "form_expired"
        return _ask(request, identifier, problem, 400)
    if not identifier:
        return _ask(request, problem="required", status=400)
    try:
        await recovery.request(request.runtime, identifier, visit.origin_of(request))
    except Throttled as refused:
        return _ask(request, identifier, refused_proof.throttled(refused), 429)
    issuer = request.runtime.settings.issuer
    context = {
        "identifier": identifier,
        "minutes": recovery.LIFETIME // 60,
        "links": {"sign_in": f"{issuer}/sign-in", "again": f"{issuer}/recover"},
    }
    return browser.page(request, "recover_sent", context)


async def show_reset(request: Request) -> Response:
    """Show the form for a new password or passkey if the link is live."""
    link = request.query().get("link")
    user = await recovery.whose(request.runtime, link)
    if user is None or link is None:
        return errors.expired(request)
    return await _page(request, user, link)


async def _page(
    request: Request, user: User, link: str, problems: dict[str, object] | None = None
) -> Response:
    ways = await enrolment.recoverable(request.runtime, user)
    context = {
        "action": f"{request.runtime.settings.issuer}/reset-password",
        "identifier": user.username,
        "password_minimum": accounts.MIN_PASSWORD,
        "errors": problems or {},
    }
    template = "reset_password" if "password" in ways else "recover_passkey"
    return await pages.page(
        request, template, context, user, link, only=ways, status=400 if problems else 200
    )


async def reset(request: Request) -> Response:
    """Set the new password or store the new passkey, and use up the link; that signs nobody in."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    link = form.get("link") or ""
    user = await recovery.whose(request.runtime, link)
    if user is None:
        return errors.expired(request)
    try:
        password, passkey = pages.chosen(request, form, user, link)
        sealed = await pages.waiting(request)
        done = await _keep(request, user, form, password, passkey)
    except OAuthError as error:
        if error.field != "password":
            raise
        return await _page(request, user, link, {"new_password": passwords.problem(error)})
    except PasskeyRefused as refused:
        return await _page(request, user, link, {"form": refused_proof.problem(refused)})
    if not done:
        return errors.expired(request)
    notice = "passkey_registered" if passkey else "password_reset"
    return pages.sign_in(request, notice, user.username, sealed)


async def _keep(
    request: Request, user: User, form: Form, password: str | None, passkey: MadePasskey | None
) -> bool:
    seen, now = browser.source_of(request).browser, request.runtime.now()

    async def note(tx: Transaction, outcome: object) -> None:
        # The link's holder counts as known in this browser, so guesses from elsewhere cannot lock them out of it (LG-02).
        if outcome in (user.id, "kept", "replaced"):
            await browsers.note_browser(tx, user.id, seen, now)

    told = acting.runtime_from(request.runtime, request.address)
    runtime, link = acting.runtime_with(told, note), form.get("link") or ""
    end_all, origin = form.get("end_others") == "yes", visit.origin_of(request)
    if passkey is not None:
        return await enrolment.recover(runtime, user, link, passkey, end_all=end_all, origin=origin)
    return await recovery.reset(runtime, user, link, password or "", end_all=end_all, origin=origin)
