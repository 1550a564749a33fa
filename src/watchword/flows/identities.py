"""Zero-knowledge identities in the server: registered, proven, renewed, revoked.

Theory of operation. A challenge carries its own MAC over purpose and time, so that issuing challenges stores nothing; that each is
answered once is recorded in the database, for all nodes. A proof covers the identity's public point, this issuer, the purpose, the
challenge, and the channel's key where the resulting credential is bound to one. The database holds public documents only: leaking it
lets nobody sign in.
"""

import hashlib
import hmac
import json
import os

import msgspec

from watchword.credentials.zkproof import ZeroError
from watchword.flows import factors, mail, sessions
from watchword.flows.inputs import check_text
from watchword.flows.mail import Origin
from watchword.flows.runtime import Runtime
from watchword.flows.throttle import network, take
from watchword.oauth.errors import OAuthError
from watchword.store import identities as store
from watchword.store import users
from watchword.store.factors import enrolled
from watchword.store.identities import RegisteredIdentity
from watchword.store.sessions import Session
from watchword.store.tokens import Used
from watchword.store.users import User
from watchword.zero import files, identity, proof, records, revocation
from watchword.zero.proof import Verified
from watchword.zero.records import Challenge, Identity, Proof, Revocation

CHALLENGE_LIFETIME = 120
LEEWAY = 5  # seconds by which the clocks of nodes differ
HOLDER_LEEWAY = 30  # seconds by which the clock of a holder may differ, as for other proofs
NONCE = 16
MAX_DOCUMENT = 64 * 1024

SIGN_IN, TOKEN, CLIENT, REGISTER = "sign-in", "token", "client", "register"
PURPOSES = (SIGN_IN, TOKEN, CLIENT)
# Failed attempts from one address: a burst of 120, then four a second.
CAPACITY, PER_SECOND = 120.0, 4.0

PAGE = "/account/identities"
NOT_ACCEPTED = "This service does not accept identities for signing in."


class Proven(msgspec.Struct, frozen=True):
    """A registered identity and what its holder proved."""

    identity: RegisteredIdentity
    verified: Verified


def are_accepted(runtime: Runtime) -> bool:
    """Whether people may sign in with identities here, on pages and from programs."""
    return "identity" in runtime.settings.sign_in_methods


def make_challenge(runtime: Runtime, purpose: str) -> Challenge:
    """Return a fresh challenge for a purpose, to be answered once within two minutes."""
    now = runtime.now()
    nonce = os.urandom(NONCE) + now.to_bytes(8, "big")
    randomness = nonce + _seal(runtime, purpose, nonce)
    return proof.issue_challenge(runtime.settings.issuer, purpose, randomness, now, CHALLENGE_LIFETIME)


def _seal(runtime: Runtime, purpose: str, nonce: bytes) -> bytes:
    return hmac.new(
        runtime.root.derive("zero challenges"), purpose.encode() + b"\n" + nonce, hashlib.sha256
    ).digest()


def _check_challenge(runtime: Runtime, challenge: bytes, purpose: str) -> None:
    nonce, seal = challenge[: NONCE + 8], challenge[NONCE + 8 :]
    if not hmac.compare_digest(seal, _seal(runtime, purpose, nonce)):
        raise ZeroError("challenge", "the challenge was not issued by this server for this purpose")
    issued = _issued(nonce)
    if not issued - LEEWAY <= runtime.now() < issued + CHALLENGE_LIFETIME + LEEWAY:
        raise ZeroError("expired", "the challenge has expired")


def read_proof(data: str | bytes) -> Proof:
    """Read a proof in any of its formats; raise ZeroError."""
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    if len(raw) > MAX_DOCUMENT:
        raise ZeroError("malformed", "the proof is too large")
    return files.load(raw, Proof)


async def check_proof(runtime: Runtime, given: Proof, purpose: str, channel: bytes | None) -> Proven:
    """Verify a proof of a registered identity and record its challenge as answered; raise ZeroError naming what is wrong."""
    _check_challenge(runtime, given.challenge, purpose)
    registered = await runtime.database.read(store.find_identity, given.public)
    if registered is None:
        raise ZeroError("identity", "the identity is not registered here")
    if registered.revoked_at is not None:
        raise ZeroError("revoked", "the identity was revoked")
    known = read_identity(registered.document)
    now = runtime.now()
    identity.check_identity(known, now=now, leeway=HOLDER_LEEWAY)
    verified = proof.verify_proof(
        given,
        identity_public=known.public,
        verifier=runtime.settings.issuer,
        purpose=purpose,
        challenge=given.challenge,
        channel=channel,
        now=now,
        leeway=HOLDER_LEEWAY,
        commitments=known.commitments,
    )
    outcome = await runtime.database.write(store.use_identity, _used(runtime, given), known.public, now)
    if outcome == "replayed":
        raise ZeroError("replayed", "the challenge was answered before")
    if outcome == "ended":  # no leeway here, where no other clock than this server's is asked
        raise ZeroError("expired", "the identity has expired, or was revoked just now")
    return Proven(registered, verified)


def _used(runtime: Runtime, given: Proof) -> Used:
    """Return the digest of an answered challenge, until when it has to be remembered, and when it was issued (Unix seconds)."""
    digest = hashlib.sha256(b"zero challenge\n" + given.challenge).digest()
    return digest, runtime.now() + 2 * CHALLENGE_LIFETIME, _issued(given.challenge)


def _issued(challenge: bytes) -> int:
    return int.from_bytes(challenge[NONCE : NONCE + 8], "big")


def read_identity(data: str | bytes) -> Identity:
    """Read a public identity document in any of its formats; raise ZeroError."""
    raw = data.encode("utf-8", "replace") if isinstance(data, str) else data
    if len(raw) > MAX_DOCUMENT:
        raise ZeroError("malformed", "the identity is too large")
    return files.load(raw, Identity)


def register_purpose(owner_id: str) -> str:
    """Return the purpose of a proof that registers an identity for one owner and nobody else."""
    return f"{REGISTER} {owner_id}"


async def register(
    runtime: Runtime,
    document: Identity,
    *,
    owner: tuple[str, str],
    name: str,
    actor: str,
    given: Proof | None,
    session: Session | None = None,
) -> RegisteredIdentity:
    """Register an identity for a user or client. `given` is the holder's proof for this owner; only an operator on the command line
    may do without. `session` is that of the person who asks for it on a page.

    Raises ZeroError, `invalid_request` for the name, `conflict` when the point is registered already or the owner is gone or has too many, or as
    `sessions.act`.
    """
    now = runtime.now()
    identity.check_identity(document, now=now, leeway=HOLDER_LEEWAY)
    if given is not None:
        await _check_registration(runtime, document, given, owner[1])
    registered = RegisteredIdentity(
        id=identity.identity_id(document.public),
        owner_kind=owner[0],
        owner_id=owner[1],
        name=check_text("name", name),
        document=_text(document),
        registered_at=now,
        expires_at=document.expires,
    )
    used = _used(runtime, given) if given is not None else None
    more = {"actor": actor, "used": used}
    if not await sessions.act(runtime, session, store.register_identity, registered, document.public, **more):
        raise OAuthError(
            "conflict",
            "This identity is registered already, or its owner is disabled or has too many.",
            field="identity",
        )
    return registered


async def _check_registration(runtime: Runtime, document: Identity, given: Proof, owner_id: str) -> None:
    purpose = register_purpose(owner_id)
    _check_challenge(runtime, given.challenge, purpose)
    proof.verify_proof(
        given,
        identity_public=document.public,
        verifier=runtime.settings.issuer,
        purpose=purpose,
        challenge=given.challenge,
        channel=None,
        now=runtime.now(),
        leeway=HOLDER_LEEWAY,
        commitments=document.commitments,
    )


def _text(document: Identity) -> str:
    return json.dumps(records.to_json(document), separators=(",", ":"))


async def renew(runtime: Runtime, renewed: Identity) -> RegisteredIdentity:
    """Accept a renewal signed by the holder; raise ZeroError when it is invalid, or not of an active identity."""
    registered = await runtime.database.read(store.find_identity, renewed.public)
    if registered is None or registered.revoked_at is not None:
        raise ZeroError("identity", "no such identity is registered here, or it was revoked")
    identity.check_renewal(
        read_identity(registered.document), renewed, now=runtime.now(), leeway=HOLDER_LEEWAY
    )
    stored = await runtime.database.write(
        store.renew_identity,
        renewed.public,
        known=registered.document,
        document=_text(renewed),
        expires_at=renewed.expires,
        now=runtime.now(),
    )
    if not stored:
        raise ZeroError("renewal", "the identity was changed meanwhile")
    return registered


async def revoke(runtime: Runtime, statement: Revocation, origin: Origin) -> None:
    """Accept a revocation signed by the holder at any time; revoking what is revoked already is no error. Raise ZeroError."""
    point = revocation.check_revocation(statement)
    registered = await runtime.database.read(store.find_identity, point)
    if registered is None:
        raise ZeroError("identity", "no such identity is registered here")
    owner = (registered.owner_kind, registered.owner_id)
    within = await telling(runtime, owner, origin, "identity_revoked")
    await within.database.write(store.revoke_identity, point, actor=registered.id, now=runtime.now())


async def telling(runtime: Runtime, owner: tuple[str, str], origin: Origin, change: str) -> Runtime:
    """Return a runtime for one write about an identity, of which its owner is told by mail if that is a person."""
    kind, owner_id = owner
    user = await runtime.database.read(users.get_user, owner_id) if kind == "user" else None
    if user is None:
        return runtime
    told = mail.notice(runtime, user, "new_factor", origin, PAGE, change=change)
    return mail.telling(runtime, {True: told})


async def throttle(runtime: Runtime, address: str) -> None:
    """Count a failed attempt from an address; raise `too_many_requests` when there were too many (LG-06).

    Only failures count, so that a valid proof is always accepted, however many people sign in from one address.
    """
    if wait := await take(runtime, f"zero address {network(address)}", CAPACITY, PER_SECOND):
        raise OAuthError("too_many_requests", "Too many attempts from this address.", retry_after=wait)


async def sign_in(
    runtime: Runtime, given: Proof, purpose: str = SIGN_IN, channel: bytes | None = None
) -> User:
    """Return the person whose identity is proven; the caller then creates the session or token. Raise ZeroError."""
    proven = await check_proof(runtime, given, purpose, channel)
    user = await runtime.database.read(users.get_user, proven.identity.owner_id)
    if proven.identity.owner_kind != "user" or user is None or user.disabled_at is not None:
        raise ZeroError("identity", "the identity belongs to no active account")
    # Read after the account: a revocation in between is not reflected in the account's proof epoch that was read.
    still = await runtime.database.read(store.find_identity, given.public)
    if still is None or still.revoked_at is not None:
        raise ZeroError("revoked", "the identity was revoked")
    return user


async def needs_second_factor(runtime: Runtime, user: User) -> bool:
    """Whether a proof alone does not sign a person in, because they have a second factor or policy demands that they set one up: programs
    can do neither."""
    if factors.is_required(runtime.settings, user):
        return True
    have = await runtime.database.read(enrolled, user.id)
    return bool(factors.demanded(runtime.settings, user, have))
