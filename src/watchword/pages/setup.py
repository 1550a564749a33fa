"""The first owner: with a one-time link, whoever started the server makes the first account, and nobody after them (LG-24)."""

from watchword.credentials.passkey import PasskeyRefused
from watchword.flows import acting
from watchword.flows.databases import start
from watchword.flows.users import accounts
from watchword.http import Request, Response
from watchword.http.forms import Form
from watchword.oauth import token_format
from watchword.oauth.errors import OAuthError
from watchword.pages import browser, enrolment, errors, passwords, refused_proof

PROBLEMS = {
    "conflict": "username_taken",
    "username": "username_invalid",
    "email": "email_invalid",
}


async def show(request: Request) -> Response:
    """Show the form if the link is live."""
    link = request.query().get("link") or ""
    if not await start.peek_setup(request.runtime, link):
        return errors.expired(request)
    return await _form(request, link)


async def show_again(request: Request, link: str, problem: object) -> Response:
    """Show the form of a live link again, with what went wrong at a provider."""
    return await _form(request, link, problems={"form": problem})


async def create(request: Request) -> Response:
    """Create the owner's account and use up the link."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    link = form.get("link") or ""
    if not await start.peek_setup(request.runtime, link):
        return errors.expired(request)
    username = form.get("username") or ""
    try:
        password, passkey = enrolment.chosen(request, form, enrolment.newcomer(request, link, username), link)
        sealed = await enrolment.waiting(request)
        owner = await accounts.create_owner(
            acting.runtime_from(request.runtime, request.address),
            link=token_format.digest(link),
            username=username,
            email=form.get("email"),
            password=password,
            way=passkey,
        )
    except OAuthError as error:
        return await _form(request, link, form, {_field(error): _problem(error)})
    except PasskeyRefused as refused:
        return await _form(request, link, form, {"form": refused_proof.problem(refused)})
    if owner is None:
        return errors.expired(request)
    notice = "passkey_registered" if passkey else "registered"
    return enrolment.sign_in(request, notice, owner.username, sealed)


async def _form(
    request: Request, link: str, form: Form | None = None, problems: dict[str, object] | None = None
) -> Response:
    values = {name: form.get(name) or "" for name in ("username", "email")} if form else {}
    context = {
        "action": f"{request.runtime.settings.issuer}/setup",
        "password_minimum": accounts.MIN_PASSWORD,
        "values": values,
        "errors": problems or {},
    }
    # Until a user name is typed, the authenticator gets the service's name. The page then replaces it.
    name = values.get("username") or request.runtime.settings.service_name
    owner = enrolment.newcomer(request, link, name)
    return await enrolment.page(request, "setup", context, owner, link, status=400 if problems else 200)


def _field(error: OAuthError) -> str:
    return {"password": "new_password"}.get(error.field or "", error.field or "form")


def _problem(error: OAuthError) -> object:
    if error.field == "password":
        return passwords.problem(error)
    return PROBLEMS.get(error.code) or PROBLEMS.get(error.field or "", "invalid")
