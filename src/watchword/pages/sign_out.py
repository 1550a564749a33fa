"""Sign out, on a person's own wish or at an application's request (OpenID Connect RP-Initiated Logout 1.0), in the same way.

A link alone ends no session: without a hint that proves that it means this very session, the person is asked (§6). Nobody is sent to
an address that the asking client did not register (LO-02). Applications to be told through the browser are loaded in hidden frames of
the last page, the only one whose policy allows frames, and only theirs.
"""

from watchword.flows import logout
from watchword.flows.logout import Asked, Decided
from watchword.http import Request, Response, redirect
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, sign_in, visit
from watchword.store.sessions import Session


async def end_session(request: Request) -> Response:
    """Take a logout request of a client, by GET or POST (§2)."""
    form = request.form() if request.method == "POST" else request.query()
    asked = await logout.read(request.runtime, form.single())
    session = await visit.current(request)
    if session is None and request.method == "POST":
        # A browser sends no SameSite=Lax cookie with another site's POST, but does with the GET that follows it.
        sealed = logout.seal(request.runtime, asked)
        return redirect(f"{request.runtime.settings.issuer}/sign-out?request={sealed}")
    return await _go_on(request, asked, session)


async def show(request: Request) -> Response:
    """Ask whether to sign out, or carry out a client's request for it."""
    asked = logout.unseal(request.runtime, request.query().get("request"))
    return await _go_on(request, asked, await visit.current(request))


async def _go_on(request: Request, asked: Asked, session: Session | None) -> Response:
    decided = await logout.decide(request.runtime, asked, session)
    if session is None:
        return _signed_out(request, asked, decided, [])
    if decided.confirm:
        return await _ask(request, asked, decided, session)
    frames = await logout.end(request.runtime, session, everywhere=False)
    return _signed_out(request, asked, decided, frames)


async def _ask(request: Request, asked: Asked, decided: Decided, session: Session) -> Response:
    context = {
        "action": f"{request.runtime.settings.issuer}/sign-out",
        "client": {"name": decided.client.name} if decided.client else None,
        "account": await sign_in.person(request, session),
        "other": decided.other,
        "hidden": {"request": logout.seal(request.runtime, asked), "account": session.user_id},
    }
    targets = [decided.location] if decided.location else []
    return browser.page(
        request, "sign_out", context, form_action=targets, ui_locales=asked.parameters.get("ui_locales")
    )


async def submit(request: Request) -> Response:
    """End the session: its cookie and every copy of it stop working (LO-04)."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    if form.get("decision") == "stay":
        return redirect(f"{request.runtime.settings.issuer}/account")
    asked = logout.unseal(request.runtime, form.get("request"))
    session = await visit.current(request)
    decided = await logout.decide(request.runtime, asked, session)
    if session is None:
        return _signed_out(request, asked, decided, [])
    everywhere = form.get("everywhere") == "yes"
    if everywhere and form.get("account") != session.user_id:
        # Left open since another person was signed in: "everywhere" means that person's devices.
        raise OAuthError(
            "access_denied", "This form was shown to somebody else: open the page again.", field="csrf"
        )
    frames = await logout.end(request.runtime, session, everywhere=everywhere)
    return _signed_out(request, asked, decided, frames)


def _signed_out(request: Request, asked: Asked, decided: Decided, frames: list[str]) -> Response:
    settings = request.runtime.settings
    gone = browser.set_cookie(settings, visit.SESSION_COOKIE, "", 0)
    if decided.location is not None and not frames:
        return redirect(decided.location, (gone,))
    name = decided.client.name if decided.client else ""
    context: dict[str, object] = {
        "frames": frames,
        "continue": {"url": decided.location, "name": name} if decided.location else None,
        "links": {"sign_in": f"{settings.issuer}/sign-in"},
    }
    return browser.page(
        request,
        "signed_out",
        context,
        headers=(gone,),
        frame_src=frames,
        ui_locales=asked.parameters.get("ui_locales"),
    )
