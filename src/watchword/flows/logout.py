"""OpenID Connect RP-Initiated Logout 1.0 and Front-Channel Logout 1.0: a client sends a person here to be signed out.

Theory of operation. A request is read once, and what can be verified of it is kept as `Asked`. Sealed into the page, that survives the
question whether to sign out, and the redirect after a cross-site POST, which arrives without the cookie (SameSite). Whether to ask, and
where to go afterwards, is decided by `oauth.logout`. Ending the session also ends what was granted in it and queues a notice to every
client (`store.logout_notices`); only the front-channel addresses are left for the browser.
"""

from collections.abc import Mapping

import msgspec

from watchword.flows import id_tokens, sessions, subjects
from watchword.flows.clients import client_registry
from watchword.flows.runtime import Runtime
from watchword.flows.sign_in import canonical
from watchword.oauth import logout as rules
from watchword.oauth.clients import Client
from watchword.oauth.logout import Hint
from watchword.oauth.logout_addresses import MAX_LENGTH, frontchannel_address
from watchword.store import logout_notices, users
from watchword.store.sessions import Session
from watchword.telemetry import log

PURPOSE, LIFETIME = "logout", 600
# The parameters that are kept, and their lengths: one more character than is allowed, so that a value that is too long stays so.
KEPT = {
    "post_logout_redirect_uri": MAX_LENGTH + 1,
    "state": rules.MAX_STATE + 1,
    "ui_locales": 200,
    "logout_hint": 320,
}
MAX_FRAMES = 50


class Asked(msgspec.Struct, frozen=True):
    """The parts of a logout request that are verified or harmless; `at` is when it came, in Unix seconds."""

    client_id: str | None = None
    hint: Hint | None = None
    parameters: dict[str, str] = {}
    at: int = 0


class Decided(msgspec.Struct, frozen=True):
    """Whether to ask the person first, where to go afterwards, the client, and whether the hint names somebody else."""

    confirm: bool
    location: str | None
    client: Client | None
    other: bool


NOBODY = Asked()
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Asked).decode


async def read(runtime: Runtime, parameters: Mapping[str, str]) -> Asked:
    """Read a logout request (§2); raise `invalid_request` when its hint and its client disagree."""
    sent = parameters.get("id_token_hint")
    hint = await id_tokens.read_hint(runtime, sent) if sent else None
    client_id = rules.client_of(parameters.get("client_id") or None, hint)
    kept = {name: parameters[name][:limit] for name, limit in KEPT.items() if parameters.get(name)}
    return Asked(client_id[:MAX_LENGTH] if client_id else None, hint, kept, runtime.now())


def seal(runtime: Runtime, asked: Asked) -> str:
    """Return a request as an encrypted, authenticated text for a form."""
    return runtime.root.seal_text(PURPOSE, "", _encode(asked))


def unseal(runtime: Runtime, text: str | None) -> Asked:
    """Return the request in a sealed text; an empty one when it is forged or too old."""
    try:
        asked = _decode(runtime.root.open_text(PURPOSE, "", text or ""))
    except ValueError:
        return NOBODY
    return asked if runtime.is_young(asked.at, LIFETIME) else NOBODY


async def decide(runtime: Runtime, asked: Asked, session: Session | None) -> Decided:
    """Decide a logout request for a browser's session, if it has one."""
    client = await client_registry.find(runtime, asked.client_id) if asked.client_id else None
    if client is not None and client.disabled_at is not None:
        client = None
    decision = rules.decide(
        asked.parameters,
        client,
        asked.hint,
        session_sids=(subjects.session_for(runtime, client, session.id),)
        if session is not None and client is not None
        else (),
        session_subject=_subject(runtime, client, session) if session is not None else None,
        names_session=session is None or await _is_named(runtime, client, session, asked),
    )
    return Decided(decision.confirm, decision.location, client, decision.other)


async def _is_named(runtime: Runtime, client: Client | None, session: Session, asked: Asked) -> bool:
    """Whether the `logout_hint`, if any, names the person of a session: by name, address, `sub` or `sid` (§2)."""
    named = asked.parameters.get("logout_hint")
    if named is None or named == _subject(runtime, client, session):
        return True
    if client is not None and named == subjects.session_for(runtime, client, session.id):
        return True
    found = await runtime.database.read(users.find_user, *canonical(named))
    return found is not None and found.id == session.user_id


def _subject(runtime: Runtime, client: Client | None, session: Session) -> str:
    return session.user_id if client is None else subjects.subject_for(runtime, client, session.user_id)


async def end(runtime: Runtime, session: Session, *, everywhere: bool) -> list[str]:
    """End a session, or all sessions of its person; return the addresses that the browser has to load (Front-Channel Logout §3)."""
    if everywhere:
        await sessions.end_all(runtime, session.user_id, actor=session.user_id)
    else:
        await sessions.end(runtime, session)
    frames = [
        frontchannel_address(uri, runtime.settings.issuer, _sid(runtime, session, client))
        for client in await runtime.database.read(logout_notices.list_clients, session.id)
        if (uri := client.frontchannel_logout_uri) is not None
    ]
    if len(frames) > MAX_FRAMES:
        log.warning("logout.frames_left_out", session=session.id, left_out=len(frames) - MAX_FRAMES)
    return frames[:MAX_FRAMES]


def _sid(runtime: Runtime, session: Session, client: Client) -> str | None:
    if not client.frontchannel_logout_session_required:
        return None
    return subjects.session_for(runtime, client, session.id)
