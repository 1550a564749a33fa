"""RFC 7521 and RFC 7523: client assertions.

Owns what an assertion must contain. Finding the client's keys and recording the `jti` as used are the caller's business.
"""

from collections.abc import Sequence

import msgspec

from watchword.jose import JoseError, jws, jwt
from watchword.jose.jwk import Key, own_name
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
        subject: str | None = jwt.peek(assertion).get("sub")
    except JoseError:
        return None
    return subject or None


def registered(algorithm: str | None, fapi: bool) -> str | None:
    """Return the algorithm that a client may register for its assertions; raise `invalid_client_metadata` for any other."""
    allowed = FAPI_ALGORITHMS if fapi else tuple(jws.ALGORITHMS)
    if algorithm is not None and own_name(algorithm) not in allowed:
        raise OAuthError(
            "invalid_client_metadata",
            f"The algorithm is one of {', '.join(allowed)}.",
            field="token_endpoint_auth_signing_alg",
        )
    return algorithm


def check_client_assertion(
    assertion: str,
    *,
    keys: Sequence[Key],
    client_id: str,
    issuer: str,
    fapi: bool,
    algorithm: str | None = None,
    now: int,
) -> CheckedAssertion:
    """Check a client assertion (RFC 7523 §3), signed by the `algorithm` that the client registered, if any; raise `invalid_client`."""
    allowed = FAPI_ALGORITHMS if fapi else tuple(jws.ALGORITHMS)
    try:
        claims = jwt.decode(
            assertion,
            keys,
            # OpenID Connect Registration §2: "MUST be rejected, if the JWT is not signed with this algorithm"
            algorithms=[name for name in allowed if algorithm is None or name == own_name(algorithm)],
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
