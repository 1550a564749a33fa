"""Sign in and out: forms that work without scripts, a session only after the proof, and a way back that stays on this server."""

import base64
import hashlib
import hmac
import re

from watchword.credentials.methods import PASSWORD_ONLY
from watchword.flows import authorization, sessions, sign_in
from watchword.flows.runtime import Runtime
from watchword.flows.sign_in import SignInRefused
from watchword.http import Request, Response, redirect
from watchword.pages import browser
from watchword.pages.render import Problem
from watchword.store import users
from watchword.store.sessions import Session

SESSION_COOKIE = "ww-session"
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,12000}")


async def current(request: Request) -> Session | None:
    """Return the session of a request's cookie, or None."""
    name = browser.cookie_name(request.runtime.settings, SESSION_COOKIE)
    return await sessions.current(request.runtime, request.cookie(name), request.address)


def seal_return(runtime: Runtime, path: str) -> str:
    """Return a path of this server as a text that only this server can have made (SE-12)."""
    raw = path.encode("ascii")
    seal = hmac.new(runtime.master.derive("return path"), raw, hashlib.sha256).digest()[:16]
    return base64.urlsafe_b64encode(seal + raw).decode().rstrip("=")


def open_return(runtime: Runtime, sealed: str | None) -> str:
    """Return the path of a sealed text, or the account page for anything else."""
    if sealed:
        try:
            raw = base64.b64decode(sealed + "=" * (-len(sealed) % 4), altchars=b"-_", validate=True)
            path = raw[16:].decode("ascii")
        except ValueError:
            return "/account"
        if hmac.compare_digest(seal_return(runtime, path).encode(), sealed.encode()) and _PATH.fullmatch(
            path
        ):
            return path
    return "/account"


async def show(request: Request) -> Response:
    """Show the sign-in form, or go on when somebody is signed in already."""
    sealed = request.query().get("return")
    if await current(request) is not None and sealed is None:
        return redirect(f"{request.runtime.settings.issuer}/account")
    return await _form(request, sealed, notice=request.query().get("notice"))


async def _form(
    request: Request,
    sealed: str | None,
    *,
    identifier: str = "",
    problem: object = None,
    notice: str | None = None,
    status: int = 200,
    client: str | None = None,
) -> Response:
    settings = request.runtime.settings
    context = {
        "action": f"{settings.issuer}/sign-in",
        "client": {"name": client} if client else None,
        "methods": ["password"],
        "passkey_options": "",
        "providers": [],
        "remember_days": settings.session_remembered // 86_400,
        "links": {"recover": None, "register": None},
        "values": {"identifier": identifier},
        "errors": {"form": problem} if problem else {},
        "notice": notice if notice in ("registered", "password_changed", "password_reset") else None,
        "hidden": {"return": sealed} if sealed else {},
    }
    leads_to = await _leads_to(request, sealed)
    return browser.page(request, "sign_in", context, status=status, form_action=leads_to)


async def _leads_to(request: Request, sealed: str | None) -> list[str]:
    """Return where a sign-in may lead besides this server: browsers check the redirects that follow a form as well."""
    path, _, interaction = open_return(request.runtime, sealed).partition("?interaction=")
    value = browser.browser_of(request)
    if path != "/authorize/resume" or value is None:
        return []
    found = await authorization.resume(request.runtime, interaction, value)
    return [found[1].redirect_uri] if found else []


async def submit(request: Request) -> Response:
    """Check name and password and begin a session."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    identifier, sealed = (form.get("identifier") or "")[:320], form.get("return")
    try:
        user = await sign_in.by_password(
            request.runtime, identifier, form.get("password") or "", request.address
        )
    except SignInRefused as refused:
        minutes = -(-refused.wait // 60)
        problem = Problem("throttled", {"minutes": minutes}) if refused.wait else refused.problem
        return await _form(
            request, sealed, identifier=identifier, problem=problem, status=429 if refused.wait else 401
        )
    acr, amr = PASSWORD_ONLY
    remember = form.get("remember") == "yes"
    _session, cookie = await sessions.begin(
        request.runtime,
        user.id,
        acr=acr,
        amr=amr,
        user_agent=request.header(b"user-agent") or "",
        address=request.address,
        remember=remember,
    )
    settings = request.runtime.settings
    max_age = settings.session_remembered if remember else None
    location = settings.issuer + open_return(request.runtime, sealed)
    return redirect(location, (browser.set_cookie(settings, SESSION_COOKIE, cookie, max_age),))


async def show_sign_out(request: Request) -> Response:
    """Ask whether to sign out."""
    session = await current(request)
    if session is None:
        return _signed_out(request)
    issuer = request.runtime.settings.issuer
    context = {"action": f"{issuer}/sign-out", "client": None, "account": await person(request, session)}
    return browser.page(request, "sign_out", context)


async def person(request: Request, session: Session) -> dict[str, str]:
    """Return how the pages name the person of a session."""
    user = await request.runtime.database.read(users.get_user, session.user_id)
    name = user.username if user else ""
    switch = f"{request.runtime.settings.issuer}/sign-out"
    return {"name": (user.display_name if user else None) or name, "identifier": name, "switch_url": switch}


async def sign_out(request: Request) -> Response:
    """End the session: its cookie, and every copy of it, is dead."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    session = await current(request)
    if form.get("decision") == "stay":
        return redirect(f"{request.runtime.settings.issuer}/account")
    if session is not None and form.get("everywhere") == "yes":
        await sessions.end_all(request.runtime, session.user_id, actor=session.user_id)
    elif session is not None:
        await sessions.end(request.runtime, session)
    return _signed_out(request)


def _signed_out(request: Request) -> Response:
    settings = request.runtime.settings
    context: dict[str, object] = {
        "frames": [],
        "continue": None,
        "links": {"sign_in": f"{settings.issuer}/sign-in"},
    }
    gone = browser.set_cookie(settings, SESSION_COOKIE, "", 0)
    return browser.page(request, "signed_out", context, headers=(gone,))
