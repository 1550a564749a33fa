"""RFC 6749 §3.1: the authorization endpoint as a person sees it: sign in, agree or not, go back to the application.

What is approved is the stored request, never what a form says (AZ-54). A request under way belongs to one browser (SE-11), and its
consent page to the person it was shown to (AZ-55).
"""

from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote, urlencode

import msgspec

from watchword.credentials.methods import LEVELS
from watchword.flows import anonymous, authorization, authorization_requests, consents, membership
from watchword.flows.authorization_requests import Reference
from watchword.flows.consents import Agreed
from watchword.http import Request, Response, redirect
from watchword.http.forms import REPEATABLE, Form
from watchword.oauth.authorization import AuthorizationRequest, RedirectError
from watchword.oauth.authorization_response import response_location, response_parameters
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.interaction import Facts, Step, next_step, silently
from watchword.pages import browser, demanded, developer, returning, visit
from watchword.pages import consent as consent_page
from watchword.store import interactions
from watchword.store.database import Transaction
from watchword.store.interactions import Interaction
from watchword.store.sessions import Session
from watchword.store.users import User
from watchword.telemetry import log

MAX_QUERY = 6000
# Asked for only once; a level not reached then is answered with the actual one.
ONCE = ("step_up", "select_account", "create")


class UnderWay(msgspec.Struct, frozen=True):
    """An authorization request that a person is about to answer; `kept` is where it waits between two pages, None before the first."""

    request: Request
    asked: AuthorizationRequest
    client: Client
    kept: Interaction | Reference | None

    @property
    def done(self) -> tuple[str, ...]:
        """The steps that were taken for this request."""
        return self.kept.done if isinstance(self.kept, Interaction) else ()


async def authorize(request: Request) -> Response:
    """Take an authorization request, by GET or POST (OIDC Core §3.1.2.1)."""
    if (again := _again_by_get(request)) is not None:
        return again
    form = request.form() if request.method == "POST" else request.query()
    try:
        asked, client, pushed = await authorization_requests.read(
            request.runtime, form.single(), form.all("resource")
        )
        if _is_without_cookies(request):
            return await _again_by_reference(request, client, form)
        return await _proceed(UnderWay(request, asked, client, pushed))
    except OAuthError as error:
        if error.code == "too_many_requests":
            raise
        if error.detail:  # it reaches neither the client nor the page
            log.info("request.refused", path=request.path, error=error.code, detail=error.detail)
        if isinstance(error, RedirectError):
            return _send(request, error.redirect_uri, error.response_mode, error.state, error=error)
        return await _show(request, error)


def _is_without_cookies(request: Request) -> bool:
    """Whether this is another site's form: with such a form browsers send no `SameSite=Lax` cookies (AZ-59)."""
    return request.method == "POST" and browser.is_foreign(request) and browser.browser_of(request) is None


def _again_by_get(request: Request) -> Response | None:
    """Redirect another site's form to the same request by GET, which carries the cookies; None if it is too long for that."""
    if not _is_without_cookies(request):
        return None
    form = request.form()
    query = quote(request.body, safe="=&+%")
    reference = form.get("request_uri")
    # A request_uri is used once, and what is beside it is ignored: leave that out.
    if len(query) > MAX_QUERY and reference and not form.has("request"):
        query = urlencode({"client_id": form.get("client_id") or "", "request_uri": reference})
    if len(query) > MAX_QUERY:
        return None
    return redirect(f"{request.runtime.settings.issuer}/authorize?{query}")


async def _again_by_reference(request: Request, client: Client, form: Form) -> Response:
    """Store the request in another site's form, as if pushed (RFC 9126), and redirect to it by its request_uri."""
    runtime = request.runtime
    anonymous.admit(runtime, "authorize", request.address)
    kept = await authorization_requests.push(runtime, client, form.single(), form.all("resource"), None)
    query = urlencode({"client_id": client.client_id, "request_uri": kept})
    return redirect(f"{runtime.settings.issuer}/authorize?{query}")


async def resume(request: Request) -> Response:
    """Go on with a request after a step."""
    found = await _under_way(request, request.query())
    if found is None:
        return _gone(request)
    interaction, asked = found
    response = await _go_on(request, interaction, asked)
    if request.cookie(browser.cookie_name(request.runtime.settings, returning.WAITING_COOKIE)):
        gone = browser.set_cookie(request.runtime.settings, returning.WAITING_COOKIE, "", 0)
        response.headers = (gone, *response.headers)
    return response


async def _go_on(request: Request, interaction: Interaction, asked: AuthorizationRequest) -> Response:
    try:
        client = await authorization_requests.still_of(request.runtime, asked)
    except OAuthError as error:
        return await _show(request, error)
    return await _proceed(UnderWay(request, asked, client, interaction))


async def _under_way(request: Request, form: Form) -> tuple[Interaction, AuthorizationRequest] | None:
    value = browser.browser_of(request)
    if value is None:
        return None
    return await authorization.resume(request.runtime, form.get("interaction") or "", value)


async def _proceed(way: UnderWay) -> Response:
    """Answer, or ask the person for the next step."""
    request, asked, client = way.request, way.asked, way.client
    runtime = request.runtime
    session, user = await _who(request)
    own = consents.for_person(runtime.settings, asked, client, user) if user else asked
    try:
        earlier = (
            await consents.earlier(runtime, own, client, user.id, session.id)
            if user and session and own
            else None
        )
        implied = bool(
            user and own and not earlier and await consents.is_implied(runtime, own, client, user.id)
        )
        consented = own is None or earlier is not None or implied
        step = await _next_step(way, session, way.done, consented=consented)
        # Not before this step: another account that is signed in to or selected may be open to it.
        if own is None and step in ("consent", "answer"):
            raise membership.nothing_open()
    except OAuthError as error:
        return await _answer_error(way, error)
    if user is not None and step in ("consent", "answer") and await demanded.is_lacking(request, user):
        return await _enrol(way)
    if own is not None and step == "answer" and session is not None:
        if implied:
            earlier = await consents.imply(runtime, own, client, session)
        if earlier is not None:
            return await _answer(way, own, session, earlier)
    return await _ask(way, own, user, step)


async def _next_step(
    way: UnderWay, session: Session | None, done: tuple[str, ...], *, consented: bool, now: int | None = None
) -> Step:
    runtime, client, kept = way.request.runtime, way.client, way.kept
    now = runtime.now() if now is None else now
    facts = Facts(
        session=authorization.signed_in(runtime, client, session) if session else None,
        consented=consented,
        hinted_subject=await authorization.hinted_subject(runtime, client, way.asked),
        supported_acr=LEVELS,
        done=done,  # type: ignore[arg-type]  # steps are kept as text
        now=now,
        began_at=authorization.began_at(kept) if isinstance(kept, Interaction) else now,
    )
    return next_step(way.asked, facts)


async def _who(request: Request) -> tuple[Session | None, User | None]:
    """Return the live session of the browser and its person, or neither."""
    return await visit.visitor(request) or (None, None)


async def _enrol(way: UnderWay) -> Response:
    """Send a person to set up a second factor, and back to the application."""
    if "none" in way.asked.prompt:
        return await _answer_error(way, silently("step_up"))
    value, fresh = browser.ensure_browser(way.request)
    interaction_id = await _keep(way, value, None)
    return demanded.set_up(way.request, returning.RESUME + interaction_id, (fresh,) if fresh else ())


async def _ask(way: UnderWay, own: AuthorizationRequest | None, user: User | None, step: str) -> Response:
    """Show the consent page, or send the person to the page of another step."""
    request, done = way.request, way.done
    runtime = request.runtime
    if user is None and way.kept is None:
        # A pushed request was counted when it was pushed.
        anonymous.admit(runtime, "authorize", request.address)
    value, fresh = browser.ensure_browser(request)
    headers = (fresh,) if fresh else ()
    if step == "consent" and user is not None and own is not None:
        if isinstance(way.kept, Reference):
            # The request_uri is used up: the page must be at a URL that can be opened again.
            interaction_id = await _keep(way, value, None)
            return redirect(f"{runtime.settings.issuer}{returning.RESUME}{interaction_id}", headers)
        shown = consents.shown_to(runtime.settings, own, user, way.client)
        interaction_id = await _keep(way, value, (done, shown))
        return consent_page.page(request, own, way.client, user, interaction_id, (value, fresh))
    if step in ONCE:
        done = (*done, step)
    interaction_id = await _keep(way, value, (done, None))
    back = returning.seal_return(runtime, returning.RESUME + interaction_id)
    pages = {"step_up": "step-up", "select_account": "select-account", "create": "sign-up"}
    page = pages.get(step, "sign-in")
    headers = (*headers, *browser.language_wish(request, way.asked.ui_locales))
    return redirect(f"{runtime.settings.issuer}/{page}?return={back}", headers)


async def _keep(way: UnderWay, value: str, noted: tuple[tuple[str, ...], str | None] | None) -> str:
    """Return the identifier of a request under way in the browser of this value, with the steps taken and whom it was shown to noted;
    raise `invalid_request_uri`."""
    runtime, kept = way.request.runtime, way.kept
    if not isinstance(kept, Interaction):
        done, shown = noted or ((), None)
        return await authorization.begin(runtime, way.asked, value, kept, done=done, shown_to=shown)
    if noted is not None:
        await runtime.database.write(interactions.note_interaction, kept.id, *noted)
    return kept.id


async def consent(request: Request) -> Response:
    """Take the decision of the person to whom the consent page was shown."""
    form = request.form(REPEATABLE | {"scope"})
    # A form is valid for the request that its page showed, and for no other under way in this browser (AZ-53).
    browser.check_csrf(request, form.get("csrf"), form.get("interaction") or "")
    found = await _under_way(request, form)
    session, user = await _who(request)
    if found is None:
        return _gone(request)
    interaction, asked = found
    runtime = request.runtime
    try:
        client = await authorization_requests.still_of(runtime, asked)
    except OAuthError as error:
        return await _show(request, error)
    way = UnderWay(request, asked, client, interaction)
    own = consents.for_person(runtime.settings, asked, client, user) if user else None
    if session is None or user is None or own is None:
        return await _proceed(way)
    shown = consents.shown_to(runtime.settings, own, user, client)
    if not consents.showed_all(interaction.shown_to, shown):  # AZ-55
        return await _proceed(way)
    agreed = consents.chosen(runtime.settings, own, form.all("scope"))
    if form.get("decision") != "approve" or not agreed.answers(own):
        denied = OAuthError("access_denied", "The person did not agree.")
        return await _answer_error(way, denied)
    if await demanded.is_lacking(request, user) or not await _may_answer(way, session, interaction):
        return await _proceed(way)
    remember = consents.remembering(runtime, own, client, session, agreed)
    return await _answer(way, own, session, agreed, remember)


async def _may_answer(way: UnderWay, session: Session, interaction: Interaction) -> bool:
    """Whether only the consent was missing: since the page was shown, the person may have signed in again at a lower level."""
    done = (*way.done, "consent")
    # Time spent reading the page must not make the sign-in too old.
    began_at = authorization.began_at(interaction)
    try:
        step = await _next_step(way, session, done, consented=True, now=began_at)
    except OAuthError:
        return False
    return step == "answer"


async def _answer(
    way: UnderWay,
    own: AuthorizationRequest,
    session: Session,
    agreed: Agreed,
    remember: Callable[[Transaction], Awaitable[None]] | None = None,
) -> Response:
    code = await authorization.answer(way.request.runtime, way.kept, own, session, agreed, remember)
    # Signed out or withdrawn in between, and nobody is there to read a page.
    if code is None and "none" in own.prompt:
        still, _user = await _who(way.request)
        return await _answer_error(way, silently("consent" if still else "sign_in"))
    if code is None:
        return _gone(way.request)
    return _send(way.request, own.redirect_uri, own.response_mode, own.state, code=code)


async def _answer_error(way: UnderWay, error: OAuthError) -> Response:
    if not await _is_answered_first(way.request, way.kept):
        return _gone(way.request)
    asked = way.asked
    return _send(way.request, asked.redirect_uri, asked.response_mode, asked.state, error=error)


async def _is_answered_first(request: Request, kept: Interaction | Reference | None) -> bool:
    """Use up a request, if it was kept; of several answers at once, one is the first."""
    if kept is None:
        return True
    write, now = request.runtime.database.write, request.runtime.now()
    if isinstance(kept, Interaction):
        return await write(interactions.finish_interaction, kept.id, now)
    return await write(interactions.use_pushed_request, kept.digest, now)


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
    context = {
        "redirect_uri": target,
        "host": consent_page.target(target)["host"],
        "fields": dict(parameters),
    }
    return browser.page(request, "form_post", context, form_action=[target])


async def _show(request: Request, error: OAuthError) -> Response:
    """Show a refusal that must not be redirected, because the redirect URI is not verified (RFC 6749 §4.1.2.1)."""
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
