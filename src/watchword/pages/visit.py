"""A visit that becomes a session: what was proved so far, sealed in a cookie, and the session once that is enough.

Theory of operation. After the first factor nobody is signed in yet: the browser gets a cookie in which the server has sealed who gave
which factor and where they wanted to go. It is worthless in another browser, after ten minutes, and without the second factor. When
the factors suffice, `complete` begins the session with a new cookie and ends the old one (SE-01). Linking an account elsewhere waits
until then as well, and always takes the second factor, even in a trusted browser (MF-06).
"""

import base64
import os

import msgspec

from watchword.credentials import methods
from watchword.credentials.methods import Method
from watchword.credentials.upstream import Identity
from watchword.flows import authorization, factors, mail, places, sessions, upstream
from watchword.flows.mail import Origin
from watchword.http import Request, Response, redirect
from watchword.pages import browser, errors, returning
from watchword.store import browsers, interactions, users
from watchword.store import factors as factor_store
from watchword.store.sessions import Session
from watchword.store.upstream_sessions import UpstreamSession
from watchword.store.users import User

SESSION_COOKIE, VISIT_COOKIE = "ww-session", "ww-visit"
LIFETIME = 600


class Visit(msgspec.Struct, frozen=True):
    """Somebody who has proved a first factor and not yet a second; times are Unix seconds."""

    user_id: str
    methods: tuple[Method, ...]
    remember: bool
    back: str
    began_at: int
    proof_epoch: int  # the account's, from before that factor was proved
    proved_at: (
        int  # when that factor was proved, here or at another provider; 0 where the provider did not say
    )
    came_from: UpstreamSession | None = None
    link: Identity | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Visit).decode


async def current(request: Request) -> Session | None:
    """Return the session of a request's cookie, or None."""
    found = await visitor(request)
    return found[0] if found else None


async def visitor(request: Request) -> tuple[Session, User] | None:
    """Return the session of a request's cookie with its person, or None."""
    name = browser.cookie_name(request.runtime.settings, SESSION_COOKIE)
    return await sessions.visitor(request.runtime, request.cookie(name), request.address)


def origin_of(request: Request) -> Origin:
    """Return where a request comes from, for notices."""
    agent = request.header(b"user-agent") or ""
    locale = browser.locale_of(request)
    place = places.place_of(request.runtime, request.address, locale)
    return Origin(request.address, browser.device_of(request, agent).name, locale, place)


async def proceed(
    request: Request,
    user: User,
    used: tuple[Method, ...],
    *,
    remember: bool,
    back: str,
    came_from: UpstreamSession | None = None,
    link: Identity | None = None,
    proved_at: int | None = None,
) -> Response:
    """Go on after a proof: to the second factor where one is needed, else begin the session and link `link` to the account.

    `proved_at` is for a person who proved who they are earlier, at another provider: when that was, in Unix seconds, or 0 where the
    provider does not say. None stands for now.
    """
    runtime = request.runtime
    have = await runtime.database.read(factor_store.enrolled, user.id)
    offered = factors.demanded(runtime.settings, user, have)
    trusted = link is None and await _is_trusted(request, user)
    if not factors.still_needed(used, offered, trusted):
        return await complete(
            request,
            user,
            used,
            remember=remember,
            back=back,
            came_from=came_from,
            link=link,
            proved_at=proved_at,
        )
    now = runtime.now()
    since = now if proved_at is None else proved_at
    visit = Visit(user.id, used, remember, back, now, user.proof_epoch, since, came_from, link)
    return redirect(f"{runtime.settings.issuer}/sign-in/second-factor", (_set(request, visit),))


async def _is_trusted(request: Request, user: User) -> bool:
    value, runtime = browser.browser_of(request), request.runtime
    if value is None or not runtime.settings.second_factor_trusted:
        return False
    digest = browser.digest_of(value)
    return await runtime.database.read(browsers.find_trust, user.id, digest, runtime.now())


def _set(request: Request, visit: Visit) -> tuple[bytes, bytes]:
    context = browser.browser_of(request) or ""
    sealed = request.runtime.root.seal("visit", context, _encode(visit), os.urandom(12))
    text = base64.urlsafe_b64encode(sealed).decode().rstrip("=")
    return browser.set_cookie(request.runtime.settings, VISIT_COOKIE, text, LIFETIME)


def gone(request: Request) -> tuple[bytes, bytes]:
    """Return the header that ends a visit."""
    return browser.set_cookie(request.runtime.settings, VISIT_COOKIE, "", 0)


async def read(request: Request) -> tuple[Visit, User] | None:
    """Return the visit of this browser and its person, or None when there is none that still counts."""
    runtime = request.runtime
    text = request.cookie(browser.cookie_name(runtime.settings, VISIT_COOKIE)) or ""
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        visit = _decode(runtime.root.open("visit", browser.browser_of(request) or "", sealed))
    except ValueError:
        return None
    if not runtime.is_young(visit.began_at, LIFETIME):
        return None
    user = await runtime.database.read(users.get_user, visit.user_id)
    stands = user is not None and user.disabled_at is None and user.proof_epoch == visit.proof_epoch
    return (visit, user) if user is not None and stands else None


def session_cookie(request: Request, session: Session, value: str) -> tuple[bytes, bytes]:
    """Return the header of a running session's new cookie, which lasts as long as the one before."""
    runtime = request.runtime
    max_age = session.expires_at - runtime.now() if session.remembered else None
    return browser.set_cookie(runtime.settings, SESSION_COOKIE, value, max_age)


async def complete(
    request: Request,
    user: User,
    used: tuple[Method, ...],
    *,
    remember: bool,
    back: str,
    trust: bool = False,
    came_from: UpstreamSession | None = None,
    link: Identity | None = None,
    proved_at: int | None = None,
) -> Response:
    """Begin the session and go where the person wanted.

    `came_from` is the session at another provider that signed the person in, `link` the account there to link now, and `proved_at`
    when the level in `acr` was proved, in Unix seconds: None for now, 0 where it is unknown.
    """
    runtime = request.runtime
    if link is not None and not await _link(request, user, link):
        return errors.too_old(request)
    settings = runtime.settings
    acr, amr = methods.assurance(used)
    old = await current(request)
    session, cookie = await sessions.begin(
        runtime,
        user.id,
        acr=acr,
        amr=amr,
        user_agent=request.header(b"user-agent") or "",
        address=request.address,
        browser=browser.source_of(request).browser,
        remember=remember,
        instead_of=old,
        came_from=came_from,
        proved=user,
        proved_at=proved_at,
        confirmed_at=runtime.now() if len(used) > 1 else None,
    )
    await _note_browser(request, user, session if trust else None)
    path = returning.open_return(runtime, back)
    await _note_interaction(request, path)
    max_age = settings.session_remembered if remember else None
    cookies = (browser.set_cookie(settings, SESSION_COOKIE, cookie, max_age), gone(request))
    return redirect(settings.issuer + path, cookies)


async def _link(request: Request, user: User, identity: Identity) -> bool:
    told = mail.notice(
        request.runtime, user, "new_factor", origin_of(request), "/account", change="upstream_linked"
    )
    return await upstream.link(mail.telling(request.runtime, {True: told}), user, identity)


async def _note_browser(request: Request, user: User, trusting: Session | None) -> None:
    runtime = request.runtime
    value = browser.browser_of(request)
    if value is None:
        return
    now, lasts = runtime.now(), runtime.settings.second_factor_trusted
    digest, write = browser.digest_of(value), runtime.database.write
    seen = await write(browsers.note_browser, user.id, digest, now)
    if trusting is not None and lasts:
        held = (user.id, digest, trusting.id)
        await write(browsers.trust_browser, *held, proof_epoch=user.proof_epoch, until=now + lasts, now=now)
    if seen.others and not seen.known:
        await mail.notify(runtime, user, "new_device", origin_of(request), "/account/sessions")


async def _note_interaction(request: Request, path: str) -> None:
    """Note on the authorization request behind this sign-in, if any, that the person has signed in (AZ-11)."""
    interaction = returning.interaction_of(path)
    value = browser.browser_of(request)
    if interaction is not None and value is not None:
        await request.runtime.database.write(
            interactions.note_step,
            interaction,
            authorization.browser_digest(value),
            "sign_in",
            request.runtime.now(),
        )
