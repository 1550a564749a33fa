"""RFC 7521 and RFC 7523: client assertions.

Owns what an assertion must contain. Finding the client's keys and recording the `jti` as used are the caller's business.
"""

from collections.abc import Sequence

import msgspec

from watchword.jose import JoseError, jws, jwt
from watchword.jose.jwk import Key, b64decode
from watchword.oauth.clients import FAPI_ALGORITHMS
from watchword.oauth.errors import OAuthError

# Seconds. Widely used libraries make assertions that live an hour; each is accepted once in any case.
MAX_LIFETIME, MAX_LIFETIME_FAPI = 3600, 600
LEEWAY = 30
MAX_JTI = 256


class CheckedAssertion(msgspec.Struct, frozen=True):
    """A valid assertion whose `jti` is yet to be recorded as used; it cannot have been used before `earliest`. Times are Unix seconds."""

    jti: str
    expires_at: int
    earliest: int


def peek_subject(assertion: str) -> str | None:
    """Return the `sub` of an unverified assertion, to look its client up; None when malformed."""
    try:
        jws.peek(assertion)
        subject = jwt.read_claims(b64decode(assertion.split(".")[1])).get("sub")
    except JoseError:
        return None
    return subject if isinstance(subject, str) and subject else None


def check_client_assertion(
    assertion: str, *, keys: Sequence[Key], client_id: str, issuer: str, fapi: bool, now: int
) -> CheckedAssertion:
    """Check a client assertion (RFC 7523 §3); raise `invalid_client`."""
    try:
        claims = jwt.decode(
            assertion,
            keys,
            algorithms=FAPI_ALGORITHMS if fapi else tuple(jws.ALGORITHMS),
            typ=("JWT", "client-authentication+jwt", ""),
            now=now,
            leeway=LEEWAY,
            required=("iss", "sub", "aud", "exp", "jti"),
        )
    except JoseError as error:
        raise _refused(error.reason) from None
    if claims["iss"] != client_id or claims["sub"] != client_id:  # §3 (1), (2)
        raise _refused("issuer or subject is not the client")
    # §3 (3), as tightened in 2025: the issuer as a string, nothing else. A token endpoint or a list may name another server too (CL-06).
    if claims["aud"] != issuer:
        raise _refused("audience is not the issuer")
    longest = MAX_LIFETIME_FAPI if fapi else MAX_LIFETIME
    if claims["exp"] > now + longest + LEEWAY:
        raise _refused("lives too long")
    if fapi and claims.get("iat", 0) > now + jwt.AHEAD:  # FAPI 2.0 §5.3.2.1
        raise _refused("issued in the future")
    if not 0 < len(claims["jti"]) <= MAX_JTI:
        raise _refused("jti is empty or too long")
    earliest = jwt.earliest(claims, longest=longest, leeway=LEEWAY)
    return CheckedAssertion(claims["jti"], int(claims["exp"]) + LEEWAY, earliest)


def _refused(reason: str) -> OAuthError:
    return OAuthError("invalid_client", "Client authentication failed.", detail=f"assertion: {reason}")
