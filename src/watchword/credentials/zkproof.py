"""RFC 8235: Schnorr zero-knowledge proof, non-interactive, and the interactive identification beneath it.

The group is the prime-order subgroup of edwards25519 as libsodium implements it; no point or scalar is ever
computed here in Python. A prover who knows `a` shows it for the public point `A = aG`: it commits to
`V = vG`, learns a challenge `c`, and responds with `r = v - ac`; the verifier accepts when `V = rG + cA`. Two
responses to one commitment reveal `a`, which is why a nonce `v` must never serve twice.

This module owns the group, the decoding checks, the transcript hash and the equation. It does not own what is
being proven or when: contexts, lifetimes and files belong to `watchword.zero`. Randomness is passed in.
"""

import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from watchword.extras import SERVER, needing

with needing(SERVER, "nacl"):
    from nacl import bindings
    from nacl.exceptions import CryptoError

GROUP = "edwards25519"
BASE = bytes.fromhex("58" + "66" * 31)
SIZE = 32
WIDE = 64

_LENGTH_BYTES = 4
_NONCE_DOMAIN = b"watchword/zero/1/nonce"
# BASE plus the point of order two: a libsodium with CVE-2025-69277 accepts it as a member of the subgroup.
_MIXED_ORDER = bytes.fromhex("95" + "99" * 31)

if bindings.crypto_core_ed25519_is_valid_point(_MIXED_ORDER):
    raise ImportError(
        "this libsodium does not check subgroup membership (CVE-2025-69277): use PyNaCl 1.6.2 or later"
    )


class ZeroError(ValueError):
    """A zero-knowledge identity, proof or file was refused; `reason` is short and stable, for machines."""

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(message or reason)
        self.reason = reason


class Schnorr(msgspec.Struct, frozen=True):
    """A commitment and the response to the challenge that was hashed over it: 32 bytes each."""

    commitment: bytes
    response: bytes


def check_point(point: bytes) -> bytes:
    """Return the point when canonical, in the prime-order group, not the identity; else raise ZeroError."""
    if len(point) != SIZE or not bindings.crypto_core_ed25519_is_valid_point(point):  # §3.2
        raise ZeroError("point", "not a canonical point of the prime-order group")
    return point


def check_scalar(scalar: bytes) -> bytes:
    """Return the scalar when it is 32 bytes, reduced and not zero; raise ZeroError otherwise."""
    if len(scalar) != SIZE:
        raise ZeroError("scalar", "a scalar has 32 bytes")
    reduced = bindings.crypto_core_ed25519_scalar_reduce(scalar + bytes(SIZE))
    if not hmac.compare_digest(reduced, scalar) or hmac.compare_digest(scalar, bytes(SIZE)):
        raise ZeroError("scalar", "the scalar is zero or not canonical")
    return scalar


def scalar_from(uniform: bytes) -> bytes:
    """Reduce 64 uniform bytes to a scalar (bias below 2^-259); raise ZeroError for zero or another length."""
    if len(uniform) != WIDE:
        raise ZeroError("scalar", "a scalar is made from 64 uniform bytes")
    return check_scalar(bindings.crypto_core_ed25519_scalar_reduce(uniform))


def public_point(secret: bytes) -> bytes:
    """Return the public point of a secret scalar."""
    return bindings.crypto_scalarmult_ed25519_base_noclamp(check_scalar(secret))


def respond(secret: bytes, nonce: bytes, challenge: bytes) -> bytes:
    """Answer one challenge with `r = v - ac`, all scalars; the caller never uses the nonce again."""
    product = bindings.crypto_core_ed25519_scalar_mul(check_scalar(challenge), check_scalar(secret))
    return check_scalar(bindings.crypto_core_ed25519_scalar_sub(check_scalar(nonce), product))  # §3.2


def holds(public: bytes, proof: Schnorr, challenge: bytes) -> bool:
    """Tell whether `V = rG + cA`; raise ZeroError when a point or scalar is not a valid encoding."""
    check_point(public)
    check_point(proof.commitment)
    check_scalar(proof.response)
    check_scalar(challenge)
    try:
        sum_of_both = bindings.crypto_core_ed25519_add(
            bindings.crypto_scalarmult_ed25519_base_noclamp(proof.response),
            bindings.crypto_scalarmult_ed25519_noclamp(challenge, public),
        )
    except CryptoError:
        return False
    return hmac.compare_digest(sum_of_both, proof.commitment)  # §3.2


def frame(fields: Iterable[bytes]) -> bytes:
    """Join fields, each after its length in four bytes: no two lists of fields give the same bytes."""
    return b"".join(len(field).to_bytes(_LENGTH_BYTES, "big") + field for field in fields)  # §3.3


def hash_challenge(domain: str, public: bytes, commitment: bytes, fields: Iterable[bytes]) -> bytes:
    """Hash domain, group, base, commitment, public point and fields with SHA-512 to a challenge scalar."""
    transcript = frame((domain.encode(), GROUP.encode(), BASE, commitment, public, *fields))  # §3.1, §3.3
    return scalar_from(hashlib.sha512(transcript).digest())


def hedge_nonce(secret: bytes, randomness: bytes, context: bytes = b"") -> bytes:
    """Make a nonce from 32 or more random bytes, the secret and the context.

    The context is included so that repeated or poor randomness never gives two challenges the same nonce.
    """
    if len(randomness) < SIZE:
        raise ZeroError("randomness", "a nonce needs at least 32 random bytes")
    message = frame((_NONCE_DOMAIN, randomness, context))
    return scalar_from(hmac.digest(check_scalar(secret), message, "sha512"))


def prove(domain: str, secret: bytes, fields: Iterable[bytes], randomness: bytes) -> Schnorr:
    """Prove knowledge of the secret, bound to the domain and the fields (RFC 8235 §3)."""
    bound = tuple(fields)
    public = public_point(secret)
    nonce = hedge_nonce(secret, randomness, frame((domain.encode(), public, *bound)))
    commitment = public_point(nonce)
    return Schnorr(commitment, respond(secret, nonce, hash_challenge(domain, public, commitment, bound)))


def check(domain: str, public: bytes, fields: Iterable[bytes], proof: Schnorr) -> None:
    """Check a non-interactive proof; raise ZeroError with reason `point`, `scalar` or `proof`."""
    if not holds(public, proof, hash_challenge(domain, public, proof.commitment, fields)):
        raise ZeroError("proof", "the proof does not hold")
