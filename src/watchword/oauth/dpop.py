"""RFC 9449: Demonstrating Proof of Possession.

Owns what a proof must contain. Recording its `jti` as used, so that it works once, is the caller's business (§11.1).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from watchword.jose import JoseError, jwk, jws, jwt
from watchword.oauth.errors import OAuthError

ALGORITHMS = tuple(jws.ALGORITHMS)
# Seconds. A proof is accepted from `iat` - LEEWAY to `iat` + MAX_AGE; its use must be remembered for the sum of both. The
# certification suite sends proofs that are up to ten seconds ahead, and clocks of real clients are sometimes off by over a minute.
MAX_AGE = 120
LEEWAY = 30
MAX_JTI = 256
MAX_PROOF = 8192
# Seconds. A new nonce is handed out every NONCE_STEP, so that clients have a fresh one long before theirs expires.
NONCE_LIFETIME = 300
NONCE_STEP = 60
MAX_NONCE = 64
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class DPoPProof(msgspec.Struct, frozen=True):
    """A valid proof; `jkt` is the thumbprint of its key, `iat` in Unix seconds."""

    jkt: str
    jti: str
    iat: int
    nonce: str | None


def names_of(algorithms: Collection[str] = ALGORITHMS) -> str:
    """Return algorithms by every name that a proof may use, as a challenge lists them in `algs` (§7.1)."""
    return " ".join(name for name in jws.NAMES if jwk.own_name(name) in algorithms)


ALGS = names_of()


def is_held(cnf: object, jkt: str | None) -> bool:
    """Whether the key that an assertion's `cnf` names by its thumbprint is the one that was proven (RFC 7800 §3.1)."""
    return jkt is not None and cnf == {"jkt": jkt}


def check_proof(
    proof: str,
    *,
    method: str,
    uri: str,
    alias: str | None = None,
    now: int,
    access_token: str | None = None,
    expected_jkt: str | None = None,
    algorithms: Collection[str] = ALGORITHMS,
    nonce_check: Callable[[str], bool] | None = None,
) -> DPoPProof:
    """Check a proof for a request (§4.3); raise `invalid_dpop_proof`, or `use_dpop_nonce` (§8).

    `alias` is another address of the same target. `access_token` is the token that came with it and `expected_jkt` the key that the
    token is bound to. With `nonce_check`, the proof must hold a nonce that it accepts; the caller answers `use_dpop_nonce` with a
    fresh one.
    """
    key, claims = _verified(proof, algorithms, now)
    if claims["htm"] != method:  # §4.3 (8)
        raise _refused("made for another method")
    if not any(_same_target(claims["htu"], target) for target in (uri, alias) if target):  # §4.3 (9)
        raise _refused("made for another address")
    if not now - MAX_AGE <= claims["iat"] <= now + LEEWAY:  # §4.3 (11)
        raise _refused("too old or from the future")
    if not 0 < len(claims["jti"]) <= MAX_JTI:
        raise _refused("jti is empty or too long")
    if access_token is not None and not _same(claims.get("ath"), _hash(access_token)):  # §4.3 (12)
        raise _refused("made for another token")
    if expected_jkt is not None and not _same(key.thumbprint, expected_jkt):
        raise _refused("made with another key")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str | None):
        raise _refused("a nonce that is not a string")
    if nonce_check is not None and (nonce is None or not nonce_check(nonce)):  # §4.3 (10)
        raise OAuthError("use_dpop_nonce", "Repeat the request with the nonce that comes with this answer.")
    return DPoPProof(key.thumbprint, claims["jti"], int(claims["iat"]), nonce)


def _verified(proof: str, algorithms: Collection[str], now: int) -> tuple[jwk.Key, Mapping[str, Any]]:
    """Return the key and the claims of a proof that is well-formed and signed with that key."""
    if len(proof) > MAX_PROOF:
        raise _refused("too long")
    try:
        header = jws.peek(proof)
        if header.jwk is None or PRIVATE_MEMBERS & header.jwk.keys():  # §4.3 (7)
            raise _refused("no public key in the header, or a private one")
        key = jwk.parse(
            {name: value for name, value in header.jwk.items() if name not in ("kid", "use")}, header.alg
        )
        claims = jwt.decode(  # §4.3 (2) to (6)
            proof,
            [key],
            algorithms=algorithms,
            typ="dpop+jwt",
            now=now,
            leeway=LEEWAY,
            required=("jti", "htm", "htu", "iat"),
        )
    except JoseError as error:
        raise _refused(error.reason) from None
    return key, claims


def _hash(token: str) -> str:
    return jwk.b64encode(hashlib.sha256(token.encode("utf-8", "replace")).digest())


def _same(found: object, wanted: str) -> bool:
    return isinstance(found, str) and hmac.compare_digest(found.encode("utf-8", "replace"), wanted.encode())


def _same_target(found: object, wanted: str) -> bool:
    if not isinstance(found, str) or not found.isascii() or any(character <= " " for character in found):
        return False
    try:
        return _normal(urlsplit(found)) == _normal(urlsplit(wanted))
    except ValueError:
        return False


def _normal(parts: SplitResult) -> tuple[str, str, int | None, str]:
    scheme = parts.scheme.lower()
    port = parts.port or {"https": 443, "http": 80}.get(scheme)
    if "@" in parts.netloc:
        raise ValueError
    return scheme, (parts.hostname or "").lower(), port, _ESCAPE.sub(_normal_escape, parts.path) or "/"


def _normal_escape(match: re.Match[str]) -> str:
    # RFC 3986 §6.2.2: upper-case hex digits, and no escapes of unreserved characters. Dot segments stay as they are.
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else match[0].upper()


def make_nonce(key: bytes, now: int) -> str:
    """Return the nonce for a time (Unix seconds), which any node with the same key recognises (§8)."""
    moment = (now - now % NONCE_STEP).to_bytes(6, "big")
    return base64.urlsafe_b64encode(
        moment + hmac.new(key, b"dpop nonce" + moment, hashlib.sha256).digest()[:18]
    ).decode()


def is_fresh_nonce(key: bytes, nonce: str, now: int) -> bool:
    """Whether a nonce is one of ours and not too old."""
    if len(nonce) > MAX_NONCE:
        return False
    try:
        raw = base64.urlsafe_b64decode(nonce.encode("ascii"))
    except ValueError:
        return False
    moment = int.from_bytes(raw[:6], "big")
    return (
        hmac.compare_digest(make_nonce(key, moment).encode(), nonce.encode())
        and now - NONCE_LIFETIME <= moment <= now + LEEWAY
    )


def _refused(reason: str) -> OAuthError:
    return OAuthError("invalid_dpop_proof", "The DPoP proof is not valid.", detail=f"DPoP proof: {reason}")
