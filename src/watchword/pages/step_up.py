"""RFC 9470: prove again who is there and then go on: for an application that asks for more, or before a change to the account.

The session stays; it gets a new cookie, the time of this proof, and the methods that were used for it (SE-02). What applications are told
as `auth_time` moves only with a proof that raised the level or reaches it alone: an older passkey is not made fresh by a password.
"""

from urllib.parse import quote

from watchword.credentials import methods
from watchword.credentials.methods import Method
from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import factors, passkeys, sessions
from watchword.flows import sign_in as sign_in_flow
from watchword.flows.factors import FactorRefused
from watchword.flows.throttle import Throttled
from watchword.flows.upstream import upstream_links
from watchword.http import Request, Response, redirect
from watchword.pages import asking, browser, refused_proof, returning, second_factor, sign_in, visit
from watchword.store import users
from watchword.store.database import Transaction
from watchword.store.factors import enrolled
from watchword.store.sessions import Session
from watchword.store.users import User

PURPOSE = "step up"
FRESH = 600  # seconds for which a proof is good enough for a change to the account
ORDER = ("passkey", "totp", "password", "email_code", "recovery_code")


def is_fresh(session: Session, now: int) -> bool:
    """Whether a session's last proof is recent enough for a change to the account."""
    return now - max(session.authenticated_at, session.confirmed_at) < FRESH


async def is_proved(request: Request, session: Session, user: User) -> bool:
    """Whether a session's proof allows a change to the account: recent, and by a second factor if the person has one (MF-06)."""
    if not is_fresh(session, request.runtime.now()):
        return False
    settings, have = request.runtime.settings, await request.runtime.database.read(enrolled, user.id)
    by_mail = "email_code" in factors.confirming(settings, user, have)
    held = factors.holds_second(session.amr, by_mail=by_mail)
    return held or not factors.demanded(settings, user, have)


def address(request: Request, path: str) -> str:
    """Return the URL where a person proves who they are before going on to a path of this server."""
    runtime = request.runtime
    back = quote(returning.seal_return(runtime, path))
    return f"{runtime.settings.issuer}/step-up?return={back}"


def ask(request: Request, path: str) -> Response:
    """Send a person to this page and back to a path of this server."""
    return redirect(address(request, path))


async def show(request: Request) -> Response:
    """Show the form for a further proof."""
    query = request.query()
    return await _page(request, query.get("return") or "", query.get("method"))


async def _page(
    request: Request, sealed: str, method: str | None = None, problem: object = None, status: int = 200
) -> Response:
    runtime = request.runtime
    settings = runtime.settings
    session, user, offered = await _situation(request, sealed)
    if session is None or user is None:
        return redirect(f"{settings.issuer}/sign-in?return={quote(sealed)}")
    providers = await _providers(request, sealed, user)
    if not offered and not providers:
        return _without_proof(request, sealed)
    method = method if method in offered else next(iter(offered), None)
    here = f"{settings.issuer}/step-up"
    asker = await asking.find(request, sealed)
    options, hidden = "", {"return": sealed}
    if method == "passkey":
        asked = await passkeys.request_options(runtime, browser.browser_of(request) or "", PURPOSE, user.id)
        options, hidden = (asked[0], {**hidden, "challenge": asked[1]}) if asked else ("", hidden)
    errors: dict[str, object] = {}
    if method == "email_code":
        try:
            await factors.send_email_code(runtime, user, visit.origin_of(request), again=False)
        except Throttled as refused:
            errors["form"] = refused_proof.throttled(refused)
    if problem is not None:
        errors[{"passkey": "form", "password": "password"}.get(method or "passkey", "code")] = problem
    context = {
        "action": here,
        "reason": "client" if asker else _reason(returning.open_return(runtime, sealed)),
        "client": {"name": asker.name} if asker else None,
        "account": sign_in.describe(request, user),
        "method": method,
        "others": [
            {"method": other, "url": f"{here}?return={quote(sealed)}&method={other}"}
            for other in offered
            if other != method
        ],
        "providers": providers,
        "passkey_options": options,
        "cancel_url": None if asker else f"{settings.issuer}/account",
        "errors": errors,
        "hidden": hidden,
    }
    return browser.page(
        request,
        "step_up",
        context,
        status=status,
        form_action=asker.form_action if asker else (),
        ui_locales=asker.ui_locales if asker else None,
    )


def _reason(path: str) -> str:
    """Return why a page of this server wants the proof: what an administrator changes in the console is not their own account."""
    return "console" if path.startswith("/console") else "settings"


async def _providers(request: Request, sealed: str, user: User) -> list[dict[str, str]]:
    """Return the providers that can prove who a person is for a change to the account. There are none where a second factor is needed
    (MF-06), nor for an application, as such a proof raises no level."""
    runtime = request.runtime
    have = await runtime.database.read(enrolled, user.id)
    asked = returning.interaction_of(returning.open_return(runtime, sealed))
    if asked or factors.demanded(runtime.settings, user, have):
        return []
    issuer, there = runtime.settings.issuer, await upstream_links.linked(runtime, user)
    return [
        {"name": one.title, "url": f"{issuer}/upstream/{one.name}?return={quote(sealed)}"}
        for one, linked in there
        if linked is not None
    ]


def _without_proof(request: Request, sealed: str) -> Response:
    """Go on where nothing more can be proved: answer an application with the session as it is; for the account, have the person sign in."""
    issuer, path = request.runtime.settings.issuer, returning.open_return(request.runtime, sealed)
    if returning.interaction_of(path):
        return redirect(issuer + path)
    return redirect(f"{issuer}/sign-in?return={quote(returning.seal_return(request.runtime, path))}")


async def _situation(request: Request, sealed: str) -> tuple[Session | None, User | None, tuple[str, ...]]:
    """Return who is signed in and which methods they can use now; for an application only those that raise the assurance."""
    runtime = request.runtime
    session = await visit.current(request)
    if session is None:
        return None, None, ()
    user = await runtime.database.read(users.get_user, session.user_id)
    if user is None:
        return None, None, ()
    enlisted = await runtime.database.read(enrolled, user.id)
    have = factors.confirming(runtime.settings, user, enlisted)
    by_password = "password" in runtime.settings.sign_in_methods
    has_password = by_password and await runtime.database.read(users.find_password, user.id) is not None
    possible = [name for name in ORDER if name in have or (name == "password" and has_password)]
    if factors.demanded(runtime.settings, user, enlisted):  # MF-06: a password alone removes no second factor
        possible = [name for name in possible if name != "password"]
    if returning.interaction_of(returning.open_return(runtime, sealed)):
        level = methods.LEVELS.index(session.acr) if session.acr in methods.LEVELS else 0
        possible = [name for name in possible if _level(session, name) > level]
    return session, user, tuple(possible)


_METHODS = {
    "passkey": Method.PASSKEY_VERIFIED,  # the most that it can prove, if the device checks the person
    "totp": Method.TOTP,
    "password": Method.PASSWORD,
    "email_code": Method.EMAIL_CODE,
    "recovery_code": Method.RECOVERY_CODE,
}


def _level(session: Session, name: str) -> int:
    acr, _amr = methods.step_up(session.amr, _METHODS[name])
    return methods.LEVELS.index(acr)


async def submit(request: Request) -> Response:
    """Check the proof and raise the session."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    sealed, chosen = form.get("return") or "", form.get("method") or ""
    session, user, offered = await _situation(request, sealed)
    if session is None or user is None or chosen not in offered:
        return await _page(request, sealed)
    path = returning.open_return(request.runtime, sealed)
    try:
        if chosen == "password":
            if not await sign_in_flow.confirm_password(request.runtime, user, form.get("password") or ""):
                return await _page(request, sealed, chosen, "password_wrong", 401)
            return await raise_session(request, session, Method.PASSWORD, path, user)
        proved, spend = await second_factor.check(request, user, chosen, form, PURPOSE)
        return await raise_session(request, session, proved, path, user, spend)
    except (FactorRefused, PasskeyRefused) as refused:
        problem, status = await second_factor.note_refused(request, user, chosen, refused)
        return await _page(request, sealed, chosen, problem, status)
    except Throttled as refused:
        return await _page(request, sealed, chosen, refused_proof.problem(refused), 429)


async def raise_session(
    request: Request,
    session: Session,
    proved: Method,
    path: str,
    user: User | None = None,
    spend: factors.Spend | None = None,
) -> Response:
    """Record a further proof in a session, under a new cookie, and go on to a path of this server.

    `user` is the account as it was before the proof: if its password was changed meanwhile, the proof is asked for again. `spend` uses
    the proof up.
    """
    runtime = request.runtime

    async def along(tx: Transaction, _session: Session) -> None:
        if spend is not None:
            await spend(tx)

    raised = sessions.raised_by(session, proved, runtime.now())
    cookie = await sessions.elevate(runtime, session, **raised, proved=user, along=along)
    if cookie is None:
        return redirect(f"{runtime.settings.issuer}/sign-in")
    return redirect(runtime.settings.issuer + path, (visit.session_cookie(request, session, cookie),))
