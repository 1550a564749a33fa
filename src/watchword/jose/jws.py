"""RFC 7515 and RFC 9864: JSON Web Signature, compact serialisation only.

Owns the table ALGORITHMS and the rules of the protected header. A key is used for its own algorithm and for no other
(RFC 8725 §3.1); keys named inside a token are never fetched or trusted (§3.10).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import cast

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from watchword.jose import strict_json
from watchword.jose.errors import JoseError
from watchword.jose.jwk import FULLY_SPECIFIED, Key, b64bytes, b64decode, own_name
from watchword.jose.strict_json import StrictJSONError

MAX_TOKEN = 16 * 1024
MAX_HEADER = 4096


class Header(msgspec.Struct, frozen=True):
    """A protected header: nothing in it may be trusted before the signature is verified.

    `alg` is the algorithm by our name (`own_name`), `members` the header as sent.
    """

    alg: str
    kid: str | None
    typ: str | None
    cty: str | None
    jwk: Mapping[str, object] | None
    members: Mapping[str, object]


class Algorithm(msgspec.Struct, frozen=True):
    """How one algorithm signs and verifies."""

    sign: Callable[[Key, bytes], bytes]
    verify: Callable[[Key, bytes, bytes], None]


def raw_signature(der: bytes, size: int) -> bytes:
    """RFC 7518 §3.4: return R and S as `size` bytes each, from an ECDSA signature that OpenSSL has just made, which is DER."""
    # The length byte of R: the sequence's own length takes two bytes from 128 on
    at = 3 if der[1] < 0x80 else 4
    end = at + 1 + der[at]
    r, s = der[at + 1 : end], der[end + 2 :]  # with a leading zero byte where the first bit is set
    return r[-size:].rjust(size, b"\0") + s[-size:].rjust(size, b"\0")


def _ecdsa(hash_algorithm: hashes.HashAlgorithm, size: int) -> Algorithm:
    method = ec.ECDSA(hash_algorithm)

    def sign(key: Key, data: bytes) -> bytes:
        return raw_signature(cast(ec.EllipticCurvePrivateKey, key.private).sign(data, method), size)

    def verify(key: Key, signature: bytes, data: bytes) -> None:
        if len(signature) != 2 * size:  # RFC 7518 §3.4
            raise InvalidSignature
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        if not r or not s:
            raise InvalidSignature
        cast(ec.EllipticCurvePublicKey, key.public).verify(encode_dss_signature(r, s), data, method)

    return Algorithm(sign, verify)


def _rsa(hash_algorithm: hashes.HashAlgorithm, scheme: padding.AsymmetricPadding) -> Algorithm:
    def sign(key: Key, data: bytes) -> bytes:
        return cast(rsa.RSAPrivateKey, key.private).sign(data, scheme, hash_algorithm)

    def verify(key: Key, signature: bytes, data: bytes) -> None:
        cast(rsa.RSAPublicKey, key.public).verify(signature, data, scheme, hash_algorithm)

    return Algorithm(sign, verify)


def _pss(hash_algorithm: hashes.HashAlgorithm) -> Algorithm:
    return _rsa(hash_algorithm, padding.PSS(padding.MGF1(hash_algorithm), hash_algorithm.digest_size))


ALGORITHMS: dict[str, Algorithm] = {
    "ES256": _ecdsa(hashes.SHA256(), 32),
    "ES384": _ecdsa(hashes.SHA384(), 48),
    "ES512": _ecdsa(hashes.SHA512(), 66),
    "EdDSA": Algorithm(
        lambda key, data: cast(ed25519.Ed25519PrivateKey, key.private).sign(data),
        lambda key, signature, data: cast(ed25519.Ed25519PublicKey, key.public).verify(signature, data),
    ),
    "RS256": _rsa(hashes.SHA256(), padding.PKCS1v15()),
    "RS384": _rsa(hashes.SHA384(), padding.PKCS1v15()),
    "RS512": _rsa(hashes.SHA512(), padding.PKCS1v15()),
    "PS256": _pss(hashes.SHA256()),
    "PS384": _pss(hashes.SHA384()),
    "PS512": _pss(hashes.SHA512()),
}


# Every accepted value of `alg`
NAMES = (*ALGORITHMS, *FULLY_SPECIFIED)


@lru_cache(maxsize=256)
def _plain_header(alg: str, kid: str | None, typ: str | None) -> bytes:
    members = {"alg": alg, **({"kid": kid} if kid else {}), **({"typ": typ} if typ else {})}
    return b64bytes(strict_json.encode(members)) + b"."


def sign(key: Key, header: Mapping[str, object], payload: bytes) -> str:
    """Sign a payload; `alg` and `kid` of the key override those of the header. Raise JoseError without a private key."""
    if key.private is None:
        raise JoseError("key")
    typ = header.get("typ")
    if len(header) == (typ is not None):
        start = _plain_header(key.alg, key.kid, typ if isinstance(typ, str) else None)
    else:
        members = {**header, "alg": key.alg, **({"kid": key.kid} if key.kid else {})}
        start = b64bytes(strict_json.encode(members)) + b"."
    signing_input = start + b64bytes(payload)
    signature = b64bytes(ALGORITHMS[key.alg].sign(key, signing_input))
    return (signing_input + b"." + signature).decode("ascii")


def peek(token: str) -> Header:
    """Read the protected header without trusting it; raise JoseError."""
    if len(token) > MAX_TOKEN or not token.isascii() or token.count(".") != 2:
        raise JoseError("malformed")
    return _header(token.partition(".")[0])


@lru_cache(maxsize=1024)
def _header(segment: str) -> Header:
    if len(segment) > MAX_HEADER * 2:
        raise JoseError("malformed")
    try:
        members = strict_json.loads(b64decode(segment), max_bytes=MAX_HEADER * 2, max_depth=4)
    except StrictJSONError:
        raise JoseError("malformed") from None
    if not isinstance(members, dict):
        raise JoseError("malformed")
    for name in ("kid", "typ", "cty"):
        if not isinstance(members.get(name, ""), str):
            raise JoseError("malformed")
    alg, key = members.get("alg"), members.get("jwk")
    if not isinstance(alg, str) or not isinstance(key, dict | None):
        raise JoseError("malformed")
    if "crit" in members or "b64" in members:  # §4.1.11: no extension is supported, RFC 7797 (b64) included
        raise JoseError("critical")
    return Header(own_name(alg), members.get("kid"), members.get("typ"), members.get("cty"), key, members)


def verify(token: str, keys: Iterable[Key], algorithms: Collection[str]) -> tuple[Header, bytes]:
    """Return header and payload of a token that one of the keys signed with one of the algorithms; raise JoseError."""
    header = peek(token)
    algorithm = ALGORITHMS.get(header.alg)
    if algorithm is None or header.alg not in algorithms:  # RFC 8725 §3.1
        raise JoseError("algorithm")
    signing_input, _, last = token.rpartition(".")
    signature = b64decode(last)
    data = signing_input.encode("ascii")
    for key in keys:
        if key.alg == header.alg and (header.kid is None or key.kid is None or key.kid == header.kid):
            try:
                algorithm.verify(key, signature, data)
            except (InvalidSignature, ValueError, OverflowError):
                continue
            payload = signing_input.partition(".")[2]
            return header, b64decode(payload) if payload else b""
    raise JoseError("signature")
