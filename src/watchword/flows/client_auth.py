"""RFC 6749 §2.3: client authentication, by the method that the client is registered for and by no other.

Owns the table CLIENT_AUTH, the extraction of credentials from a request, and the throttling of failures. The rules for assertions
and certificates are pure functions in `oauth`.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from watchword.credentials.zkproof import ZeroError
from watchword.flows import identities
from watchword.flows.clients import client_documents, client_keys
from watchword.flows.runtime import Runtime
from watchword.jose import jws, jwt
from watchword.oauth import assertion, dpop, mtls, token_format
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.ratelimit import Limit
from watchword.store import client_secrets, tokens
from watchword.store.database import StorageUnavailable
from watchword.telemetry import log
from watchword.zero.proof import dpop_channel

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ZERO_TYPE = "urn:watchword:params:oauth:client-assertion-type:zero-proof"
BODY_CREDENTIALS = frozenset({"client_id", "client_secret", "client_assertion", "client_assertion_type"})
FOREVER = 2**62
BASIC_CHALLENGE = 'Basic realm="watchword", charset="UTF-8"'

# Failures for one client: a burst of 120, then one a second. The right credential is never throttled, so nobody can lock a client out (CL-04).
FAILURES = Limit("failures of clients", capacity=120, per_second=1.0)


class Credentials(msgspec.Struct, frozen=True):
    """The parts of a request that can authenticate it: headers, certificate, address, and the method and path for DPoP proofs."""

    authorization: str | None = None
    dpop: str | None = None
    certificate: bytes | None = None
    address: str = ""
    method: str = "POST"
    certificate_issued: bool = False
    path: str = ""


class Presented(msgspec.Struct, frozen=True):
    """As which client a request presents itself, by which method, and the secret, assertion or proof for that."""

    client_id: str
    method: str
    credential: str
    sent: Credentials

    @property
    def basic(self) -> bool:
        """Whether the secret came in the Authorization header, so that a refusal has a challenge."""
        return self.method == "client_secret_basic"


def extract(credentials: Credentials, parameters: Mapping[str, str]) -> Presented:
    """Find the one way in which a request authenticates a client; raise `invalid_request` or `invalid_client`."""
    body_id, secret, client_assertion = (  # RFC 6749 §3.2: an empty parameter counts as omitted
        parameters.get("client_id") or "",
        parameters.get("client_secret") or None,
        parameters.get("client_assertion") or None,
    )
    basic = _basic(credentials.authorization)
    methods = [credential is not None for credential in (basic, secret, client_assertion)]
    if sum(methods) > 1:  # §2.3: "MUST NOT use more than one authentication method in each request"
        raise OAuthError("invalid_request", "Use one client authentication method, not several.")
    if basic is not None:
        if body_id and body_id != basic[0]:
            raise OAuthError(
                "invalid_request", "client_id differs from the authenticated client.", field="client_id"
            )
        return Presented(basic[0], "client_secret_basic", basic[1], credentials)
    if client_assertion is not None and parameters.get("client_assertion_type") == ZERO_TYPE:
        return Presented(body_id, "zero_proof", client_assertion, credentials)
    if client_assertion is not None:
        subject = _subject(client_assertion, parameters.get("client_assertion_type"), body_id)
        return Presented(subject, "private_key_jwt", client_assertion, credentials)
    if not body_id:
        raise refused("no client credentials", basic=False)
    return Presented(body_id, "none" if secret is None else "client_secret_post", secret or "", credentials)


def _subject(client_assertion: str, assertion_type: str | None, body_id: str) -> str:
    """Return the client that an assertion names, the same as `client_id` where that was sent (RFC 7521 §4.2)."""
    if assertion_type != ASSERTION_TYPE:  # RFC 7523 §2.2
        raise refused("wrong client_assertion_type", basic=False)
    subject = assertion.peek_subject(client_assertion)
    if subject is None or (body_id and body_id != subject):
        raise refused("assertion without a subject, or client_id of another", basic=False)
    return subject


def _basic(authorization: str | None) -> tuple[str, str] | None:
    if authorization is None:
        return None
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise refused("not the Basic scheme", basic=True)
    try:
        decoded = base64.b64decode(encoded.strip().encode("ascii"), validate=True).decode("utf-8")
        client_id, colon, secret = decoded.partition(":")
        if not colon or "\x00" in decoded:
            raise ValueError
        return _form_decode(client_id), _form_decode(secret)
    except (binascii.Error, ValueError):
        raise refused("malformed Basic credentials", basic=True) from None


def _form_decode(text: str) -> str:
    # §2.3.1: identifier and secret are form-encoded before they are joined.
    if "%" not in text and "+" not in text:
        return text
    raw = text.replace("+", " ").encode("utf-8")
    pieces = raw.split(b"%")
    decoded = bytearray(pieces[0])
    for piece in pieces[1:]:
        if len(piece) < 2:
            raise ValueError
        decoded += binascii.unhexlify(piece[:2]) + piece[2:]
    return decoded.decode("utf-8")


def refused(detail: str, *, basic: bool) -> OAuthError:
    """Return the one error for every failed client authentication, with a challenge when `Authorization` was used (§5.2).

    Not otherwise, although RFC 9110 §15.5.2 asks for one with every 401: for a challenge, oauth4webapi reports no `invalid_client`, and
    a browser at the server's own origin asks its person for a name and a password.
    """
    return OAuthError(
        "invalid_client",
        "Client authentication failed.",
        detail=detail,
        challenge=BASIC_CHALLENGE if basic else None,
    )


async def authenticate(runtime: Runtime, credentials: Credentials, parameters: Mapping[str, str]) -> Client:
    """Return the authenticated client of a request; raise `invalid_client`, or `too_many_requests` after many failures.

    A Basic header that was verified before is accepted without parsing it again, for as long as nothing in the database changed.
    """
    header, version = credentials.authorization, runtime.database.version()
    known = runtime.cache.get(("basic", header)) if header else None
    if known is not None and known[0] == version and parameters.keys().isdisjoint(BODY_CREDENTIALS):
        remembered: tuple[Client, str | None, int] = known[1]
        client, secret_id, until = remembered
        now = runtime.now()
        if now < until:
            runtime.usage.note_client(client.client_id, secret_id, now, credentials.address)
            return client
    presented = extract(credentials, parameters)
    found, secret_id = await _authenticate(runtime, presented)
    if presented.basic and secret_id is not None:
        until = await _secret_end(runtime, found.client_id, secret_id)
        runtime.remember(("basic", header), version, (found, secret_id, until))
    return found


async def _secret_end(runtime: Runtime, client_id: str, secret_id: str) -> int:
    ends = [end for _, known, end in await _live_digests(runtime, client_id) if known == secret_id]
    return ends[0] if ends and ends[0] is not None else FOREVER


Check = Callable[[Runtime, Client, Presented], Awaitable[str | None]]


def _check_of(client: Client) -> Check:
    """Return the check of a client's authentication method; raise StorageUnavailable when its row is damaged and names none."""
    check = CLIENT_AUTH.get(client.token_endpoint_auth_method)
    if check is None:
        raise StorageUnavailable(
            f"the row of client {client.client_id} is damaged: it names no known authentication method"
        )
    return check


async def _authenticate(runtime: Runtime, presented: Presented) -> tuple[Client, str | None]:
    client = await client_documents.find(runtime, presented.client_id)
    try:
        if client is None or client.disabled_at is not None:
            _check_dummy(presented.credential)
            raise refused("unknown or disabled client", basic=presented.basic)
        check = _check_of(client)
        if presented.method != client.token_endpoint_auth_method and not _by_certificate(client, presented):
            _check_dummy(presented.credential)
            raise refused(
                f"client is registered for {client.token_endpoint_auth_method}", basic=presented.basic
            )
        secret_id = await check(runtime, client, presented)
    except OAuthError as error:
        if error.code != "invalid_client":
            raise
        log.info("client.refused", client=presented.client_id, address=presented.sent.address)
        if wait := runtime.take(FAILURES, presented.client_id[:64]):
            raise OAuthError(
                "too_many_requests",
                "Too many failed attempts for this client.",
                detail=error.detail,
                retry_after=wait,
            ) from None
        raise
    runtime.usage.note_client(client.client_id, secret_id, runtime.now(), presented.sent.address)
    return client, secret_id


def _by_certificate(client: Client, presented: Presented) -> bool:
    return presented.method == "none" and client.token_endpoint_auth_method in (
        "tls_client_auth",
        "self_signed_tls_client_auth",
    )


def _check_dummy(credential: str) -> None:
    # An unknown client, or one with another method, takes as long as a known one (CL-03).
    hmac.compare_digest(token_format.digest(credential), bytes(32))


async def _check_secret(runtime: Runtime, client: Client, presented: Presented) -> str | None:
    digest = token_format.digest(presented.credential)
    match: str | None = None
    now = runtime.now()
    for stored, secret_id, expires_at in await _live_digests(runtime, client.client_id):
        is_live = expires_at is None or now < expires_at
        if hmac.compare_digest(stored, digest) and is_live:
            match = secret_id
    if match is None:
        raise refused("wrong or expired secret", basic=presented.basic)
    return match


async def _live_digests(runtime: Runtime, client_id: str) -> list[tuple[bytes, str, int | None]]:
    version = runtime.database.version()
    cached = runtime.cache.get(("secrets", client_id))
    if cached is not None and cached[0] == version:
        known: list[tuple[bytes, str, int | None]] = cached[1]
        return known
    found = await runtime.database.read(client_secrets.live_digests, client_id, runtime.now())
    runtime.remember(("secrets", client_id), version, found)
    return found


async def _check_assertion(runtime: Runtime, client: Client, presented: Presented) -> str | None:
    now = runtime.now()
    keys = await client_keys.keys_of(runtime, client, jws.peek(presented.credential))
    checked = assertion.check_client_assertion(
        presented.credential,
        keys=keys,
        client_id=client.client_id,
        issuer=runtime.settings.issuer,
        fapi=client.security_profile == "fapi2",
        algorithm=client.token_endpoint_auth_signing_alg,
        now=now,
    )
    used = hashlib.sha256(f"client assertion\n{client.client_id}\n{checked.jti}".encode()).digest()
    until = checked.expires_at + jwt.AHEAD  # by the clock of another node it is valid for so much longer
    if not await runtime.database.write(tokens.use_identifier, used, until, checked.earliest):
        # RFC 7523 §3 (7)
        raise refused("the assertion was used before, or may have been before a restore", basic=False)
    return None


async def _check_certificate(runtime: Runtime, client: Client, presented: Presented) -> str | None:
    certificate = presented.sent.certificate
    if certificate is None:
        raise refused("no client certificate", basic=False)
    is_issued = presented.sent.certificate_issued
    if client.token_endpoint_auth_method == "tls_client_auth" and not is_issued:  # RFC 8705 §2.1
        raise refused("no trusted authority issued the certificate", basic=False)
    documents = None
    if client.token_endpoint_auth_method == "self_signed_tls_client_auth":
        documents = await client_keys.documents_of(runtime, client)
    mtls.check_certificate(certificate, client, now=runtime.now(), documents=documents)
    return None


async def _check_zero(runtime: Runtime, client: Client, presented: Presented) -> str | None:
    # The zero-knowledge proof names the DPoP key. Possession of it is checked here, because not every endpoint checks DPoP itself. The
    # DPoP proof needs no replay check of its own: the challenge inside the zero-knowledge proof works once.
    proof, path, settings = presented.sent.dpop, presented.sent.path, runtime.settings
    if proof is None:
        raise refused("a zero-knowledge proof without a DPoP proof", basic=False)
    jkt = dpop.check_proof(
        proof,
        method="POST",
        uri=settings.issuer + path,
        alias=settings.mtls_address and settings.mtls_address + path,  # RFC 8705 §5
        now=runtime.now(),
    ).jkt
    try:
        given = identities.read_proof(presented.credential)
        proven = await identities.check_proof(runtime, given, identities.CLIENT, dpop_channel(jkt))
    except ZeroError as error:
        raise refused(f"zero-knowledge proof: {error.reason}", basic=False) from None
    if (proven.identity.owner_kind, proven.identity.owner_id) != ("client", client.client_id):
        raise refused("the identity is another's", basic=False)
    return None


async def _check_none(runtime: Runtime, client: Client, presented: Presented) -> str | None:
    return None


CLIENT_AUTH: dict[str, Check] = {
    "client_secret_basic": _check_secret,
    "client_secret_post": _check_secret,
    "private_key_jwt": _check_assertion,
    "tls_client_auth": _check_certificate,
    "self_signed_tls_client_auth": _check_certificate,
    "zero_proof": _check_zero,
    "none": _check_none,
}
