"""The second factor after the first: any that the person has, the strongest offered first; only then are they signed in."""

from functools import partial

from watchword.credentials import methods
from watchword.credentials.methods import Method
from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import factors, mail, passkeys
from watchword.flows.factors import FactorRefused
from watchword.flows.throttle import Throttled
from watchword.flows.users import account_changes
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.pages import asking, browser, refused_proof, sign_in, visit
from watchword.pages.visit import Proved, Visit
from watchword.store import attempts
from watchword.store.database import Transaction
from watchword.store.factors import enrolled
from watchword.store.users import User

PURPOSE = "second factor"


async def show(request: Request) -> Response:
    """Show the form for a second factor, sending a code where it comes by mail."""
    found = await visit.read(request)
    if found is None:
        return redirect(f"{request.runtime.settings.issuer}/sign-in")
    query = request.query()
    return await _page(request, *found, method=query.get("method"), again=query.get("again") == "yes")


async def _page(
    request: Request,
    current: Visit,
    user: User,
    *,
    method: str | None = None,
    problem: object = None,
    again: bool = False,
    status: int = 200,
) -> Response:
    runtime = request.runtime
    settings = runtime.settings
    offered = factors.usable(settings, await runtime.database.read(enrolled, user.id))
    if not offered:
        return redirect(f"{settings.issuer}/sign-in")
    method = method if method in offered else offered[0]
    context, errors = await _method(request, user, method, again, current.back)
    here = f"{settings.issuer}/sign-in/second-factor"
    if problem is not None:
        errors = {"form" if method == "passkey" else "code": problem}
    context |= {
        "action": here,
        "method": method,
        "others": [
            {"method": other, "url": f"{here}?method={other}"} for other in offered if other != method
        ],
        "account": sign_in.describe(request, user),
        "resend_url": f"{here}?method=email_code&again=yes" if method == "email_code" else None,
        "remember_days": settings.second_factor_trusted // 86_400,
        "errors": errors,
    }
    asker = await asking.find(request, current.back)
    return browser.page(
        request,
        "second_factor",
        context,
        status=status,
        form_action=asker.form_action if asker else (),
        ui_locales=asker.ui_locales if asker else None,
    )


async def _method(
    request: Request, user: User, method: str, again: bool, back: str
) -> tuple[dict[str, object], dict[str, object]]:
    """Return what the page needs for a method, and the problems of preparing it."""
    # So that even an expired form leads where the person wanted to go.
    hidden = {"return": back} if back else {}
    context: dict[str, object] = {"passkey_options": "", "email_hint": "", "hidden": hidden}
    if method == "passkey":
        value = browser.browser_of(request) or ""
        asked = await passkeys.request_options(request.runtime, value, PURPOSE, user.id)
        if asked is not None:
            context |= {"passkey_options": asked[0], "hidden": {**hidden, "challenge": asked[1]}}
    if method == "email_code":
        context["email_hint"] = account_changes.masked(user.email or "")
        try:
            sent = await factors.send_email_code(request.runtime, user, visit.origin_of(request), again=again)
        except Throttled as refused:
            return context, {"form": refused_proof.throttled(refused)}
        if sent:
            context["notice"] = "code_sent"
    return context, {}


async def submit(request: Request) -> Response:
    """Check the second factor and begin the session."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    found = await visit.read(request)
    if found is None:
        return await sign_in.form_page(request, form.get("return"), problem="form_expired", status=400)
    current, user = found
    chosen = form.get("method") or ""
    offered = factors.usable(request.runtime.settings, await request.runtime.database.read(enrolled, user.id))
    if chosen not in offered:
        return await _page(request, current, user)
    try:
        method, spend = await check(request, user, chosen, form, PURPOSE)
        used = (*current.methods, method)
        before, after = methods.assurance(current.methods)[0], methods.assurance(used)[0]
        proved = Proved(
            used,
            current.back,
            current.remember,
            current.came_from,
            current.link,
            at=None if methods.renews(before, after, method) else current.proved_at,
            spend=spend,
        )
        return await visit.complete(request, user, proved, trust=form.get("remember") == "yes")
    except (FactorRefused, PasskeyRefused, Throttled) as refused:
        problem, status = await note_refused(request, user, chosen, refused)
        return await _page(request, current, user, method=chosen, problem=problem, status=status)


async def check(
    request: Request, user: User, method: str, form: Form, purpose: str
) -> tuple[Method, factors.Spend]:
    """Check a form's proof by a method; raise FactorRefused, PasskeyRefused or Throttled.

    What is returned beside the method uses a code up, gives the attempt back (LG-03: frequent sign-ins are not throttled), and has the
    owner told when it is a recovery code.
    """
    runtime = request.runtime
    source, origin = browser.source_of(request), visit.origin_of(request)
    bucket = await factors.admit(runtime, user, method, source, origin)
    if method == "passkey":
        _user, proved = await passkeys.prove(
            runtime,
            browser=browser.browser_of(request) or "",
            purpose=purpose,
            challenge=form.get("challenge") or "",
            credential=form.get("credential") or "",
            user_id=user.id,
        )
        return proved, partial(attempts.give_back, bucket=bucket)
    proved, use = await factors.CHECKS[method](runtime, user.id, form.get("code") or "")
    page = "/account/second_factors"
    told = mail.notice(runtime, user, "new_factor", origin, page, change="recovery_code_used")
    tell = mail.adding(runtime, told if proved is Method.RECOVERY_CODE else None)

    async def spend(tx: Transaction) -> None:
        await use(tx)
        await attempts.give_back(tx, bucket)
        await tell(tx)

    return proved, spend


async def note_refused(
    request: Request, user: User, method: str, refused: FactorRefused | PasskeyRefused | Throttled
) -> tuple[object, int]:
    """Record a proof that was not accepted; return the problem to show and the status of the answer."""
    problem = refused_proof.problem(refused)
    if isinstance(refused, Throttled):
        return problem, 429
    await factors.note_refused(request.runtime, user, method, request.address)
    return problem, 401
