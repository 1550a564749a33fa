"""RFC 7519 and RFC 8725: JSON Web Token.

Owns the registered claims and their checks. The caller names the claims that its profile requires.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from watchword.jose import jws, strict_json
from watchword.jose.errors import JoseError
from watchword.jose.jwk import Key, b64decode, public_document
from watchword.jose.strict_json import StrictJSONError

MAX_DATE = 2**53
AHEAD = 60  # seconds, in addition to the leeway, by which the issuer's clock may be ahead
TEXT_CLAIMS = ("iss", "sub", "jti")
DATES = ("exp", "nbf", "iat")
NUMBER = (int, float)
SEQUENCE = (list, tuple)

_encode = msgspec.json.Encoder().encode


def encode(key: Key, claims: Mapping[str, object], typ: str | None = "JWT") -> str:
    """Sign claims as a JWT."""
    return jws.sign(key, {"typ": typ} if typ else {}, _encode(claims))


def encode_with_key(key: Key, claims: Mapping[str, object], typ: str) -> str:
    """Sign claims as a JWT with its public key in the header, as a DPoP proof (RFC 9449 §4.2)."""
    public = {name: value for name, value in public_document(key).items() if name not in ("kid", "alg")}
    return jws.sign(key, {"typ": typ, "jwk": public}, _encode(claims))


def decode(
    token: str,
    keys: Iterable[Key],
    *,
    algorithms: Collection[str],
    typ: str | Collection[str] | None,
    issuer: str | None = None,
    audience: str | None = None,
    now: int,
    leeway: int = 0,
    required: Collection[str] = (),
) -> dict[str, Any]:
    """Verify a JWT and return its claims; `now` and `leeway` in seconds. Raise JoseError with the reason."""
    header, payload = jws.verify(token, keys, algorithms)
    _check_type(header.typ, typ)
    claims = read_claims(payload)
    for name in required:
        if name not in claims:
            raise JoseError(f"missing {name}")
    _check_times(claims, now, leeway)
    if issuer is not None and claims.get("iss") != issuer:
        raise JoseError("issuer")
    if audience is not None and audience not in _audiences(claims):
        raise JoseError("audience")
    return claims


def earliest(claims: Mapping[str, Any], *, longest: int, leeway: int) -> int:
    """Return a time (Unix seconds) before which `decode` cannot have accepted claims with an `exp`.

    `longest` is how many seconds ahead `exp` may be, in addition to the `leeway`.
    """
    dates = (
        claims["exp"] - longest - leeway,
        claims.get("iat", 0) - leeway - AHEAD,
        claims.get("nbf", 0) - leeway,
    )
    return int(max(dates))


def peek(token: str) -> dict[str, Any]:
    """Read the claims of a JWT without trusting them; raise JoseError."""
    jws.peek(token)
    return read_claims(b64decode(token.split(".")[1]))


def read_claims(payload: bytes) -> dict[str, Any]:
    """Parse a claims set and check the types of the registered claims (§4.1); raise JoseError."""
    try:
        claims = strict_json.loads(payload, max_bytes=jws.MAX_TOKEN)
    except StrictJSONError:
        raise JoseError("malformed") from None
    if not isinstance(claims, dict):
        raise JoseError("malformed")
    for name in TEXT_CLAIMS:
        if not isinstance(claims.get(name, ""), str):
            raise JoseError("malformed")
    _audiences(claims)
    for name in DATES:
        if name in claims:
            _check_date(claims[name])
    return claims


def _check_type(found: str | None, wanted: str | Collection[str] | None) -> None:
    if wanted is None:
        return
    accepted = (wanted,) if isinstance(wanted, str) else wanted
    given = (found or "").lower().removeprefix("application/")  # RFC 7515 §4.1.9
    if given not in [name.lower() for name in accepted]:  # RFC 8725 §3.11
        raise JoseError("type")


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    aud = claims.get("aud", ())
    if isinstance(aud, str):
        return (aud,)
    if isinstance(aud, SEQUENCE) and all(isinstance(name, str) for name in aud):
        return tuple(aud)
    raise JoseError("malformed")


def _check_date(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, NUMBER) or not 0 <= value <= MAX_DATE:
        raise JoseError("malformed")


def _check_times(claims: Mapping[str, Any], now: int, leeway: int) -> None:
    exp, nbf, iat = claims.get("exp"), claims.get("nbf"), claims.get("iat")
    if exp is not None and now >= exp + leeway:  # §4.1.4: "on or after which the JWT MUST NOT be accepted"
        raise JoseError("expired")
    if nbf is not None and now + leeway < nbf:  # §4.1.5
        raise JoseError("not yet valid")
    if iat is not None and now + leeway + AHEAD < iat:
        raise JoseError("issued in the future")
