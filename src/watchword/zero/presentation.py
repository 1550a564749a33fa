"""docs/zero.md §6: a challenge answered with an SD-JWT, for verifiers that speak JOSE rather than Schnorr.

The key-binding JWT carries what a proof is bound to: the verifier as `aud`, the challenge as `nonce`, and purpose and channel as
claims of their own, which other verifiers ignore. What it presents is either self-asserted by the holder (`sd_jwt.issue_own`) or a
credential that an issuer signed over those of the identity's commitments that were opened to it (`sd_jwt.issue`).
"""

import hmac
from collections.abc import Iterable

from watchword.credentials.zkproof import ZeroError
from watchword.jose import jwk, jwt
from watchword.zero import sd_jwt
from watchword.zero.disclosure import digest, open_attributes
from watchword.zero.identity import identity_id
from watchword.zero.proof import LIFETIME, check_challenge
from watchword.zero.records import Challenge, Identity, Secret, encode_base64url
from watchword.zero.sd_jwt import Presented

START = b"eyJ"


def answer(
    secret: Secret,
    challenge: Challenge,
    *,
    channel: bytes | None,
    disclose: Iterable[str],
    now: int,
    credential: str | None = None,
) -> str:
    """Answer a challenge with an SD-JWT: an issuer's credential or, without one, a self-asserted one. Raise ZeroError."""
    check_challenge(challenge, now=now, leeway=LIFETIME)
    names, key = tuple(disclose), sd_jwt.binding_key(secret)
    if credential is not None:
        _check_credential(credential, key)
        _check_attested(credential, secret, names)
    return sd_jwt.present(
        credential or sd_jwt.issue_own(secret, now, names),
        secret,
        names,
        key,
        audience=challenge.verifier,
        nonce=encode_base64url(challenge.challenge),
        now=now,
        bound=_bound(challenge, channel),
    )


def _check_credential(credential: str, key: jwk.Key) -> None:
    """Raise ZeroError for anything but a credential for the holder of this key: no verifier would accept the answer."""
    # With disclosures in it, all of them would be shown along with those that were asked for.
    if credential.count("~") != 1 or not credential.endswith("~"):
        raise ZeroError("malformed", "the credential is not what an issuer signed: it has been shown already")
    if sd_jwt.peek_key(credential).thumbprint != key.thumbprint:
        raise ZeroError(
            "identity", "the credential was signed for another identity than the one that answers"
        )


def _check_attested(credential: str, secret: Secret, names: Iterable[str]) -> None:
    """Raise ZeroError for an attribute that the issuer did not sign: no verifier would accept the answer (RFC 9901 §7.1)."""
    signed = jwt.peek(credential.partition("~")[0]).get("_sd")
    for name in names:
        (disclosure,) = open_attributes(secret, [name])
        if not isinstance(signed, list) or digest(disclosure) not in signed:
            raise ZeroError("attribute", f"the credential does not attest {name!r}")


def verify_own(
    presentation: str,
    identity: Identity,
    challenge: Challenge,
    *,
    channel: bytes | None,
    now: int,
    leeway: int,
) -> Presented:
    """Verify a self-asserted presentation against the holder's registered identity; raise ZeroError."""
    key = sd_jwt.peek_key(presentation)
    if not hmac.compare_digest(key.thumbprint.encode(), identity.jkt.encode()):
        raise ZeroError("identity", "the SD-JWT is signed with a key that is not the identity's")
    issuer = identity_id(identity.public)
    presented = verify_issued(presentation, issuer, [key], challenge, channel=channel, now=now, leeway=leeway)
    check_same(presented, identity)
    return presented


def verify_issued(
    presentation: str,
    issuer: str,
    issuer_keys: Iterable[jwk.Key],
    challenge: Challenge,
    *,
    channel: bytes | None,
    now: int,
    leeway: int,
) -> Presented:
    """Verify a presentation of an issuer's credential as the answer to a challenge; raise ZeroError."""
    return sd_jwt.verify(
        presentation,
        issuer_keys,
        issuer=issuer,
        audience=challenge.verifier,
        nonce=encode_base64url(challenge.challenge),
        now=now,
        leeway=leeway,
        bound=_bound(challenge, channel),
    )


def check_same(presented: Presented, identity: Identity) -> None:
    """Raise ZeroError unless a presentation is of this identity and of attributes that it commits to."""
    if not hmac.compare_digest(presented.public.encode(), encode_base64url(identity.public).encode()):
        raise ZeroError("identity", "the SD-JWT is of another identity")
    if not presented.committed <= frozenset(identity.commitments):
        raise ZeroError("disclosure", "the SD-JWT commits to other attributes than the identity")


def _bound(challenge: Challenge, channel: bytes | None) -> dict[str, str]:
    return {"purpose": challenge.purpose, "channel": encode_base64url(channel or b"")}
