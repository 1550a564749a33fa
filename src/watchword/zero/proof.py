"""docs/zero.md §5: answer a verifier's challenge, and verify the answer.

A proof is bound to the verifier, the purpose, the challenge, its time and, where there is one, the channel's key, so
that it is worthless anywhere else. Non-interactive (`prove`): the challenge is known before the commitment is made.
Interactive (`Prover`): commitment first, then the challenge, then the response. Both are verified alike. Whoever
issued a challenge has to enforce that it is answered only once.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable

import msgspec
from msgspec import structs

from watchword.credentials import zkproof
from watchword.credentials.zkproof import Schnorr, ZeroError, frame
from watchword.zero.derivation import public_of, secret_scalar
from watchword.zero.disclosure import Value, check_opened, open_attributes
from watchword.zero.records import Challenge, Proof, Secret, checked

DOMAIN = "watchword/zero/1/proof"
LIFETIME = 120
MAX_LIFETIME = 600


class Verified(msgspec.Struct, frozen=True):
    """What a verified proof says; times in Unix seconds. Attributes are what the holder claims of itself."""

    public: bytes
    verifier: str
    purpose: str
    challenge: bytes
    channel: bytes | None
    issued: int
    expires: int
    attributes: dict[str, Value]


def dpop_channel(jkt: str) -> bytes:
    """Return the channel of a DPoP key, by its RFC 7638 thumbprint."""
    return b"jkt:" + jkt.encode()


def tls_channel(exporter: bytes) -> bytes:
    """Return the channel of a TLS connection, by its RFC 9266 exporter value."""
    return b"tls-exporter:" + hashlib.sha256(exporter).digest()


def issue_challenge(verifier: str, purpose: str, randomness: bytes, now: int, lifetime: int) -> Challenge:
    """Make a challenge from 16 to 64 random bytes, to be answered within `lifetime` seconds."""
    return checked(Challenge(verifier, purpose, randomness, now, now + lifetime))


def check_challenge(challenge: Challenge, *, now: int, leeway: int = 0) -> None:
    """Raise ZeroError `expired` or `not_yet_valid` when a challenge may not be answered now."""
    if now < challenge.issued - leeway:
        raise ZeroError("not_yet_valid", "the challenge is not valid yet")
    if now >= challenge.expires + leeway:
        raise ZeroError("expired", "the challenge has expired")


def prove(
    secret: Secret,
    challenge: Challenge,
    *,
    channel: bytes | None,
    disclose: Iterable[str] = (),
    now: int,
    lifetime: int = LIFETIME,
    randomness: bytes,
) -> Proof:
    """Answer a challenge; `disclose` names the attributes to open, `randomness` is 32 fresh random bytes."""
    blank = _blank(secret, challenge, channel, disclose, now, lifetime)
    return _completed(blank, zkproof.prove(DOMAIN, secret_scalar(secret.seed), _fields(blank), randomness))


class Prover:
    """The interactive prover: gives its commitment, then answers one challenge, once."""

    def __init__(self, secret: Secret, randomness: bytes) -> None:
        self._secret = secret
        nonce = zkproof.hedge_nonce(secret_scalar(secret.seed), randomness)
        self._nonces = [nonce]  # of several threads one alone can take it out
        self.commitment = zkproof.public_point(nonce)

    def respond(
        self,
        challenge: Challenge,
        *,
        channel: bytes | None,
        disclose: Iterable[str] = (),
        now: int,
        lifetime: int = LIFETIME,
    ) -> Proof:
        """Answer the challenge; a second call raises ZeroError `nonce`, because two answers would reveal the secret."""
        blank = _blank(self._secret, challenge, channel, disclose, now, lifetime)
        try:
            nonce = self._nonces.pop()
        except IndexError:
            reason = "this commitment has been answered: two answers would reveal the secret"
            raise ZeroError("nonce", reason) from None
        scalar = zkproof.hash_challenge(DOMAIN, blank.public, self.commitment, _fields(blank))
        response = zkproof.respond(secret_scalar(self._secret.seed), nonce, scalar)
        return _completed(blank, Schnorr(self.commitment, response))


def verify_proof(
    proof: Proof,
    *,
    identity_public: bytes,
    verifier: str,
    purpose: str,
    challenge: bytes,
    channel: bytes | None,
    now: int,
    leeway: int,
    commitments: Collection[str] = (),
    commitment: bytes | None = None,
) -> Verified:
    """Verify a proof against everything that it must be bound to, or raise ZeroError naming what is wrong.

    `commitments` are the registered identity's; without them no attribute may be disclosed. `commitment` is what an
    interactive prover sent before it saw the challenge. `now` and `leeway` are in seconds.
    """
    _check_bound("identity", proof.public, identity_public)
    _check_bound("verifier", proof.verifier.encode(), verifier.encode())
    _check_bound("purpose", proof.purpose.encode(), purpose.encode())
    _check_bound("challenge", proof.challenge, challenge)
    _check_bound("channel", proof.channel, channel or b"")
    if commitment is not None:
        _check_bound("commitment", proof.commitment, commitment)
    _check_time(proof, now, leeway)
    zkproof.check(DOMAIN, identity_public, _fields(proof), Schnorr(proof.commitment, proof.response))
    attributes = check_opened(proof.disclosures, commitments)
    return Verified(
        identity_public,
        verifier,
        purpose,
        challenge,
        channel or None,
        proof.issued,
        proof.expires,
        attributes,
    )


def _blank(
    secret: Secret,
    challenge: Challenge,
    channel: bytes | None,
    disclose: Iterable[str],
    now: int,
    lifetime: int,
) -> Proof:
    check_challenge(challenge, now=now, leeway=LIFETIME)
    if not 0 < lifetime <= MAX_LIFETIME:
        raise ZeroError("lifetime", f"a proof lives 1 to {MAX_LIFETIME} seconds")
    return checked(
        Proof(
            public_of(secret.seed),
            challenge.verifier,
            challenge.purpose,
            challenge.challenge,
            now,
            now + lifetime,
            channel or b"",
            open_attributes(secret, disclose),
            bytes(32),
            bytes(32),
        )
    )


def _completed(blank: Proof, schnorr: Schnorr) -> Proof:
    return structs.replace(blank, commitment=schnorr.commitment, response=schnorr.response)


def _fields(proof: Proof) -> tuple[bytes, ...]:
    return (
        proof.verifier.encode(),
        proof.purpose.encode(),
        proof.challenge,
        proof.issued.to_bytes(8, "big"),
        proof.expires.to_bytes(8, "big"),
        proof.channel,
        frame(disclosure.encode() for disclosure in proof.disclosures),
    )


def _check_bound(what: str, got: bytes, wanted: bytes) -> None:
    if not hmac.compare_digest(got, wanted):
        raise ZeroError(what, f"the proof is bound to another {what}")


def _check_time(proof: Proof, now: int, leeway: int) -> None:
    if not 0 < proof.expires - proof.issued <= MAX_LIFETIME:
        raise ZeroError("lifetime", f"a proof lives 1 to {MAX_LIFETIME} seconds")
    if now < proof.issued - leeway:
        raise ZeroError("not_yet_valid", "the proof is not valid yet")
    if now >= proof.expires + leeway:
        raise ZeroError("expired", "the proof has expired")
