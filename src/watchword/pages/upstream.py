"""Sign in with another provider: the way there and back, and which account here that person has (FD-01, FD-02, FD-03)."""

import msgspec

from watchword.credentials.methods import Method
from watchword.credentials.passkey import PasskeyRefused
from watchword.credentials.upstream import Identity, UpstreamRefused
from watchword.flows import acting, anonymous, passkeys, sign_in, ways_in
from watchword.flows.factors import Spend
from watchword.flows.sign_in import SignInRefused
from watchword.flows.throttle import Throttled
from watchword.flows.upstream import provider_sign_in, upstream_enrolment, upstream_links
from watchword.http import Request, Response, redirect
from watchword.http.forms import Form
from watchword.oauth.errors import OAuthError
from watchword.pages import (
    account,
    asking,
    browser,
    enrolment,
    errors,
    refused_proof,
    returning,
    second_factor,
    setup,
    sign_up,
    step_up,
    upstream_form,
    visit,
)
from watchword.pages import sign_in as sign_in_page
from watchword.pages.render import Problem
from watchword.pages.visit import Proved
from watchword.store import users
from watchword.store.upstream_sessions import UpstreamSession
from watchword.store.users import User
from watchword.telemetry import count, log

ATTEMPT_COOKIE, LINK_COOKIE = "ww-upstream", "ww-link"
PURPOSE = "link"
LIFETIME = 600
# Refusals that people themselves cause; any other is logged as a warning to the operator.
ORDINARY = frozenset(
    {
        *("denied", "state", "repeated", "session"),
        *("refused_unknown", "refused_address", "refused_disabled", "refused_taken", "refused_proof"),
    }
)

# The problems that a person can act on, by the reason.
SIGN_IN_PROBLEMS = {
    "refused_unknown": "upstream_unknown",
    "refused_address": "upstream_address",
    "auth_time": "upstream_stale",
    "auth_time_missing": "upstream_silent",
}
# The same where an account is to be linked: whoever proved that it is theirs may hear that it is linked to somebody.
LINK_PROBLEMS = {
    "refused_taken": "upstream_taken",
    "refused_disabled": "upstream_taken",
    "auth_time": "upstream_stale",
    "auth_time_missing": "upstream_silent",
}


class Left(msgspec.Struct, frozen=True):
    """What somebody was doing when they left for a provider: going to a path, using a one-time link, or linking to their account."""

    back: str = ""
    enrol: str = ""
    linking: bool = False


class Pending(msgspec.Struct, frozen=True):
    """A proved identity whose mail address belongs to an account here that is not proved yet; times are Unix seconds."""

    provider: str
    identity: Identity
    user_id: str
    back: str
    at: int


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Pending).decode


async def begin(request: Request) -> Response:
    """Send the browser to a provider: to sign in, to link with a ticket of the account page, or to accept with that of an invitation."""
    name, query = request.path_params["name"], request.query()
    enrol, ticket = query.get("enrol"), query.get("link")
    if enrol is not None:
        return await _enrol(request, name, enrol)
    if ticket is None:
        return await _send(request, name, query.get("return") or "")
    found = await account.require_fresh(request, back=returning.DEFAULT)
    upstream_links.check_ticket(request.runtime, found[0].id, name, ticket)
    back = returning.seal_return(request.runtime, returning.DEFAULT)
    return await _send(request, name, back, link_to=found[1].id)


async def _enrol(request: Request, name: str, ticket: str) -> Response:
    value = browser.browser_of(request) or ""
    link = await upstream_enrolment.open_ticket(request.runtime, value, name, ticket)
    if link is None:
        return errors.expired(request)
    return await _send(request, name, await enrolment.waiting(request) or "", enrol=link)


async def unlink(request: Request) -> Response:
    """My account: unlink a provider."""
    found = await account.require_fresh(request, back=returning.DEFAULT)
    form = account.form_of(request, found)
    within, headers = account.changing(
        request, found, form, page="/account", change="upstream_unlinked", done="removed"
    )
    outcome = await ways_in.unlink(within, found[0], form.get("provider") or "")
    if outcome == "last":
        return await account.show_overview(request, found, {"form": "passkey_last"})
    if outcome == "unknown":
        await account.unchanged(request, found, form)
    return account.done(request, "overview", "upstream_unlinked", headers if outcome == "removed" else ())


async def _send(request: Request, name: str, back: str, *, link_to: str = "", enrol: str = "") -> Response:
    runtime = request.runtime
    value, fresh = browser.ensure_browser(request)
    max_age, for_application = await _max_age(request, back)
    try:
        address, sealed = await provider_sign_in.begin(
            runtime,
            name,
            value,
            back,
            link_to=link_to,
            enrol=enrol,
            max_age=max_age,
            for_application=for_application,
        )
    except UpstreamRefused as refused:
        return await _failed(request, name, refused, Left(back, enrol, bool(link_to)))
    cookie = browser.set_cookie(runtime.settings, ATTEMPT_COOKIE, sealed, LIFETIME)
    return redirect(address, (cookie, *((fresh,) if fresh else ())))


async def _max_age(request: Request, back: str) -> tuple[int | None, bool]:
    """Return how old a proof at the provider may be, in seconds, None for any, and whether the application asks for a limit.

    Somebody signed in already comes to prove it again, so the provider must not answer from its own session. Otherwise the limit is that
    of the application for which they sign in.
    """
    is_here = await visit.current(request) is not None
    if not is_here:
        anonymous.admit(request.runtime, "provider", request.address)
    asker = await asking.find(request, back)
    wished = asker.max_age if asker else None
    return 0 if is_here else wished, wished is not None


async def _failed(request: Request, name: str, refused: UpstreamRefused, left: Left) -> Response:
    """Show again the page from which somebody left for the provider, saying why it failed."""
    note = log.info if refused.reason in ORDINARY else log.warning
    note("upstream.refused", provider=name, reason=refused.reason, detail=refused.detail)
    title = provider_sign_in.configured(request.runtime, name).title
    if not (left.enrol or left.linking):
        count("sign_ins", "provider", "refused")
    known = LINK_PROBLEMS if left.enrol or left.linking else SIGN_IN_PROBLEMS
    problem = Problem(known.get(refused.reason, "upstream_failed"), {"provider": title})
    if left.enrol:
        return await _enrol_again(request, left.enrol, problem)
    person = await visit.visitor(request) if left.linking else None
    if person is not None:
        return await account.show_overview(request, person, {"form": problem})
    return await sign_in_page.form_page(request, left.back or None, problem=problem, status=400)


async def _enrol_again(request: Request, link: str, problem: object) -> Response:
    if await upstream_enrolment.for_owner(request.runtime, link):
        return await setup.show_again(request, link, problem)
    return await sign_up.show_again(request, link, problem)


async def callback(request: Request) -> Response:
    """Take the provider's answer and go on with whoever it proves."""
    runtime = request.runtime
    name = request.path_params["name"]
    cookie = request.cookie(browser.cookie_name(runtime.settings, ATTEMPT_COOKIE))
    begun = provider_sign_in.open_attempt(runtime, name, browser.browser_of(request) or "", cookie or "")
    left = Left(begun.back, begun.enrol, bool(begun.link_to)) if begun else Left()
    session = await visit.current(request)
    try:
        found = await provider_sign_in.finish(
            runtime,
            name,
            begun,
            upstream_form.answer_of(request, name),
            current_user=session.user_id if session else None,
            current_is_fresh=session is not None and step_up.is_fresh(session, runtime.now()),
        )
        if found.outcome == "enrol":
            return await _enrolled(request, found, left.enrol)
    except UpstreamRefused as refused:
        again = await _on_from(request, left) if refused.reason == "repeated" else None
        return again or await _failed(request, name, refused, left)
    return await _go_on(request, name, found, left)


async def _on_from(request: Request, left: Left) -> Response | None:
    """Go on from an answer that this browser has brought already, as people do who go back; None where nothing has come of it."""
    runtime = request.runtime
    if await visit.current(request) is not None:
        return redirect(runtime.settings.issuer + returning.open_return(runtime, left.back))
    if await visit.read(request) is not None:
        return redirect(f"{runtime.settings.issuer}/sign-in/second-factor")
    return None


async def _enrolled(request: Request, found: provider_sign_in.Found, link: str) -> Response:
    """Create a link's account for the person that the provider proved, and sign them in."""
    try:
        told = acting.runtime_from(request.runtime, request.address)
        made = await upstream_enrolment.accept(told, link, found.identity)
    except OAuthError:
        owner = await upstream_enrolment.for_owner(request.runtime, link)
        return await _enrol_again(request, link, "username_taken" if owner else "address_taken")
    return errors.expired(request) if made is None else await _signed_in(request, made, found)


async def _go_on(request: Request, name: str, found: provider_sign_in.Found, left: Left) -> Response:
    runtime = request.runtime
    if found.outcome == "sign_in" and found.user is not None:
        return await _signed_in(request, found.user, found)
    if found.outcome == "link":
        came = await visit.visitor(request)
        if came is not None:
            within, headers = account.changing(request, came, None, page="/account", change="upstream_linked")
            if await upstream_links.link(within, came[1], found.identity, came[0]):
                return account.done(request, "overview", "upstream_linked", headers)
    if found.outcome in ("register", "refused_unknown") and found.user is not None:
        return _ask_to_link(request, name, found, found.user)
    if found.outcome == "register":
        made = await upstream_links.register(acting.runtime_from(runtime, request.address), found.identity)
        if made is not None:
            return await _signed_in(request, made, found)
    # An address may also be taken by one that looks like it
    known = found.outcome == "refused_unknown"
    taken = known and await upstream_links.is_address_taken(runtime, found.identity)
    reason = "refused_address" if taken or found.outcome == "register" else found.outcome
    return await _failed(request, name, UpstreamRefused(reason), left)


async def _signed_in(request: Request, user: User, found: provider_sign_in.Found) -> Response:
    count("sign_ins", "provider", "accepted")
    came_from = _session_of(found.identity, found.answered_at)
    here = await visit.current(request)
    proved = Proved(
        (Method.UPSTREAM,),
        found.back,
        # Somebody who proves again who they are said before whether this device is to be remembered.
        remember=here is not None and here.user_id == user.id and here.remembered,
        came_from=came_from,
        at=found.identity.auth_time or 0,
    )
    return await visit.proceed(request, user, proved)


def _session_of(identity: Identity, answered_at: int) -> UpstreamSession:
    return UpstreamSession(identity.issuer, identity.sub, identity.sid, answered_at)


def _ask_to_link(request: Request, name: str, found: provider_sign_in.Found, user: User) -> Response:
    runtime = request.runtime
    pending = Pending(name, found.identity, user.id, found.back, found.answered_at)
    context = browser.browser_of(request) or ""
    sealed = runtime.root.seal_text("link", context, _encode(pending))
    cookie = browser.set_cookie(runtime.settings, LINK_COOKIE, sealed, LIFETIME)
    return redirect(f"{runtime.settings.issuer}/upstream/link", (cookie,))


async def _pending(request: Request) -> tuple[Pending, User] | None:
    runtime = request.runtime
    text = request.cookie(browser.cookie_name(runtime.settings, LINK_COOKIE))
    try:
        pending = _decode(runtime.root.open_text("link", browser.browser_of(request) or "", text or ""))
    except ValueError:
        return None
    user = await runtime.database.read(users.get_user, pending.user_id)
    fresh = runtime.is_young(pending.at, LIFETIME)
    return (pending, user) if fresh and user is not None and user.disabled_at is None else None


async def show_link(request: Request) -> Response:
    """Ask for a proof of the account here, before the two are linked."""
    found = await _pending(request)
    return errors.too_old(request) if found is None else await _link_page(request, *found)


async def _link_page(
    request: Request, pending: Pending, user: User, problem: object = None, status: int = 200
) -> Response:
    runtime = request.runtime
    allowed = runtime.settings.sign_in_methods
    value = browser.browser_of(request) or ""
    asked = await passkeys.request_options(runtime, value, PURPOSE, user.id) if "passkey" in allowed else None
    identity = pending.identity
    context = {
        "action": f"{runtime.settings.issuer}/upstream/link",
        "provider": {"name": provider_sign_in.configured(runtime, pending.provider).title},
        "upstream": {"identifier": identity.verified_email or identity.preferred_username or identity.sub},
        "account": sign_in_page.describe(request, user),
        "methods": [*(["password"] if "password" in allowed else []), *(["passkey"] if asked else [])],
        "passkey_options": asked[0] if asked else "",
        "errors": {"form": problem} if problem else {},
        "hidden": {"challenge": asked[1]} if asked else {},
    }
    return browser.page(request, "link_account", context, status=status)


async def link(request: Request) -> Response:
    """Link the two once the account here is proved as well, with every factor that a sign-in needs, or leave them apart."""
    form = request.form()
    browser.check_csrf(request, form.get("csrf"))
    found = await _pending(request)
    if found is None:
        return errors.too_old(request)
    pending, user = found
    runtime = request.runtime
    gone = browser.set_cookie(runtime.settings, LINK_COOKIE, "", 0)
    if form.get("decision") == "cancel":
        return redirect(f"{runtime.settings.issuer}/sign-in", (gone,))
    try:
        method, spend = await _check(request, user, form)
        proved = Proved(
            (method, Method.UPSTREAM),
            pending.back,
            came_from=_session_of(pending.identity, pending.at),
            link=pending.identity,
            spend=spend,
        )
        return await visit.proceed(request, user, proved)
    except SignInRefused:
        return await _link_page(request, pending, user, "password_wrong", 401)
    except PasskeyRefused as refused:
        problem, status = await second_factor.note_refused(request, user, "passkey", refused)
        return await _link_page(request, pending, user, problem, status)
    except Throttled as refused:
        return await _link_page(request, pending, user, refused_proof.problem(refused), 429)


async def _check(request: Request, user: User, form: Form) -> tuple[Method, Spend | None]:
    allowed = request.runtime.settings.sign_in_methods
    if form.get("credential") and "passkey" in allowed:
        return await second_factor.check(request, user, "passkey", form, PURPOSE)
    if "password" not in allowed:
        raise SignInRefused
    source, password = browser.source_of(request), form.get("password") or ""
    proved = await sign_in.by_password(request.runtime, user.username, password, source)
    if proved.id != user.id:
        raise SignInRefused
    return Method.PASSWORD, None
