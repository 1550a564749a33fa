"""The authorization endpoint's work: what a request is, what was granted, and the code that stands for it.

Rules are pure functions in `oauth.authorization` and `oauth.interaction`; pages decide nothing.
"""

import hashlib
from collections.abc import Mapping

import msgspec

from watchword.credentials import methods
from watchword.flows import client_documents, subjects
from watchword.flows.identifiers import new_id
from watchword.flows.runtime import Runtime
from watchword.oauth import authorization, logout, token_format
from watchword.oauth.authorization import AuthorizationRequest, Rules
from watchword.oauth.claims_request import NOTHING
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.oauth.interaction import SignedIn
from watchword.store import grants as store
from watchword.store import interactions
from watchword.store.grants import Grant
from watchword.store.interactions import Interaction
from watchword.store.sessions import Session

INTERACTION_LIFETIME = 1800
PUSHED_PREFIX = "urn:ietf:params:oauth:request_uri:"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AuthorizationRequest).decode
_decode_pushed = msgspec.json.Decoder(tuple[dict[str, str], tuple[str, ...], str | None]).decode


async def client_of(runtime: Runtime, client_id: str | None) -> Client:
    """Return the client of a request; raise `invalid_request`, to be shown and never sent (RFC 6749 §4.1.2.1)."""
    client = await client_documents.find(runtime, client_id) if client_id else None
    if client is None or client.disabled_at is not None:
        raise OAuthError("invalid_request", "The client is not known here.", field="client_id")
    if not client.may("authorization_code"):
        raise OAuthError("unauthorized_client", "The client is not registered for this.", field="client_id")
    return client


async def read_request(
    runtime: Runtime, parameters: Mapping[str, str], resources: tuple[str, ...]
) -> tuple[AuthorizationRequest, Client]:
    """Check an authorization request, pushed before or sent by the browser; raise OAuthError to show, RedirectError to send."""
    client = await client_of(runtime, parameters.get("client_id"))
    request_uri = parameters.get("request_uri")
    if not request_uri:
        return decide(runtime, parameters, client, resources), client
    if not request_uri.startswith(PUSHED_PREFIX):
        raise OAuthError("invalid_request_uri", "Only request_uri values of this server are accepted.")
    digest = token_format.digest(request_uri)
    stored = await runtime.database.write(
        interactions.use_pushed_request, digest, client.client_id, runtime.now()
    )
    if stored is None:
        raise OAuthError(
            "invalid_request_uri", "The request_uri is unknown, used, expired, or another client's."
        )
    pushed, pushed_resources, jkt = _decode_pushed(stored)
    return decide(runtime, pushed, client, pushed_resources, pushed=True, proven_jkt=jkt), client


def decide(
    runtime: Runtime,
    parameters: Mapping[str, str],
    client: Client,
    resources: tuple[str, ...],
    *,
    pushed: bool = False,
    proven_jkt: str | None = None,
) -> AuthorizationRequest:
    """Check the parameters of a request; raise OAuthError to show, RedirectError to send."""
    rules = Rules(runtime.settings.resource)
    return authorization.decide(
        parameters, client, rules, resources=resources, pushed=pushed, proven_jkt=proven_jkt
    )


async def push(
    runtime: Runtime,
    client: Client,
    parameters: Mapping[str, str],
    resources: tuple[str, ...],
    jkt: str | None,
) -> str:
    """Check and keep a pushed request; return its `request_uri` (RFC 9126 §2.2)."""
    if "request_uri" in parameters:  # §2.1
        raise OAuthError("invalid_request", "A pushed request cannot refer to another.", field="request_uri")
    decide(runtime, parameters, client, resources, pushed=True, proven_jkt=jkt)
    request_uri = PUSHED_PREFIX + runtime.new_secret("p")
    kept = {
        name: value for name, value in parameters.items() if name not in ("client_secret", "client_assertion")
    }
    document = _encode((kept, resources, jkt)).decode()
    expires_at = runtime.now() + runtime.settings.pushed_request_lifetime
    await runtime.database.write(
        interactions.push_request, token_format.digest(request_uri), client.client_id, document, expires_at
    )
    return request_uri


def browser_digest(browser: str) -> bytes:
    """Return under what a browser's own value is kept."""
    return hashlib.sha256(b"browser\n" + browser.encode()).digest()


async def begin(runtime: Runtime, request: AuthorizationRequest, browser: str) -> str:
    """Keep a request while a person signs in and consents; return its identifier."""
    interaction = Interaction(
        id=new_id("int"), client_id=request.client_id, request=_encode(request).decode()
    )
    expires_at = runtime.now() + INTERACTION_LIFETIME
    await runtime.database.write(
        interactions.create_interaction, interaction, browser_digest(browser), expires_at
    )
    return interaction.id


async def resume(
    runtime: Runtime, interaction_id: str, browser: str
) -> tuple[Interaction, AuthorizationRequest] | None:
    """Return a request under way for the browser that began it."""
    if not interaction_id.isascii() or len(interaction_id) > 64:
        return None
    found = await runtime.database.read(
        interactions.find_interaction, interaction_id, browser_digest(browser), runtime.now()
    )
    return (found, _decode(found.request)) if found else None


def signed_in(session: Session) -> SignedIn:
    """Return the facts of a session that decide the next step."""
    reached = methods.LEVELS[: methods.LEVELS.index(session.acr) + 1] if session.acr in methods.LEVELS else ()
    return SignedIn(session.user_id, session.authenticated_at, tuple(reached))


def hinted_subject(runtime: Runtime, request: AuthorizationRequest) -> str | None:
    """Return the subject of the request's `id_token_hint`, one of our own ID tokens, however old (OIDC Core §3.1.2.1)."""
    if request.id_token_hint is None:
        return None
    hint = logout.read_hint(
        request.id_token_hint,
        keys=runtime.keyring.verification_keys(),
        issuer=runtime.settings.issuer,
        algorithms=runtime.settings.signing_algorithms,
    )
    if hint is None or hint.client_id != request.client_id:
        raise OAuthError("invalid_request", "The id_token_hint is not an ID token of this client.")
    return subjects.person_of(runtime, hint.subject)


async def has_consented(
    runtime: Runtime, request: AuthorizationRequest, client: Client, user_id: str
) -> bool:
    """Whether an earlier consent covers a request; one to a client that nobody registered is asked for every time."""
    if client.origin != "registered" or (client.is_public and client.application_type == "native"):
        return False
    if request.authorization_details:
        return False
    audience = " ".join(request.audience)
    agreed = await runtime.database.read(store.find_consent, user_id, client.client_id, audience)
    return agreed is not None and set(request.scope) <= set(agreed.split())


async def issue_code(
    runtime: Runtime, request: AuthorizationRequest, session: Session, scope: tuple[str, ...]
) -> str:
    """Grant what a person agreed to and return the code for it."""
    now = runtime.now()
    code = runtime.new_secret("c")
    claims = {"auth_time": session.authenticated_at, "acr": session.acr, "amr": list(session.amr)}
    grant = Grant(
        id=new_id("grant"),
        client_id=request.client_id,
        user_id=session.user_id,
        session_id=session.id,
        scope=" ".join(scope),
        audience=" ".join(request.audience),
        claims=_encode(claims).decode(),
        created_at=now,
        started_at=now,
        last_used_at=now,
        wishes=_encode(request.claims).decode() if request.claims != NOTHING else "",
    )
    await runtime.database.write(
        store.create_grant,
        grant,
        code=token_format.digest(code),
        request=_encode(request).decode(),
        expires_at=now + runtime.settings.authorization_code_lifetime,
    )
    return code


def read_stored(text: str) -> AuthorizationRequest:
    """Return the request that a code was issued for."""
    return _decode(text)
