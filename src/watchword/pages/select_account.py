"""OpenID Connect Core §3.1.2.1, prompt=select_account: go on as whoever is signed in, or sign in as somebody else."""

from urllib.parse import quote

from watchword.http import Request, Response, redirect
from watchword.pages import asking, browser, returning, sign_in, visit


async def show(request: Request) -> Response:
    """Show who is signed in here, for the application that asked for a choice."""
    sealed = request.query().get("return") or ""
    settings = request.runtime.settings
    session = await visit.current(request)
    elsewhere = f"{settings.issuer}/sign-in?return={quote(sealed)}"
    if session is None:
        return redirect(elsewhere)
    person = await sign_in.person(request, session)
    asker = await asking.find(request, sealed)
    context = {
        "action": f"{settings.issuer}/select-account",
        "client": {"name": asker.name} if asker else None,
        "accounts": [{"id": session.user_id, "name": person["name"], "identifier": person["identifier"]}],
        "links": {"other": elsewhere},
        "hidden": {"return": sealed},
    }
    return browser.page(
        request,
        "select_account",
        context,
        form_action=asker.form_action if asker else (),
        ui_locales=asker.ui_locales if asker else None,
    )


async def choose(request: Request) -> Response:
    """Go on as the account that was chosen, if it is still the one signed in."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    sealed, runtime = form.get("return") or "", request.runtime
    session = await visit.current(request)
    if session is None or form.get("account") != session.user_id:
        return redirect(f"{runtime.settings.issuer}/sign-in?return={quote(sealed)}")
    return redirect(runtime.settings.issuer + returning.open_return(runtime, sealed))
