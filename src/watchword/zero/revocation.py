"""docs/zero.md §7: a holder's statement that an identity is never to be accepted again, and a file of them.

A revocation takes effect when it becomes known, whatever date it carries: one made in advance and kept apart works
when the secret is lost. A registry is a text of one JSON revocation a line; every line is verified, and one that
fails makes the whole text refused, because a damaged line must not bring an identity back.
"""

from collections.abc import Iterable

from watchword.credentials import zkproof
from watchword.credentials.zkproof import Schnorr, ZeroError
from watchword.zero.derivation import public_of, secret_scalar
from watchword.zero.records import Revocation, Secret, checked, from_json, parse_json

DOMAIN = "watchword/zero/1/revocation"


def revoke(secret: Secret, revoked: int, reason: str, randomness: bytes) -> Revocation:
    """Make the revocation of a secret's identity; the reason is one of four words. Raises ZeroError."""
    public = public_of(secret.seed)
    checked(Revocation(public, revoked, reason, bytes(32), bytes(32)))
    proof = zkproof.prove(DOMAIN, secret_scalar(secret.seed), _fields(revoked, reason), randomness)
    return Revocation(public, revoked, reason, proof.commitment, proof.response)


def check_revocation(revocation: Revocation) -> bytes:
    """Return the public point that is revoked when the holder's proof holds; raise ZeroError."""
    proof = Schnorr(revocation.commitment, revocation.response)
    zkproof.check(DOMAIN, revocation.public, _fields(revocation.revoked, revocation.reason), proof)
    return revocation.public


def read_registry(lines: Iterable[str]) -> frozenset[bytes]:
    """Return the revoked public points of a registry; raise ZeroError naming the line that is not a revocation."""
    revoked = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            revoked.add(check_revocation(from_json(parse_json(line), Revocation)))
        except ZeroError as error:
            raise ZeroError("registry", f"line {number}: {error}") from None
    return frozenset(revoked)


def _fields(revoked: int, reason: str) -> tuple[bytes, ...]:
    return revoked.to_bytes(8, "big"), reason.encode()
