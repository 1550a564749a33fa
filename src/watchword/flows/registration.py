"""RFC 7591 and RFC 7592: clients that register themselves and manage what they registered.

Owns who may register (nobody, holders of an initial access token, everybody), how often, and the responses. Which metadata is accepted
is `clients.stated_clients`' business. The registration access token and the secret are stored as digests, and shown when they are made.
"""

import hmac

import msgspec

from watchword.flows import acting, caller
from watchword.flows.client_auth import Credentials
from watchword.flows.clients import client_checks, client_registry, stated_clients
from watchword.flows.identifiers import new_id
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import network, take
from watchword.oauth import bearer, token_format
from watchword.oauth.answers import signing_algorithm
from watchword.oauth.clients import SECRET_METHODS, Client
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings
from watchword.store import client_secrets, registrations

SCOPE = "watchword:register"
PATH = "/register"
METHODS = (
    "client_secret_basic",  # RFC 7591 §2: the default
    "client_secret_post",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
)
# RFC 7592 §2.2: "MUST NOT include" in a replacement
NOT_THE_CLIENTS = (
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)


class Registration(msgspec.Struct, frozen=True):
    """A self-registered client, with its secret if that was just made, and its registration access token."""

    client: Client
    client_secret: str | None
    token: str


async def register(runtime: Runtime, credentials: Credentials, document: object) -> Registration:
    """Register a client by its own metadata; raise `not_found`, `invalid_token`, `insufficient_scope` or `too_many_requests` by policy,
    and the errors of RFC 7591 §3.2.2."""
    held, actor = await _admit(runtime, credentials)
    client = _read(runtime, document, new_id("client"))
    await _count(runtime, credentials)
    await client_checks.check(runtime, client)
    client = msgspec.structs.replace(client, created_at=runtime.now())
    token = runtime.new_secret("g")
    secret = _new_secret(runtime, client)
    # Nothing is asked of the database after this: only the answer can tell the token and the secret.
    await held.database.write(
        registrations.register_client,
        client,
        registration_digest=token_format.digest(token),
        secret=(secret[0], token_format.digest(secret[1])) if secret else None,
        actor=actor,
        now=client.created_at,
    )
    return Registration(client, secret[1] if secret else None, token)


async def _admit(runtime: Runtime, credentials: Credentials) -> tuple[Runtime, str]:
    """Return a runtime that stores what a caller registers, with a token only while that is valid, and who that is."""
    policy = runtime.settings.registration
    if policy == "off":
        raise OAuthError("not_found", "There is nothing at this address.")
    if policy == "token":  # RFC 7591 §3: the initial access token
        who = await caller.authenticate(runtime, credentials, PATH)
        if not who.may(SCOPE):
            raise who.refusal("insufficient_scope", f"This needs the scope {SCOPE}.", scope=SCOPE)
        return acting.runtime_held(runtime, who.holder, who.ended()), who.actor
    return runtime, "self-registration"


async def _count(runtime: Runtime, credentials: Credentials) -> None:
    """Count a well-formed registration: one that is refused before stores nothing and fetches nothing."""
    per_hour = runtime.settings.registrations_per_hour
    await _take(runtime, f"register from {network(credentials.address)}", max(1, per_hour // 4))
    await _take(runtime, "register", per_hour)


async def _take(runtime: Runtime, name: str, per_hour: int) -> None:
    if wait := await take(runtime, name, per_hour, per_hour / 3600):
        raise OAuthError("too_many_requests", "Too many registrations.", retry_after=wait)


def _read(runtime: Runtime, document: object, client_id: str, known: Client | None = None) -> Client:
    settings = runtime.settings
    return stated_clients.read(
        settings,
        document,
        client_id,
        origin="dynamic",
        methods=tuple(name for name in METHODS if settings.takes_certificates or "tls_client" not in name),
        fallback_name=client_id,
        known=known,
    )


def _new_secret(runtime: Runtime, client: Client) -> tuple[str, str] | None:
    if client.token_endpoint_auth_method not in SECRET_METHODS:
        return None
    return new_id("secret"), runtime.new_secret("s")


async def find(runtime: Runtime, credentials: Credentials, client_id: str) -> Registration:
    """Return the registration that a registration access token is for; raise `invalid_token` (RFC 7592 §2.1)."""
    scheme, _, token = (credentials.authorization or "").partition(" ")
    token = token.strip()
    well_formed = token_format.is_well_formed(token, runtime.settings.brand, "g")
    known = None
    if scheme.lower() == "bearer" and well_formed and client_id.isascii() and client_id.isprintable():
        known = await runtime.database.read(registrations.registration_digest_of, client_id)
    is_right = known is not None and hmac.compare_digest(known, token_format.digest(token))
    client = await client_registry.find(runtime, client_id) if is_right else None
    if client is None:  # it may have been deleted in between
        raise OAuthError(
            "invalid_token",
            "The registration access token is not valid for this client.",
            challenge=bearer.challenge("Bearer", {"error": "invalid_token" if token else None}),
        )
    return Registration(client, None, token)


async def replace(
    runtime: Runtime, credentials: Credentials, client_id: str, document: object
) -> Registration:
    """Replace everything that a client registered (RFC 7592 §2.2), by the rules of a first registration."""
    found = await find(runtime, credentials, client_id)
    await _check_replacement(runtime, found.client, document)
    client = _read(runtime, document, client_id, found.client)
    await client_checks.check(runtime, client)
    had = found.client.token_endpoint_auth_method in SECRET_METHODS
    secret = None if had else _new_secret(runtime, client)
    changed = await runtime.database.write(
        registrations.replace_registration,
        client,
        expected_version=found.client.version,
        secret=(secret[0], token_format.digest(secret[1])) if secret else None,
        # People consented to the destinations that the page showed: a new one needs a new consent (DC-07).
        keeps_consents=set(client.redirect_uris) <= set(found.client.redirect_uris),
        now=runtime.now(),
    )
    if changed is None:
        raise OAuthError("conflict", "The client was changed meanwhile: read it again, then repeat.")
    return Registration(changed, secret[1] if secret else None, found.token)


async def _check_replacement(runtime: Runtime, client: Client, document: object) -> None:
    if not isinstance(document, dict) or document.get("client_id") != client.client_id:
        raise OAuthError("invalid_client_metadata", "Name the client's own client_id.", field="client_id")
    if any(name in document for name in NOT_THE_CLIENTS):
        raise OAuthError("invalid_client_metadata", "The metadata has members that only the server may set.")
    secret = document.get("client_secret")
    if secret is None:
        return
    digest = token_format.digest(secret) if isinstance(secret, str) else b""
    live = await runtime.database.read(client_secrets.live_digests, client.client_id, runtime.now())
    if not any(hmac.compare_digest(known, digest) for known, _, _ in live):
        raise OAuthError(
            "invalid_client_metadata", "A client cannot choose its secret.", field="client_secret"
        )


async def delete(runtime: Runtime, credentials: Credentials, client_id: str) -> None:
    """Delete a client and revoke everything that was issued to it (RFC 7592 §2.3)."""
    found = await find(runtime, credentials, client_id)
    await client_registry.delete(runtime, found.client.client_id, actor=client_id)


def describe(registration: Registration, settings: Settings) -> dict[str, object]:
    """Return the client information response (RFC 7591 §3.2.1, RFC 7592 §3): what was registered, in its own words."""
    client = registration.client
    document: dict[str, object] = {
        "client_id": client.client_id,
        "client_id_issued_at": client.created_at,
        "registration_access_token": registration.token,
        "registration_client_uri": f"{settings.issuer}{PATH}/{client.client_id}",
        **stated_clients.describe(client),
        # RFC 7591 §3.2.1: the value in effect, also where the client registered none
        "id_token_signed_response_alg": signing_algorithm(client, "id_token", settings.signing_algorithms),
    }
    if registration.client_secret is not None:
        document |= {"client_secret": registration.client_secret, "client_secret_expires_at": 0}
    return document
