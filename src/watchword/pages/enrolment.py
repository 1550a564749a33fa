"""What the pages behind a one-time link share: they offer a passkey, a password or a provider, as this service allows for signing in."""

from collections.abc import Mapping
from urllib.parse import quote

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import one_time, passkeys
from watchword.flows.passkeys import DEFAULT_NAME
from watchword.flows.upstream import upstream_enrolment
from watchword.flows.users import accounts, enrolment
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.pages import asking, browser, errors, returning
from watchword.store.passkeys import MadePasskey
from watchword.store.users import User


def newcomer(request: Request, link: str, username: str) -> User:
    """Return the person whose account a link is about to create."""
    return User(id=accounts.id_by_link(request.runtime, one_time.digest(link)), username=username)


async def page(
    request: Request,
    template: str,
    context: Mapping[str, object],
    user: User,
    link: str,
    *,
    only: tuple[str, ...] | None = None,
    status: int = 200,
) -> Response:
    """Answer the page of a live link with what a person can set up: `only` that, or any way to sign in here."""
    runtime = request.runtime
    ways = enrolment.choices(runtime) if only is None else only
    value, fresh = browser.ensure_browser(request)
    providers = _providers(request, value, link) if only is None else []
    if not ways and not providers:
        return errors.no_passwords(request)
    asked = await passkeys.creation_options(runtime, value, user, link) if "passkey" in ways else None
    hidden = {"link": link} | ({"challenge": asked[1]} if asked else {})
    offered = {
        "methods": list(ways),
        "providers": providers,
        "passkey_options": asked[0] if asked else "",
        "hidden": hidden,
    }
    return browser.page(request, template, {**offered, **context}, status=status, known=(value, fresh))


def _providers(request: Request, value: str, link: str) -> list[dict[str, str]]:
    """Return the providers by which a link can be accepted, each with the URL that begins it in this browser."""
    runtime = request.runtime
    return [
        {
            "name": one.title,
            "url": f"{runtime.settings.issuer}/upstream/{one.name}"
            f"?enrol={upstream_enrolment.ticket(runtime, value, one.name, link)}",
        }
        for one in runtime.settings.upstream
    ]


def chosen(request: Request, form: Form, user: User, link: str) -> tuple[str | None, MadePasskey | None]:
    """Return the password or the passkey that a form sets up; raise PasskeyRefused."""
    ways = enrolment.choices(request.runtime)
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


async def waiting(request: Request) -> str | None:
    """Return the sealed path back to the application that waits in this browser until an account is made.

    To be asked before a link is used up, which no page that is sent again can do.
    """
    sealed = request.cookie(browser.cookie_name(request.runtime.settings, returning.REGISTERING_COOKIE))
    return sealed if await asking.find(request, sealed) is not None else None


def sign_in(request: Request, notice: str, username: str, sealed: str | None) -> Response:
    """Send somebody to sign in with what they set up, their user name filled in: a link alone signs nobody in.

    From there they go back to the application that waits in this browser, if any.
    """
    runtime = request.runtime
    name = returning.seal_name(runtime, browser.browser_of(request) or "", username)
    cookie = browser.set_cookie(runtime.settings, returning.NAME_COOKIE, name, returning.NAME_LIFETIME)
    back = f"&return={quote(sealed)}" if sealed else ""
    return redirect(f"{runtime.settings.issuer}/sign-in?notice={notice}{back}", (cookie,))
