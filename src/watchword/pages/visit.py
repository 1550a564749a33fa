"""A visit that becomes a session: what was proved so far, sealed in a cookie, and the session once that is enough.

Theory of operation. After the first factor nobody is signed in yet: the browser gets a cookie in which the server has sealed who gave
which factor and where they wanted to go. It is worthless in another browser, after ten minutes, and without the second factor. When
the factors suffice, `complete` begins the session with a new cookie and ends the old one (SE-01). Linking an account elsewhere waits
until then as well, and always takes the second factor, even in a trusted browser (MF-06).
"""

import msgspec

from watchword.credentials import methods
from watchword.credentials.methods import Method
from watchword.credentials.upstream import Identity
from watchword.flows import authorization, factors, mail, places, sessions
from watchword.flows.mail import Origin
from watchword.flows.users import accounts
from watchword.http import Request, Response, redirect
from watchword.pages import browser, errors, returning
from watchword.store import browsers, interactions, upstream_accounts, users
from watchword.store import factors as factor_store
from watchword.store.database import Transaction
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


class Proved(msgspec.Struct, frozen=True):
    """What somebody has just proved, by which methods, and where they want to go.

    `came_from` is the session at another provider that signed them in, `link` the account there to link when the session begins. `at` is
    when the proof was given, in Unix seconds: None for now, 0 where another provider does not say. `spend` uses the proof up.
    """

    methods: tuple[Method, ...]
    back: str
    remember: bool = False
    came_from: UpstreamSession | None = None
    link: Identity | None = None
    at: int | None = None
    spend: factors.Spend | None = None


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


async def proceed(request: Request, user: User, proved: Proved) -> Response:
    """Go on after a proof: to the second factor where one is needed, else begin the session."""
    runtime = request.runtime
    have = await runtime.database.read(factor_store.enrolled, user.id)
    offered = factors.demanded(runtime.settings, user, have)
    trusted = proved.link is None and await _is_trusted(request, user)
    if not factors.still_needed(proved.methods, offered, trusted):
        return await complete(request, user, proved)
    if proved.spend is not None:
        await runtime.database.write(proved.spend)
    now = runtime.now()
    visit = Visit(
        user_id=user.id,
        methods=proved.methods,
        remember=proved.remember,
        back=proved.back,
        began_at=now,
        proof_epoch=user.proof_epoch,
        proved_at=now if proved.at is None else proved.at,
        came_from=proved.came_from,
        link=proved.link,
    )
    return redirect(f"{runtime.settings.issuer}/sign-in/second-factor", (_set(request, visit),))


async def _is_trusted(request: Request, user: User) -> bool:
    value, runtime = browser.browser_of(request), request.runtime
    if value is None or not runtime.settings.second_factor_trusted:
        return False
    digest = browser.digest_of(value)
    return await runtime.database.read(browsers.find_trust, user.id, digest, runtime.now())


def _set(request: Request, visit: Visit) -> tuple[bytes, bytes]:
    context = browser.browser_of(request) or ""
    text = request.runtime.root.seal_text("visit", context, _encode(visit))
    return browser.set_cookie(request.runtime.settings, VISIT_COOKIE, text, LIFETIME)


def gone(request: Request) -> tuple[bytes, bytes]:
    """Return the header that ends a visit."""
    return browser.set_cookie(request.runtime.settings, VISIT_COOKIE, "", 0)


async def read(request: Request) -> tuple[Visit, User] | None:
    """Return the visit of this browser and its person, or None when there is none that still counts."""
    runtime = request.runtime
    text = request.cookie(browser.cookie_name(runtime.settings, VISIT_COOKIE)) or ""
    try:
        visit = _decode(runtime.root.open_text("visit", browser.browser_of(request) or "", text))
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


async def complete(request: Request, user: User, proved: Proved, *, trust: bool = False) -> Response:
    """Begin the session and go where the person wanted; with `trust` this browser needs no second factor for a while.

    All of it is one transaction: where the database fails, the person can send the same form again, and no session is left that nobody
    has the cookie of.
    """
    runtime = request.runtime
    settings = runtime.settings
    acr, amr = methods.assurance(proved.methods)
    old = await current(request)
    path = returning.open_return(runtime, proved.back)
    try:
        _session, cookie = await sessions.begin(
            runtime,
            user.id,
            acr=acr,
            amr=amr,
            user_agent=request.header(b"user-agent") or "",
            address=request.address,
            browser=browser.source_of(request).browser,
            remember=proved.remember,
            instead_of=old,
            came_from=proved.came_from,
            proved=user,
            proved_at=proved.at,
            confirmed_at=runtime.now() if len(proved.methods) > 1 else None,
            along=_arriving(request, user, path, proved, trust=trust),
        )
    except _NotLinked:
        return errors.too_old(request)
    max_age = settings.session_remembered if proved.remember else None
    cookies = (browser.set_cookie(settings, SESSION_COOKIE, cookie, max_age), gone(request))
    return redirect(settings.issuer + path, cookies)


class _NotLinked(Exception):
    """The account at another provider is linked to somebody already, or what proved the account here was removed meanwhile."""


def _arriving(request: Request, user: User, path: str, proved: Proved, *, trust: bool) -> sessions.Along:
    """Return what belongs to the beginning of a session: the proof is used up, the account elsewhere linked, the browser noted, and its
    person told by mail of a new one."""
    runtime, origin, value = request.runtime, origin_of(request), browser.browser_of(request)
    link, spend = proved.link, proved.spend
    now, lasts = runtime.now(), runtime.settings.second_factor_trusted if trust else 0
    linked = mail.notice(runtime, user, "new_factor", origin, "/account", change="upstream_linked")
    tell_linked = mail.adding(runtime, linked if link is not None else None)
    tell_new = mail.adding(runtime, mail.notice(runtime, user, "new_device", origin, "/account/sessions"))
    interaction = returning.interaction_of(path)

    async def arrive(tx: Transaction, session: Session) -> None:
        if spend is not None:
            await spend(tx)
        if link is not None:
            account = accounts.upstream_account(link, user, now)
            if not await upstream_accounts.link_proved(tx, account, proof_epoch=user.proof_epoch):
                raise _NotLinked
            await tell_linked(tx)
        if value is None:
            return
        digest = browser.digest_of(value)
        seen = await browsers.note_browser(tx, user.id, digest, now)
        if lasts:
            held = (user.id, digest, session.id)
            until = now + lasts
            await browsers.trust_browser(tx, *held, proof_epoch=user.proof_epoch, until=until, now=now)
        if seen.others and not seen.known:
            await tell_new(tx)
        if interaction is not None:  # the authorization request behind this sign-in (AZ-11)
            known = authorization.browser_digest(value)
            await interactions.note_step(tx, interaction, known, "sign_in", now)

    return arrive
