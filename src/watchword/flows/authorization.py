"""The authorization endpoint's work: pending requests, the person named by `id_token_hint`, the grant and its code.

How a request comes in is the business of `authorization_requests`, what a person agreed to that of `consents`. The rules are pure
functions in `oauth.interaction`; pages decide nothing.
"""

import hashlib
from collections.abc import Awaitable, Callable

import msgspec

from watchword.credentials import methods
from watchword.flows import detail_types, id_tokens, subjects
from watchword.flows.authorization_requests import Reference, used_up
from watchword.flows.consents import Agreed
from watchword.flows.identifiers import new_id
from watchword.flows.runtime import Runtime
from watchword.flows.sessions import sign_in_claims
from watchword.oauth import token_format
from watchword.oauth.authorization import AuthorizationRequest
from watchword.oauth.claims_request import NOTHING
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.interaction import SignedIn
from watchword.store import documents, interactions
from watchword.store import grants as store
from watchword.store.answering import answer_pushed_with_code, answer_with_code
from watchword.store.database import Transaction
from watchword.store.grants import Code, Grant
from watchword.store.interactions import Interaction
from watchword.store.logout_notices import note_client
from watchword.store.sessions import Session

INTERACTION_LIFETIME = 1800

_encode = msgspec.json.Encoder().encode
_decode = documents.reader(AuthorizationRequest)


def browser_digest(browser: str) -> bytes:
    """Return the digest under which a browser's binding value is stored."""
    return hashlib.sha256(b"browser\n" + browser.encode()).digest()


async def begin(
    runtime: Runtime,
    request: AuthorizationRequest,
    browser: str,
    pushed: Reference | None = None,
    *,
    done: tuple[str, ...] = (),
    shown_to: str | None = None,
) -> str:
    """Store a request while a person signs in and consents; return its identifier. `browser` binds it to the browser's cookie, `done` and
    `shown_to` are as those of an `Interaction`.

    A `pushed` one is used up with that; raise `invalid_request_uri` when it was used just now.
    """
    interaction = Interaction(
        id=new_id("int"),
        client_id=request.client_id,
        request=_encode(request).decode(),
        done=done,
        shown_to=shown_to,
        expires_at=runtime.now() + INTERACTION_LIFETIME,
    )
    write, bound = runtime.database.write, browser_digest(browser)
    if pushed is None:
        await write(interactions.create_interaction, interaction, bound)
    elif not await write(interactions.begin_pushed_request, pushed.digest, interaction, bound, runtime.now()):
        raise used_up()
    return interaction.id


def began_at(interaction: Interaction) -> int:
    """Return when a pending request arrived, in Unix seconds."""
    return interaction.expires_at - INTERACTION_LIFETIME


async def resume(
    runtime: Runtime, interaction_id: str, browser: str
) -> tuple[Interaction, AuthorizationRequest] | None:
    """Return a pending request to the browser that began it, None for any other."""
    if not interaction_id.isascii() or len(interaction_id) > 64:
        return None
    found = await runtime.database.read(
        interactions.find_interaction, interaction_id, browser_digest(browser), runtime.now()
    )
    return (found, _decode(found.request)) if found else None


def signed_in(runtime: Runtime, client: Client, session: Session) -> SignedIn:
    """Return the facts of a session that decide the next step, with the subject as the client knows it."""
    reached = methods.LEVELS[: methods.LEVELS.index(session.acr) + 1] if session.acr in methods.LEVELS else ()
    subject = subjects.subject_for(runtime, client, session.user_id)
    return SignedIn(subject, session.auth_time, tuple(reached))


async def hinted_subject(runtime: Runtime, client: Client, request: AuthorizationRequest) -> str | None:
    """Return the subject of the request's `id_token_hint` (OIDC Core §3.1.2.1); raise `invalid_request` for what is no ID token of ours for
    this client."""
    if request.id_token_hint is None:
        return None
    hint = await id_tokens.read_hint(runtime, request.id_token_hint)
    if hint is None or hint.client_id != request.client_id:
        raise OAuthError("invalid_request", "The id_token_hint is not an ID token of this client.")
    return subjects.subject_for(runtime, client, subjects.person_of(runtime, hint.subject))


async def answer(
    runtime: Runtime,
    kept: Interaction | Reference | None,
    request: AuthorizationRequest,
    session: Session,
    agreed: Agreed,
    remember: Callable[[Transaction], Awaitable[None]] | None = None,
) -> str | None:
    """Store what a person granted and return the code for it; None when the session has ended meanwhile.

    A request that was `kept`, as one under way or a pushed one, is used up with that; None when it was before. `remember` writes what was
    agreed to just now; without it the grant is given by an earlier consent, and None is returned when that was withdrawn.
    """
    secret, grant = runtime.new_secret("c"), _granted(runtime, request, session, agreed)
    expires_at = grant.created_at + runtime.settings.authorization_code_lifetime
    code = Code(token_format.digest(secret), expires_at, _encode(request).decode())
    write = runtime.database.write
    if isinstance(kept, Interaction):
        granted = await write(answer_with_code, kept.id, grant, code, remember)
    elif kept is not None:
        granted = await write(answer_pushed_with_code, kept.digest, grant, code)
    else:
        # Before the grant: the session may end as soon as that is there.
        if request.is_openid and not agreed.noted:
            await note_client(runtime.database, grant.session_id, request.client_id, grant.created_at)
        granted = await store.create_grant(runtime.database, grant, code)
    return secret if granted else None


def _granted(runtime: Runtime, request: AuthorizationRequest, session: Session, agreed: Agreed) -> Grant:
    now = runtime.now()
    return Grant(
        id=new_id("grant"),
        client_id=request.client_id,
        user_id=session.user_id,
        session_id=session.id,
        scope=" ".join(agreed.scope),
        audience=" ".join(request.audience),
        authorization_details=detail_types.stored(agreed.details),
        claims=_encode(sign_in_claims(session)).decode(),
        created_at=now,
        started_at=now,
        last_used_at=now,
        wishes=_encode(request.claims).decode() if request.claims != NOTHING else "",
    )


def read_stored(text: str) -> AuthorizationRequest:
    """Return the request that a code was issued for."""
    return _decode(text)
