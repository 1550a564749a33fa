"""Sign in: forms that work without scripts, a session only after the proof, and a way back that stays on this server."""

from urllib.parse import quote

from watchword.credentials.methods import Method
from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import passkeys, sign_in, throttle
from watchword.flows.sign_in import SignInRefused
from watchword.flows.throttle import Throttled
from watchword.flows.upstream import provider_sign_in
from watchword.flows.users import sign_up
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.pages import asking, browser, refused_proof, returning, visit
from watchword.pages.asking import Asking
from watchword.pages.render import Problem
from watchword.pages.visit import Proved
from watchword.store import users
from watchword.store.sessions import Session
from watchword.store.users import User
from watchword.telemetry import count

PURPOSE = "sign-in"
SET_UP = ("registered", "passkey_registered")
NOTICES = (*SET_UP, "password_changed", "password_reset", "account_deleted", "email_verified", "signed_out")


async def show(request: Request) -> Response:
    """Show the sign-in form, or go on when somebody is signed in already."""
    query = request.query()
    sealed = query.get("return")
    notice = query.get("notice")
    # Somebody who has just set up how to sign in does so now, whoever else is signed in at this browser.
    if sealed is None and notice not in SET_UP and await visit.current(request) is not None:
        return redirect(f"{request.runtime.settings.issuer}/account")
    name = _name_set_up(request) if notice in (*SET_UP, "password_reset") else None
    return await form_page(request, sealed, values={"identifier": name} if name else None, notice=notice)


def _name_set_up(request: Request) -> str | None:
    """Return the user name of whoever has just set up in this browser how to sign in, or None."""
    cookie = request.cookie(browser.cookie_name(request.runtime.settings, returning.NAME_COOKIE))
    return returning.open_name(request.runtime, browser.browser_of(request) or "", cookie)


async def form_page(
    request: Request,
    sealed: str | None,
    *,
    values: dict[str, str] | None = None,
    problem: object = None,
    notice: str | None = None,
    status: int = 200,
) -> Response:
    """Answer the sign-in form."""
    settings = request.runtime.settings
    value, fresh = browser.ensure_browser(request)
    methods, options, hidden = await _methods(request, value)
    if sealed:
        hidden["return"] = sealed
    asker = await asking.find(request, sealed)
    if values is None and asker is not None and asker.login_hint:
        values = {"identifier": asker.login_hint}
    identity, offered = _identity_page(request, sealed), providers(request, sealed, asker)
    if asker is not None and settings.upstream and not (problem or methods or identity or offered):
        problem = Problem("upstream_all_silent", {"client": asker.name})
    context = {
        "action": f"{settings.issuer}/sign-in",
        "client": {"name": asker.name} if asker else None,
        "methods": methods,
        "passkey_options": options,
        "providers": offered,
        "remember_days": settings.session_remembered // 86_400,
        "links": {
            "recover": f"{settings.issuer}/recover" if settings.mails and "password" in methods else None,
            "register": _with_return(f"{settings.issuer}/sign-up", sealed)
            if sign_up.is_open(request.runtime)
            else None,
            "identity": identity,
        },
        "values": values or {},
        # Beside the field to type again, where the cursor waits.
        "errors": {"password" if problem == "credentials" else "form": problem} if problem else {},
        "notice": notice if notice in NOTICES else None,
        "hidden": hidden,
    }
    return browser.page(
        request,
        "sign_in",
        context,
        status=status,
        form_action=asker.form_action if asker else (),
        ui_locales=asker.ui_locales if asker else None,
        known=(value, fresh),
    )


def _identity_page(request: Request, sealed: str | None) -> str | None:
    settings = request.runtime.settings
    if "identity" not in settings.sign_in_methods:
        return None
    return _with_return(f"{settings.issuer}/sign-in/identity", sealed)


def _with_return(address: str, sealed: str | None) -> str:
    return f"{address}?return={quote(sealed)}" if sealed else address


async def _methods(request: Request, value: str) -> tuple[list[str], str, dict[str, str]]:
    """Return the methods offered, the options for a passkey, and the form's hidden fields."""
    allowed = request.runtime.settings.sign_in_methods
    offered = ["password"] if "password" in allowed else []
    asked = await passkeys.request_options(request.runtime, value, PURPOSE) if "passkey" in allowed else None
    if asked is None:
        return offered, "", {}
    return [*offered, "passkey"], asked[0], {"challenge": asked[1]}


def providers(request: Request, sealed: str | None, asker: Asking | None = None) -> list[dict[str, str]]:
    """Return the providers that people may sign in with, each with the URL that begins it.

    If the application needs to know when the person proved who they are, providers that do not tell are left out.
    """
    issuer = request.runtime.settings.issuer
    back = f"?return={quote(sealed)}" if sealed else ""
    has_to_tell = asker is not None and asker.max_age is not None
    return [
        {"name": provider.title, "url": f"{issuer}/upstream/{provider.name}{back}"}
        for provider in request.runtime.settings.upstream
        if not has_to_tell or provider_sign_in.tells_time(provider)
    ]


async def submit(request: Request) -> Response:
    """Check a passkey, or name and password, and go on."""
    form = request.form()
    sealed, values = form.get("return"), _values(form)
    if not browser.is_own_form(request, form.get("csrf")):  # as when another tab was opened before this one
        problem = "no_cookies" if browser.blocks_cookies(request) else "form_expired"
        return await form_page(request, sealed, values=values, problem=problem, status=400)
    allowed = request.runtime.settings.sign_in_methods
    try:
        if form.get("credential") and "passkey" in allowed:
            user, method = await _by_passkey(request, form)
        elif "password" in allowed:
            user, method = await _by_password(request, form), Method.PASSWORD
        else:
            raise SignInRefused
    except Throttled as refused:
        throttled = refused_proof.throttled(refused)
        return await form_page(request, sealed, values=values, problem=throttled, status=429)
    except SignInRefused:
        return await form_page(request, sealed, values=values, problem="credentials", status=401)
    except PasskeyRefused as refused_passkey:
        count("sign_ins", "passkey", "refused")
        why = refused_proof.problem(refused_passkey)
        return await form_page(request, sealed, values=values, problem=why, status=401)
    remember = form.get("remember") == "yes"
    return await visit.proceed(request, user, Proved((method,), sealed or "", remember))


def _values(form: Form) -> dict[str, str]:
    return {
        "identifier": (form.get("identifier") or "")[:320],
        "remember": "yes" if form.get("remember") == "yes" else "",
    }


async def _by_password(request: Request, form: Form) -> User:
    identifier, password = (form.get("identifier") or "")[:320], form.get("password") or ""
    return await sign_in.by_password(request.runtime, identifier, password, browser.source_of(request))


async def _by_passkey(request: Request, form: Form) -> tuple[User, Method]:
    runtime = request.runtime
    taken = await throttle.admit(runtime, browser.source_of(request))
    user, method = await passkeys.prove(
        runtime,
        browser=browser.browser_of(request) or "",
        purpose=PURPOSE,
        challenge=form.get("challenge") or "",
        credential=form.get("credential") or "",
    )
    if user.disabled_at is not None:  # not SignInRefused, which is said beside a password's field
        raise PasskeyRefused("disabled")
    await throttle.accepted(runtime, "passkey", taken)
    return user, method


async def person(request: Request, session: Session) -> dict[str, str]:
    """Return how the pages name the person of a session."""
    user = await request.runtime.database.read(users.get_user, session.user_id)
    return describe(request, user)


def describe(request: Request, user: User | None) -> dict[str, str]:
    """Return how the pages name a person."""
    name = user.username if user else ""
    switch = f"{request.runtime.settings.issuer}/sign-out"
    return {"name": (user.display_name if user else None) or name, "identifier": name, "switch_url": switch}
