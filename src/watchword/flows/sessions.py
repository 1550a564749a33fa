"""Sessions of people: begun after a proof, recognised by a cookie, ended everywhere at once.

A session is never the first proof of who somebody is. Its cookie is replaced whenever its rights change: at sign-in, at elevation, at a
change of credentials; the former cookie is void.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypedDict, TypeVar

from watchword.credentials import methods
from watchword.credentials.methods import Method
from watchword.flows.acting import in_the_session, runtime_with
from watchword.flows.identifiers import new_id
from watchword.flows.runtime import Runtime
from watchword.oauth import token_format
from watchword.oauth.errors import OAuthError
from watchword.store import sessions as store
from watchword.store.database import Transaction
from watchword.store.sessions import Session
from watchword.store.upstream_sessions import UpstreamSession
from watchword.store.users import User
from watchword.telemetry import clean

T = TypeVar("T")
Along = Callable[[Transaction, Session], Awaitable[None]]

MAX_SESSIONS = 100
TOUCH_INTERVAL = 60
MAX_USER_AGENT = 200


async def begin(
    runtime: Runtime,
    user_id: str,
    *,
    acr: str,
    amr: tuple[str, ...],
    user_agent: str,
    address: str,
    browser: bytes = b"",
    remember: bool = False,
    instead_of: Session | None = None,
    came_from: UpstreamSession | None = None,
    proved: User | None = None,
    proved_at: int | None = None,
    confirmed_at: int | None = None,
    along: Along | None = None,
) -> tuple[Session, str]:
    """Begin a session for a person who has just been authenticated; return it and its cookie's value.

    `instead_of` is the session that the browser had: the same person goes on in it with a new cookie, so that what was issued in it
    stays valid; another person's session ends (SE-01). `came_from` is the session at the provider that authenticated the person.
    `proved` is the account as read before the proof: raise `access_denied` if it, or what was proved, was changed or removed since.
    `proved_at` is when what `acr` says was proved (Unix seconds; default now, 0 unknown), `confirmed_at` when anything was proved last.
    `along` is done in the transaction that begins the session; what it raises undoes that.
    """
    now = runtime.now()
    since = now if proved_at is None else min(proved_at, now)
    confirmed = (since or now) if confirmed_at is None else confirmed_at
    if instead_of is not None and instead_of.user_id == user_id:
        go_on = partial(elevate, remember=remember, came_from=came_from, proved=proved, along=along)
        renewed = await go_on(
            runtime, instead_of, acr=acr, amr=amr, authenticated_at=since, confirmed_at=confirmed
        )
        if renewed is not None:
            return instead_of, renewed
    remembered, idle, end_at = _limits(runtime, remember, now)
    session = Session(
        id=new_id("session"),
        user_id=user_id,
        created_at=now,
        authenticated_at=since,
        last_seen_at=now,
        idle_expires_at=idle,
        expires_at=end_at,
        acr=acr,
        amr=amr,
        user_agent=clean(user_agent)[:MAX_USER_AGENT],
        address=address,
        remembered=remembered,
        confirmed_at=confirmed,
        browser=browser,
    )
    other = instead_of if instead_of is not None and instead_of.user_id != user_id else None
    return session, await _store(runtime, session, came_from, proved, along, other)


async def _store(
    runtime: Runtime,
    session: Session,
    came_from: UpstreamSession | None,
    proved: User | None,
    along: Along | None,
    other: Session | None,
) -> str:
    """Store a session in place of another one and return its cookie's value; raise `access_denied`."""
    secret = runtime.new_secret("n")
    begun: bool = await _with(runtime, session, along, other).database.write(
        store.create_session,
        session,
        token_format.digest(secret),
        limit=MAX_SESSIONS,
        actor=session.user_id,
        came_from=came_from,
        proof_epoch=proved.proof_epoch if proved else None,
    )
    if not begun:  # meanwhile
        raise OAuthError(
            "access_denied", "This account was changed, disabled or deleted: sign in again.", field="session"
        )
    return secret


def _with(runtime: Runtime, session: Session, along: Along | None, other: Session | None = None) -> Runtime:
    if along is None and other is None:
        return runtime

    async def then(tx: Transaction, begun: bool) -> None:
        if not begun:
            return
        if other is not None:
            await store.end_session(tx, other.id, actor=other.user_id, now=session.created_at)
        if along is not None:
            await along(tx, session)

    return runtime_with(runtime, then, ends=other is not None)


def _limits(runtime: Runtime, remember: bool, now: int) -> tuple[bool, int, int]:
    """Return whether a session that begins now is remembered, and its idle and absolute end (Unix seconds)."""
    settings = runtime.settings
    lifetime = settings.session_remembered if remember else settings.session_lifetime
    return remember, now + min(_idle(runtime, remember), lifetime), now + lifetime


def _idle(runtime: Runtime, remembered: bool) -> int:
    return runtime.settings.session_remembered if remembered else runtime.settings.session_idle


def sign_in_claims(session: Session) -> dict[str, object]:
    """Return the claims about a session's sign-in (Core §2); without `auth_time` where that is unknown."""
    told = {} if session.auth_time is None else {"auth_time": session.auth_time}
    return {**told, "acr": session.acr, "amr": list(session.amr)}


async def visitor(runtime: Runtime, cookie: str | None, address: str = "") -> tuple[Session, User] | None:
    """Return the live session of a cookie with its person, or None; its idle limit moves on at most once a minute, or twice in it."""
    if cookie is None or not token_format.is_well_formed(cookie, runtime.settings.brand, "n"):
        return None
    now = runtime.now()
    found = await runtime.database.read(store.find_session, token_format.digest(cookie), now)
    if found is None:
        return None
    session = found[0]
    unused = _idle(runtime, session.remembered)
    if now - session.last_seen_at >= min(TOUCH_INTERVAL, unused // 2):
        idle = min(now + unused, session.expires_at)
        await runtime.database.write(
            store.touch_session, session.id, idle_expires_at=idle, now=now, address=address
        )
    return found


async def elevate(
    runtime: Runtime,
    session: Session,
    *,
    acr: str,
    amr: tuple[str, ...],
    authenticated_at: int | None = None,
    confirmed_at: int | None = None,
    remember: bool | None = None,
    came_from: UpstreamSession | None = None,
    proved: User | None = None,
    along: Along | None = None,
) -> str | None:
    """Give a session a new cookie after a further proof; return the cookie's value, None when it ended meanwhile.

    `authenticated_at` is when what `acr` says was proved, `confirmed_at` when anything was, in Unix seconds; default: now. `remember` is
    given when the person signed in again, and restarts the session's limits. `proved` and `along` are as for `begin`.
    """
    secret, now = runtime.new_secret("n"), runtime.now()
    elevated: bool = await _with(runtime, session, along).database.write(
        store.elevate_session,
        session.id,
        token_format.digest(secret),
        acr=acr,
        amr=amr,
        authenticated_at=now if authenticated_at is None else authenticated_at,
        confirmed_at=now if confirmed_at is None else confirmed_at,
        limits=None if remember is None else _limits(runtime, remember, now),
        actor=session.user_id,
        now=now,
        came_from=came_from,
        proof_epoch=proved.proof_epoch if proved else None,
    )
    return secret if elevated else None


class Raised(TypedDict):
    """What a session holds after a further proof; times are Unix seconds."""

    acr: str
    amr: tuple[str, ...]
    authenticated_at: int
    confirmed_at: int


def raised_by(session: Session, proved: Method, now: int) -> Raised:
    """Return what a session holds after a further proof."""
    acr, amr = methods.step_up(session.amr, proved)
    since = now if methods.renews(session.acr, acr, proved) else session.authenticated_at
    return {"acr": acr, "amr": amr, "authenticated_at": since, "confirmed_at": now}


async def act(
    runtime: Runtime, session: Session | None, operation: Callable[..., Awaitable[T]], *args: Any, **more: Any
) -> T:
    """Run a write that a person asks for in a session, while it is live; raise `access_denied` when it has ended meanwhile.

    Without a session the write is an operator's, and unconditional.
    """
    if session is None:
        return await runtime.database.write(operation, *args, **more)
    return await in_the_session(runtime, session).write(operation, *args, **more)


async def end(runtime: Runtime, session: Session, *, actor: str = "") -> None:
    """End a session, by its person unless an `actor` is named: its cookie and every copy of it are void."""
    by = actor or session.user_id
    await runtime.database.write(store.end_session, session.id, actor=by, now=runtime.now())


async def end_all(runtime: Runtime, user_id: str, *, actor: str) -> list[str]:
    """End every session of a person; return those that were live."""
    return await runtime.database.write(store.end_sessions_of, user_id, actor=actor, now=runtime.now())
