"""What the pages behind a one-time link share: they offer a passkey, a password, or both, by what people sign in with here."""

from collections.abc import Mapping

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import accounts, enrolment, one_time, passkeys
from watchword.flows.passkeys import DEFAULT_NAME
from watchword.http import Form, Request, Response, redirect
from watchword.pages import browser, errors
from watchword.store.passkeys import MadePasskey
from watchword.store.users import User


def newcomer(request: Request, link: str, username: str) -> User:
    """Return whose account a link makes, before it is there."""
    return User(id=accounts.id_by_link(request.runtime, one_time.digest(link)), username=username)


async def page(
    request: Request,
    template: str,
    context: Mapping[str, object],
    user: User,
    link: str,
    *,
    status: int = 200,
) -> Response:
    """Answer the page of a live link, with what it lets a person set up."""
    runtime = request.runtime
    ways = enrolment.taken(runtime)
    if not ways:
        return errors.no_passwords(request)
    value, fresh = browser.ensure_browser(request)
    asked = await passkeys.creation_options(runtime, value, user, link) if "passkey" in ways else None
    hidden = {"link": link} | ({"challenge": asked[1]} if asked else {})
    offered = {
        "methods": list(ways),
        "passkey_options": asked[0] if asked else "",
        "hidden": hidden,
    }
    return browser.page(request, template, {**offered, **context}, status=status, known=(value, fresh))


def chosen(request: Request, form: Form, user: User, link: str) -> tuple[str | None, MadePasskey | None]:
    """Return the password or the passkey that a form sets up; raise PasskeyRefused."""
    ways = enrolment.taken(request.runtime)
    if "password" in ways and not (form.get("credential") and "passkey" in ways):
        return form.get("new_password") or "", None
    if "passkey" not in ways:
        raise PasskeyRefused("policy")
    made = passkeys.check_made(
        request.runtime,
        user.id,
        browser=browser.browser_of(request) or "",
        challenge=form.get("challenge") or "",
        credential=form.get("credential") or "",
        name=DEFAULT_NAME,
        link=link,
    )
    return None, made


def sign_in(request: Request, notice: str) -> Response:
    """Send somebody to sign in with what was set up: a link alone signs nobody in."""
    return redirect(f"{request.runtime.settings.issuer}/sign-in?notice={notice}")
