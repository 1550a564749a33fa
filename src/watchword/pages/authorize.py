"""RFC 6749 §3.1: the authorization endpoint as a person sees it: sign in, agree or not, go back to the application.

What is approved is what the server kept, never what a form says (AZ-54). A request under way belongs to one browser (SE-11), and a
consent to the person to whom it was shown (AZ-55).
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from watchword.credentials.methods import LEVELS
from watchword.flows import authorization, factors
from watchword.http import Form, Request, Response, redirect
from watchword.oauth import redirect_uri
from watchword.oauth.authorization import AuthorizationRequest, RedirectError
from watchword.oauth.authorization_response import response_location, response_parameters
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.interaction import next_step
from watchword.pages import browser, developer, returning, scopes, sign_in, visit
from watchword.store import grants, interactions, users
from watchword.store.factors import enrolled
from watchword.store.interactions import Interaction
from watchword.store.sessions import Session


async def authorize(request: Request) -> Response:
    """Take an authorization request, by GET or POST (OIDC Core §3.1.2.1)."""
    form = request.form() if request.method == "POST" else request.query()
    try:
        asked, client = await authorization.read_request(request.runtime, form.single(), form.all("resource"))
        return await _proceed(request, asked, client, None)
    except RedirectError as error:
        return _send(request, error.redirect_uri, error.response_mode, error.state, error=error)
    except OAuthError as error:
        return await _show(request, error)


async def resume(request: Request) -> Response:
    """Go on with a request after a step."""
    found = await _under_way(request, request.query())
    if found is None:
        return _gone(request)
    interaction, asked = found
    return await _go_on(request, interaction, asked)


async def _go_on(request: Request, interaction: Interaction, asked: AuthorizationRequest) -> Response:
    try:
        client = await authorization.client_of(request.runtime, asked.client_id)
    except OAuthError as error:
        return await _show(request, error)
    return await _proceed(request, asked, client, interaction)


async def _under_way(request: Request, form: Form) -> tuple[Interaction, AuthorizationRequest] | None:
    value = browser.browser_of(request)
    if value is None:
        return None
    return await authorization.resume(request.runtime, form.get("interaction") or "", value)


async def _proceed(
    request: Request, asked: AuthorizationRequest, client: Client, interaction: Interaction | None
) -> Response:
    runtime = request.runtime
    session = await visit.current(request)
    done = interaction.done if interaction else ()
    try:
        hinted = authorization.hinted_subject(runtime, asked)
        consented = session is not None and await authorization.has_consented(
            runtime, asked, client, session.user_id
        )
        step = next_step(
            asked,
            authorization.signed_in(session) if session else None,
            consented=consented,
            hinted_subject=hinted,
            supported_acr=LEVELS,
            done=done,  # type: ignore[arg-type]  # steps are kept as text
            now=runtime.now(),
        )
    except OAuthError as error:
        return await _answer_error(request, asked, interaction, error)
    if session is not None and step in ("consent", "answer") and await _must_enrol(request, session):
        return redirect(f"{runtime.settings.issuer}/account/second_factors")
    if step == "answer" and session is not None:
        return await _answer(request, asked, session, interaction)
    return await _ask(request, asked, client, session, interaction, step)


async def _must_enrol(request: Request, session: Session) -> bool:
    """Whether policy demands a second factor of a person who has none yet: no application is answered before."""
    runtime = request.runtime
    user = await runtime.database.read(users.get_user, session.user_id)
    if user is None or not factors.is_required(runtime.settings, user):
        return False
    have = await runtime.database.read(enrolled, user.id)
    return not factors.usable(runtime.settings, have)


async def _ask(
    request: Request,
    asked: AuthorizationRequest,
    client: Client,
    session: Session | None,
    interaction: Interaction | None,
    step: str,
) -> Response:
    runtime = request.runtime
    value, fresh = browser.ensure_browser(request)
    done = interaction.done if interaction else ()
    interaction_id = interaction.id if interaction else await authorization.begin(runtime, asked, value)
    headers = (fresh,) if fresh else ()
    if step == "consent" and session is not None:
        await runtime.database.write(interactions.note_interaction, interaction_id, done, session.user_id)
        return await _consent_page(request, asked, client, session, interaction_id)
    if step in ("step_up", "select_account"):  # asked once: what cannot be reached is answered honestly
        done = (*done, step)
    await runtime.database.write(interactions.note_interaction, interaction_id, done, None)
    back = returning.seal_return(runtime, f"/authorize/resume?interaction={interaction_id}")
    page = {"step_up": "step-up", "select_account": "select-account"}.get(step, "sign-in")
    wish = browser.language_wish(request, asked.ui_locales)
    return redirect(f"{runtime.settings.issuer}/{page}?return={back}{wish}", headers)


async def _consent_page(
    request: Request, asked: AuthorizationRequest, client: Client, session: Session, interaction_id: str
) -> Response:
    context = {
        "action": f"{request.runtime.settings.issuer}/authorize/consent",
        "client": described(client),
        "redirect": _target(asked.redirect_uri),
        "account": await sign_in.person(request, session),
        "scopes": [scopes.described(request, scope) for scope in asked.scope],
        "resources": [scopes.resource(request, uri) for uri in asked.audience],
        "details": [],
        "offline": "offline_access" in asked.scope,
        "remember": None,
        "hidden": {"interaction": interaction_id},
    }
    locale = asked.ui_locales[0] if asked.ui_locales else None
    return browser.page(request, "consent", context, form_action=[asked.redirect_uri], ui_locales=locale)


def described(client: Client) -> dict[str, str | None]:
    """Return how the pages show an application, and where its name comes from."""
    origin = {"registered": "registered", "dynamic": "self_registered", "document": "metadata_document"}[
        client.origin
    ]
    host = urlsplit(client.client_id).netloc if client.origin == "document" else None
    return {"name": client.name, "origin": origin, "host": host, "logo": None, "home_url": client.client_uri}


def _target(uri: str) -> dict[str, str]:
    scheme, _, rest = uri.partition("://")
    if scheme not in ("https", "http"):
        return {"kind": "app", "host": uri.partition(":")[0] + ":"}
    kind = "loopback" if redirect_uri.is_loopback(uri) else "web"
    return {"kind": kind, "host": rest.partition("/")[0].partition("?")[0]}


async def consent(request: Request) -> Response:
    """Take the decision of the person to whom the consent page was shown."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    found = await _under_way(request, form)
    session = await visit.current(request)
    if found is None:
        return _gone(request)
    interaction, asked = found
    if session is None or interaction.shown_to != session.user_id:  # AZ-55
        return await _go_on(request, interaction, asked)
    if form.get("decision") != "approve":
        denied = OAuthError("access_denied", "The person did not agree.")
        return await _answer_error(request, asked, interaction, denied)
    await request.runtime.database.write(
        grants.remember_consent,
        session.user_id,
        asked.client_id,
        " ".join(asked.audience),
        " ".join(asked.scope),
        request.runtime.now(),
    )
    return await _answer(request, asked, session, interaction)


async def _answer(
    request: Request, asked: AuthorizationRequest, session: Session, interaction: Interaction | None
) -> Response:
    runtime = request.runtime
    if interaction is not None and not await runtime.database.write(
        interactions.finish_interaction, interaction.id, runtime.now()
    ):
        return _gone(request)
    code = await authorization.issue_code(runtime, asked, session, asked.scope)
    return _send(request, asked.redirect_uri, asked.response_mode, asked.state, code=code)


async def _answer_error(
    request: Request, asked: AuthorizationRequest, interaction: Interaction | None, error: OAuthError
) -> Response:
    if interaction is not None:
        await request.runtime.database.write(
            interactions.finish_interaction, interaction.id, request.runtime.now()
        )
    return _send(request, asked.redirect_uri, asked.response_mode, asked.state, error=error)


def _send(
    request: Request,
    target: str,
    mode: str,
    state: str | None,
    *,
    code: str | None = None,
    error: OAuthError | None = None,
) -> Response:
    parameters = response_parameters(
        issuer=request.runtime.settings.issuer, state=state, code=code, error=error
    )
    if mode == "form_post":
        return _form_post(request, target, parameters)
    return redirect(response_location(target, parameters))


def _form_post(request: Request, target: str, parameters: Mapping[str, str]) -> Response:
    context = {"redirect_uri": target, "host": _target(target)["host"], "fields": dict(parameters)}
    return browser.page(request, "form_post", context, form_action=[target])


async def _show(request: Request, error: OAuthError) -> Response:
    """Show a refusal that must not be sent anywhere, because the address to send it to is not verified."""
    names = {"redirect_uri": "redirect_mismatch", "client_id": "unknown_client"}
    context = {
        "problem_name": names.get(error.field or "", "general"),
        "reference": error.code,
        "links": {"home": None},
        "developer": await developer.explain(request, error),
    }
    return browser.page(request, "error", context, status=400)


def _gone(request: Request) -> Response:
    context = {
        "problem_name": "expired",
        "reference": "interaction",
        "links": {"home": None},
        "developer": None,
    }
    return browser.page(request, "error", context, status=400)
