"""docs/zero.md §4: create, verify and renew an identity.

The document carries a proof by its own key over every field: nobody without the seed can alter it, and nobody can
enter another's point as their own. It proves possession, nothing else: attributes are the holder's own claims.
"""

import hashlib
from collections.abc import Collection

from msgspec import structs

from watchword.credentials import zkproof
from watchword.credentials.zkproof import Schnorr, ZeroError, frame
from watchword.zero.derivation import binding_thumbprint, public_of, secret_scalar
from watchword.zero.disclosure import commitments
from watchword.zero.records import Identity, Secret, checked, encode_base64url

DOMAIN = "watchword/zero/1/identity"
MAX_LIFETIME = 10 * 366 * 86400


def identity_id(public: bytes) -> str:
    """Return the short name of a public point, for people, logs and file names."""
    return "zid_" + encode_base64url(hashlib.sha256(frame((DOMAIN.encode(), public))).digest()[:24])


def create(secret: Secret, created: int, expires: int, randomness: bytes) -> Identity:
    """Make the public identity of a secret, valid from `created` to `expires` (Unix seconds)."""
    blank = Identity(
        public_of(secret.seed),
        created,
        created,
        expires,
        0,
        binding_thumbprint(secret.seed),
        commitments(secret),
        bytes(32),
        bytes(32),
    )
    return _prove(blank, secret, randomness)


def renew(identity: Identity, secret: Secret, renewed: int, expires: int, randomness: bytes) -> Identity:
    """Extend an identity's expiry with the holder's proof; raise ZeroError when it is expired or another's."""
    if public_of(secret.seed) != identity.public:
        raise ZeroError("identity", "the secret belongs to another identity")
    extended = structs.replace(identity, renewed=renewed, expires=expires, sequence=identity.sequence + 1)
    proven = _prove(extended, secret, randomness)
    check_renewal(identity, proven, now=renewed)
    return proven


def check_identity(
    identity: Identity, *, now: int, leeway: int = 0, revoked: Collection[bytes] = frozenset()
) -> None:
    """Check proof, lifetime and revocation; raise ZeroError `proof`, `expired`, `not_yet_valid` or `revoked`."""
    zkproof.check(DOMAIN, identity.public, _fields(identity), Schnorr(identity.commitment, identity.response))
    _check_lifetime(identity)
    if identity.public in revoked:
        raise ZeroError("revoked", "the identity has been revoked")
    if now < max(identity.created, identity.renewed) - leeway:
        raise ZeroError("not_yet_valid", "the identity is not valid yet")
    if now >= identity.expires + leeway:
        raise ZeroError("expired", "the identity has expired")


def check_renewal(known: Identity, renewed: Identity, *, now: int, leeway: int = 0) -> None:
    """Check that a document renews a known one, in time and changing nothing else; raise ZeroError `renewal`."""
    check_identity(known, now=now, leeway=leeway)
    check_identity(renewed, now=now, leeway=leeway)
    if (known.public, known.created, known.jkt, known.commitments) != (
        renewed.public,
        renewed.created,
        renewed.jkt,
        renewed.commitments,
    ):
        raise ZeroError("renewal", "a renewal changes the expiry and nothing else")
    if renewed.sequence <= known.sequence or renewed.expires <= known.expires:
        raise ZeroError("renewal", "a renewal goes forward")


def _check_lifetime(identity: Identity) -> None:
    if not identity.created <= identity.renewed < identity.expires <= identity.renewed + MAX_LIFETIME:
        raise ZeroError("lifetime", "an identity ends after it begins, within ten years")


def _prove(identity: Identity, secret: Secret, randomness: bytes) -> Identity:
    checked(identity)
    _check_lifetime(identity)
    proof = zkproof.prove(DOMAIN, secret_scalar(secret.seed), _fields(identity), randomness)
    return structs.replace(identity, commitment=proof.commitment, response=proof.response)


def _fields(identity: Identity) -> tuple[bytes, ...]:
    numbers = (identity.created, identity.renewed, identity.expires, identity.sequence)
    return (
        *(number.to_bytes(8, "big") for number in numbers),
        identity.jkt.encode(),
        frame(digest.encode() for digest in identity.commitments),
    )
