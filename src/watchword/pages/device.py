"""RFC 8628 §3.3: the pages for connecting a device: enter its code, compare, decide.

Following a link never decides anything (§3.3.1, DV-04): the code is entered in a form of this server, shown again beside which client
asks from where, and decided by the person who entered it, in the same browser.
"""

from watchword.flows import detail_types, devices, membership, places
from watchword.flows.devices import Entered
from watchword.http import Request, Response, redirect
from watchword.oauth import device
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, consent, demanded, details, reasons, returning, scopes, sign_in, visit
from watchword.pages.render import Problem
from watchword.store.sessions import Session


async def show(request: Request) -> Response:
    """Ask for the code; a link may fill it in, for the person to check and send."""
    typed = _clean(request.query().get("user_code"))
    await _require(request, typed)
    return _form(request, typed)


async def _require(request: Request, typed: str) -> Session:
    """Return the session of somebody who may let a device in; divert to where they sign in, or set up what is demanded."""
    who = await visit.visitor(request)
    if who is None:
        raise browser.Diverted(_to_sign_in(request, typed))
    session, user = who
    if await demanded.is_lacking(request, user):
        raise browser.Diverted(demanded.set_up(request, _here(typed)))
    return session


def _clean(typed: str | None) -> str:
    code = device.normalise_user_code(typed or "")
    return device.format_user_code(code) if code else ""


def _here(typed: str) -> str:
    return f"{returning.DEVICE}?user_code={typed}" if typed else returning.DEVICE


def _to_sign_in(request: Request, typed: str) -> Response:
    back = returning.seal_return(request.runtime, _here(typed))
    return redirect(f"{request.runtime.settings.issuer}/sign-in?return={back}")


def _form(request: Request, typed: str, problem: str | Problem | None = None, status: int = 200) -> Response:
    context = {
        "action": f"{request.runtime.settings.issuer}/device",
        "values": {"user_code": typed},
        "errors": {"user_code": problem} if problem else {},
    }
    return browser.page(request, "device", context, status=status)


async def enter(request: Request) -> Response:
    """Look the code up and show what it would allow."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    typed = form.get("user_code") or ""
    session, own = await _require(request, _clean(typed)), browser.browser_of(request)
    if own is None:
        return _to_sign_in(request, _clean(typed))
    try:
        entered = await devices.enter(request.runtime, typed, session, browser=own, address=request.address)
    except OAuthError as error:
        if error.code == "access_denied":
            return _closed(request, error)
        if error.code != "too_many_requests":
            raise
        minutes = -(-(error.retry_after or 60) // 60)
        return _form(request, "", Problem("throttled", {"minutes": minutes}), 429)
    if entered is None:
        return _wrong(request)
    return await _confirm_page(request, entered, session)


def _closed(request: Request, error: OAuthError) -> Response:
    return _form(request, "", reasons.find(error.description), 400)


def _wrong(request: Request) -> Response:
    return _form(request, "", "user_code_wrong", 400)


async def _confirm_page(request: Request, entered: Entered, session: Session) -> Response:
    code = entered.code
    asked = {
        "place": places.place_of(request.runtime, code.address, browser.locale_of(request)),
        "address": code.address,
        "device": code.user_agent or None,
        "at": code.created_at,
    }
    context = {
        "action": f"{request.runtime.settings.issuer}/device/confirm",
        "client": consent.described(entered.client),
        "user_code": device.format_user_code(entered.user_code),
        "request": asked,
        "account": await sign_in.person(request, session),
        # All or nothing: a device learns what was granted only after the decision, when it gets its tokens.
        "scopes": [
            {**scopes.described(request, scope), "optional": False, "granted": True}
            for scope in code.scope.split()
        ],
        "resources": [scopes.resource(request, uri) for uri in code.audience.split()],
        "details": details.of(request, detail_types.read(code.authorization_details)),
        "hidden": {"user_code": entered.user_code, "shown": " ".join(_for_members(request, entered))},
    }
    return browser.page(request, "device_confirm", context)


def _for_members(request: Request, entered: Entered) -> set[str]:
    return set(membership.for_members(request.runtime.settings, tuple(entered.code.scope.split())))


async def confirm(request: Request) -> Response:
    """Take the decision of the person who entered the code in this browser."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    typed = _clean(form.get("user_code"))
    session, own = await _require(request, typed), browser.browser_of(request)
    if own is None:
        return _to_sign_in(request, typed)
    try:
        entered = await devices.shown(request.runtime, form.get("user_code") or "", session, browser=own)
    except OAuthError as error:
        return _closed(request, error)
    if entered is None:
        return _wrong(request)
    approved = form.get("decision") == "approve"
    if approved and not _for_members(request, entered) <= set((form.get("shown") or "").split()):
        # A group that the person came into since opens more than the page told.
        return await _confirm_page(request, entered, session)
    act = devices.approve if approved else devices.deny
    if not await act(request.runtime, entered, session, browser=own):
        # A second click, or the answer loaded again: it says what was decided, and decides nothing.
        entered = await devices.shown(request.runtime, entered.user_code, session, browser=own)
        if entered is None or not (entered.is_approved if approved else entered.is_denied):
            return _wrong(request)
    context = {"outcome": "approved" if approved else "denied", "client": {"name": entered.client.name}}
    return browser.page(request, "device_done", context)
