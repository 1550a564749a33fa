"""A new account: first the mail address, then, from the mailed link or an invitation, the name and a passkey or password (LG-05)."""

from urllib.parse import quote

from watchword.credentials.names import NameRefused, display
from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import acting
from watchword.flows.throttle import Throttled
from watchword.flows.users import account_changes, accounts
from watchword.flows.users import enrolment as ways
from watchword.flows.users import sign_up as sign_up_flow
from watchword.flows.users.sign_up import Invitation
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import (
    account,
    asking,
    browser,
    enrolment,
    errors,
    passwords,
    refused_proof,
    returning,
    sign_in,
    visit,
)


async def show(request: Request) -> Response:
    """Show the form for a mail address or, with a live link, the one for the account."""
    link = request.query().get("link")
    if link is not None:
        invitation = await sign_up_flow.read(request.runtime, link)
        return errors.expired(request) if invitation is None else await _account(request, link, invitation)
    _check_open(request)
    return await _address(request, request.query().get("return"))


def _check_open(request: Request) -> None:
    settings = request.runtime.settings
    if settings.sign_up != "open" or not settings.mails:
        raise OAuthError("not_found", "Accounts are made by invitation here.")
    if not sign_up_flow.is_open(request.runtime):
        raise OAuthError("not_found", "Accounts are not made by an address here: sign in with a provider.")


async def _address(
    request: Request, sealed: str | None, email: str | None = None, problems: dict[str, object] | None = None
) -> Response:
    issuer = request.runtime.settings.issuer
    asker = await asking.find(request, sealed)
    hinted = asker.login_hint if asker and "@" in (asker.login_hint or "") else None
    throttled = problems is not None and "form" in problems
    context = {
        "action": f"{issuer}/sign-up",
        "invitation": None,
        "asks": ["email"],
        "methods": [],
        "passkey_options": "",
        "password_minimum": accounts.MIN_PASSWORD,
        "providers": sign_in.providers(request, sealed, asker),
        "links": {"sign_in": await _known(request, sealed)},
        "values": {"email": (hinted or "") if email is None else email},
        "errors": problems or {},
        "hidden": {"return": sealed} if sealed else {},
    }
    status = 429 if throttled else 400 if problems else 200
    ui_locales = asker.ui_locales if asker else None
    return browser.page(request, "register", context, status=status, ui_locales=ui_locales)


async def _known(request: Request, sealed: str | None) -> str:
    """Return where somebody goes who has an account already; for an application they may go on as whoever is signed in here."""
    issuer = request.runtime.settings.issuer
    if not sealed:
        return f"{issuer}/sign-in"
    page = "select-account" if await visit.current(request) is not None else "sign-in"
    return f"{issuer}/{page}?return={quote(sealed)}"


async def show_again(request: Request, link: str, problem: object) -> Response:
    """Show the form of a live link again, with what went wrong at a provider."""
    invitation = await sign_up_flow.read(request.runtime, link)
    if invitation is None:
        return errors.expired(request)
    return await _account(request, link, invitation, problems={"form": problem})


async def _account(
    request: Request,
    link: str,
    invitation: Invitation,
    form: Form | None = None,
    problems: dict[str, object] | None = None,
) -> Response:
    issuer = request.runtime.settings.issuer
    context = {
        "action": f"{issuer}/sign-up",
        "invitation": {"email": invitation.email, "invited": invitation.invited},
        "asks": ["name"] if ways.choices(request.runtime) else [],
        "password_minimum": accounts.MIN_PASSWORD,
        "links": {"sign_in": f"{issuer}/sign-in"},
        "values": {"name": (form.get("name") or "") if form else ""},
        "errors": problems or {},
    }
    newcomer = enrolment.newcomer(request, link, invitation.email)
    status = 400 if problems else 200
    return await enrolment.page(request, "register", context, newcomer, link, status=status)


async def submit(request: Request) -> Response:
    """Take a mail address, or create the account of a live link."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    link = form.get("link")
    if link is not None:
        return await _accept(request, form, link)
    _check_open(request)
    sealed, email = form.get("return"), (form.get("email") or "").strip()[:320]
    try:
        await sign_up_flow.request(request.runtime, email, visit.origin_of(request))
    except OAuthError:
        return await _address(request, sealed, email, {"email": "email_invalid"})
    except Throttled as refused:
        return await _address(request, sealed, email, {"form": refused_proof.throttled(refused)})
    return _sent(request, email, sealed if await asking.find(request, sealed) else None)


def _sent(request: Request, email: str, sealed: str | None) -> Response:
    """Say that a mail is on its way; the application that waits is remembered in this browser until its link is followed."""
    settings = request.runtime.settings
    back = f"?return={quote(sealed)}" if sealed else ""
    context = {
        "purpose": "verify",
        "email": email,
        "minutes": sign_up_flow.REGISTER_LIFETIME // 60,
        "links": {"again": f"{settings.issuer}/sign-up{back}", "sign_in": f"{settings.issuer}/sign-in{back}"},
    }
    answer = browser.page(request, "email_sent", context)
    if sealed:
        lasts = sign_up_flow.REGISTER_LIFETIME
        waits = browser.set_cookie(settings, returning.REGISTERING_COOKIE, sealed, lasts)
        answer.headers = (waits, *answer.headers)
    return answer


async def _accept(request: Request, form: Form, link: str) -> Response:
    invitation = await sign_up_flow.read(request.runtime, link)
    if invitation is None:
        return errors.expired(request)
    typed = (form.get("name") or "").strip()
    try:
        name = display(typed) if typed else None
    except NameRefused:
        return await _account(request, link, invitation, form, {"name": account.NAME_INVALID})
    newcomer = enrolment.newcomer(request, link, invitation.email)
    try:
        password, passkey = enrolment.chosen(request, form, newcomer, link)
        told, sealed = acting.runtime_from(request.runtime, request.address), await enrolment.waiting(request)
        user = await sign_up_flow.accept(told, link, password=password, way=passkey, name=name)
    except OAuthError as error:
        if error.code == "conflict":
            return await _account(request, link, invitation, form, {"form": "address_taken"})
        if error.field != "password":
            raise
        return await _account(request, link, invitation, form, {"new_password": passwords.problem(error)})
    except PasskeyRefused as refused:
        return await _account(request, link, invitation, form, {"form": refused_proof.problem(refused)})
    if user is None:
        return errors.expired(request)
    notice = "passkey_registered" if passkey else "registered"
    return enrolment.sign_in(request, notice, user.username, sealed)


async def show_verify(request: Request) -> Response:
    """Ask for a click on a button, so that a mail scanner that follows the link confirms nothing.

    The page names the account: anybody can enter somebody else's address, and its owner would otherwise confirm it as their own.
    """
    link = request.query().get("link")
    wish = await account_changes.wish_of_link(request.runtime, link)
    if wish is None:
        return errors.expired(request)
    user, email = wish
    context = {
        "action": f"{request.runtime.settings.issuer}/verify-email",
        "email": email,
        "account": user.username,
        "hidden": {"link": link},
    }
    return browser.page(request, "verify_email", context)


async def verify(request: Request) -> Response:
    """Confirm the mail address that a link was sent to."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    link = form.get("link") or ""
    wish = await account_changes.wish_of_link(request.runtime, link)
    told = acting.runtime_from(request.runtime, request.address)
    session = await visit.current(request)  # before the link is used up
    outcome = await account_changes.confirm_email(told, link, visit.origin_of(request))
    if outcome == "taken":
        return errors.address_taken(request)
    if wish is None or outcome != "changed":
        return errors.expired(request)
    page = "account" if session is not None and session.user_id == wish[0].id else "sign-in"
    return redirect(f"{request.runtime.settings.issuer}/{page}?notice=email_verified")
