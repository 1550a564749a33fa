"""docs/zero.md §2: everything that is derived from a seed, by HKDF-SHA-512 (RFC 5869) with one label for each use.

A derived seed reveals nothing about the seed it came from, nor about its siblings; whoever has the seed can derive them all.
"""

import hashlib

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.bindings import crypto_sign_seed_keypair

from watchword.credentials.zkproof import SIZE, WIDE, frame, public_point, scalar_from
from watchword.zero.records import Secret, check_label, encode_base64url

SALT = b"watchword/zero/1"
SALT_SIZE = 16


def expand(seed: bytes, label: str, size: int, *context: bytes) -> bytes:
    """Derive `size` bytes from the seed for one labelled use and its context."""
    return HKDF(SHA512(), size, SALT, frame((label.encode(), *context))).derive(seed)


def secret_scalar(seed: bytes) -> bytes:
    """Return the secret scalar of a seed."""
    return scalar_from(expand(seed, "scalar", WIDE))


def public_of(seed: bytes) -> bytes:
    """Return the public point of a seed."""
    return public_point(secret_scalar(seed))


def derive(secret: Secret, verifier: str, purpose: str, attributes: tuple[str, ...] = ()) -> Secret:
    """Make the identity for one verifier and purpose; it carries only the attributes named, by default none."""
    check_label("verifier", verifier)
    check_label("purpose", purpose)
    seed = expand(secret.seed, "derive", SIZE, verifier.encode(), purpose.encode())
    return Secret(seed, attributes)


def attribute_salt(seed: bytes, name: str, value: str) -> bytes:
    """Return the salt under which one value (as JSON text) of one attribute is committed to."""
    return expand(seed, "attribute-salt", SALT_SIZE, name.encode(), value.encode())


def decoy(seed: bytes, index: int) -> bytes:
    """Return 32 bytes that look like the digest of a disclosure but open to nothing."""
    return expand(seed, "decoy", SIZE, index.to_bytes(4, "big"))


def binding_jwk(seed: bytes) -> dict[str, str]:
    """Return the Ed25519 key that signs key-binding JWTs, as a private JWK; it is independent of the scalar."""
    private = expand(seed, "key-binding", SIZE)
    public, _ = crypto_sign_seed_keypair(private)
    return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(public), "d": encode_base64url(private)}


def binding_thumbprint(seed: bytes) -> str:
    """Return the RFC 7638 thumbprint of the key-binding key."""
    members = '{"crv":"Ed25519","kty":"OKP","x":"' + binding_jwk(seed)["x"] + '"}'
    return encode_base64url(hashlib.sha256(members.encode()).digest())
