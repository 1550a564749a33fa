"""RFC 7517, 7518 §6, 7638, 8037, 9864: JSON Web Keys for signatures.

Owns parsing, generation and thumbprints of asymmetric keys. There are no symmetric keys here: making a verifier use a public key as an
HMAC secret is the oldest attack on JWT (RFC 8725 §3.1).
"""

import contextlib
import functools
import hashlib
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec.structs import replace

from watchword.jose import weak_keys
from watchword.jose.errors import JoseError

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

CURVES: dict[str, tuple[ec.EllipticCurve, int, str]] = {
    "P-256": (ec.SECP256R1(), 32, "ES256"),
    "P-384": (ec.SECP384R1(), 48, "ES384"),
    "P-521": (ec.SECP521R1(), 66, "ES512"),
}
# RFC 9864 §2.2: the name that includes the curve. EdDSA has only Ed25519 keys here, so both are the same algorithm.
FULLY_SPECIFIED = {"Ed25519": "EdDSA"}
RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS = (*RSA_ALGORITHMS, *(alg for _, _, alg in CURVES.values()), *FULLY_SPECIFIED, "EdDSA")
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
GENERATED_RSA_BITS = 3072
MAX_KEYS = 100
MAX_KID = 256
THUMBPRINT_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n"), "OKP": ("crv", "kty", "x")}

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")
# The allowed last characters when two or four of its bits are unused: these must be zero.
_LAST = {2: "AQgw", 3: "AEIMQUYcgkosw048"}


class Key(msgspec.Struct, frozen=True):
    """A key for exactly one algorithm; `thumbprint` is RFC 7638 with SHA-256."""

    kid: str | None
    alg: str
    kty: str
    public: PublicKey
    private: PrivateKey | None
    thumbprint: str


def b64encode(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515 §2)."""
    return b64bytes(data).decode("ascii")


def b64bytes(data: bytes) -> bytes:
    """Encode like `b64encode`, to ASCII bytes."""
    return b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL)


def b64decode(text: str) -> bytes:
    """Decode canonical base64url without padding; raise JoseError."""
    if not _BASE64URL.fullmatch(text):
        raise JoseError("malformed")
    over = len(text) % 4
    # Otherwise one signature could be written in several ways.
    if over and text[-1] not in _LAST.get(over, ""):
        raise JoseError("malformed")
    return a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"=" * (-over % 4))


def generate(alg: str, kid: str | None = None) -> Key:
    """Generate a key pair for an algorithm; `kid` defaults to the thumbprint. Raise JoseError for an unknown algorithm."""
    private: PrivateKey
    if alg == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    elif alg in RSA_ALGORITHMS:
        private = rsa.generate_private_key(65537, GENERATED_RSA_BITS)
    else:
        curve = next((curve for curve, _, name in CURVES.values() if name == alg), None)
        if curve is None:
            raise JoseError("algorithm")
        private = ec.generate_private_key(curve)
    key = _make(private.public_key(), private, alg, kid)
    return key if kid else replace(key, kid=key.thumbprint)


def _make(public: PublicKey, private: PrivateKey | None, alg: str, kid: str | None) -> Key:
    document = _public_members(public)
    return Key(kid, alg, document["kty"], public, private, thumbprint(document))


def thumbprint(document: Mapping[str, object]) -> str:
    """Return the RFC 7638 thumbprint of a key's public members, base64url of SHA-256; raise JoseError."""
    members = THUMBPRINT_MEMBERS.get(str(document.get("kty")))
    if members is None or any(not isinstance(document.get(member), str) for member in members):
        raise JoseError("malformed")
    canonical = "{" + ",".join(f'"{member}":"{document[member]}"' for member in members) + "}"
    return b64encode(hashlib.sha256(canonical.encode("utf-8")).digest())


def certificate_thumbprint(der: bytes) -> str:
    """Return the `x5t#S256` of a certificate (RFC 8705 §3.1)."""
    return b64encode(hashlib.sha256(der).digest())


def own_name(algorithm: str) -> str:
    """Return our name of a signature algorithm: for a fully-specified one (RFC 9864) the older name of the same algorithm."""
    return FULLY_SPECIFIED.get(algorithm, algorithm)


def parse(document: Mapping[str, object], alg: str | None = None, *, is_own: bool = False) -> Key:
    """Read one JWK, public or private; `alg` names the algorithm when the document does not. Raise JoseError.

    With `is_own`, the key was made by `generate` and cannot have been changed since: then RSA's primes are not checked again, which would
    block the whole process for a fifth of a second.
    """
    kid = document.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        raise JoseError("malformed")
    if not _is_for_signatures(document):
        raise JoseError("use")
    try:
        kind = _text(document, "kty")
        read = _read_own_rsa if is_own and kind == "RSA" else _READERS[kind]
        public, private, default = read(document)
    except KeyError:
        raise JoseError("key type") from None
    except (ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
        raise JoseError("key") from None
    stated = document.get("alg")
    if not isinstance(stated, str | None):  # RFC 7517 §4.4
        raise JoseError("malformed")
    named = None if stated is None else own_name(stated)
    chosen = alg or (default if named is None else named)
    if not _fits(public, chosen, default) or (alg and named not in (None, alg)):
        raise JoseError("algorithm")
    return _make(public, private, chosen, kid)


def parse_public(document: Mapping[str, object], alg: str | None = None) -> Key:
    """Read the public part of somebody else's JWK, as `parse` does; a private part is ignored.

    Checking the private numbers of the largest RSA keys takes a quarter of a minute.
    """
    return parse({name: value for name, value in document.items() if name != "d"}, alg)


def parse_pem(pem: str | bytes, alg: str | None = None, *, kid: str | None = None) -> Key:
    """Read a private key from PEM without a passphrase, under the rules of `parse`; `kid` is how others name it. Raise JoseError."""
    try:
        private = load_pem_private_key(pem.encode() if isinstance(pem, str) else pem, None)
    except TypeError:
        is_pem = isinstance(pem, str | bytes)
        raise JoseError("the private key has a passphrase" if is_pem else "no private key in PEM") from None
    except (ValueError, UnsupportedAlgorithm):
        raise JoseError("no private key in PEM") from None
    if not isinstance(private, PrivateKey) or not _has_known_curve(private):
        raise JoseError("key type")
    document = private_document(_make(private.public_key(), private, "", kid))
    del document["alg"]
    return parse(document, alg, is_own=True)  # its numbers were just checked


def _has_known_curve(private: PrivateKey) -> bool:
    known = {curve.name for curve, _, _ in CURVES.values()}
    return not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name in known


def _is_for_signatures(document: Mapping[str, object]) -> bool:
    # RFC 7517 §4.2, §4.3: a key for another purpose must not sign or verify
    operations = document.get("key_ops")
    usable = operations is None or (
        isinstance(operations, list) and ("verify" in operations or "sign" in operations)
    )
    return usable and document.get("use") in (None, "sig")


def _fits(public: PublicKey, alg: str, default: str) -> bool:
    return alg in RSA_ALGORITHMS if isinstance(public, rsa.RSAPublicKey) else alg == default


def _text(document: Mapping[str, object], member: str) -> str:
    value = document.get(member)
    if not isinstance(value, str) or not 0 < len(value) <= 4096:
        raise JoseError("malformed")
    return value


def _coordinate(document: Mapping[str, object], member: str, size: int) -> bytes:
    value = b64decode(_text(document, member))
    if len(value) != size:  # RFC 7518 §6.2.1.2: the full size of a coordinate
        raise JoseError("malformed")
    return value


def _number(document: Mapping[str, object], member: str) -> int:
    data = b64decode(_text(document, member))
    if data[0] == 0:  # RFC 7518 §2: no extra zero octets
        raise JoseError("malformed")
    return int.from_bytes(data, "big")


def _read_ec(document: Mapping[str, object]) -> tuple[PublicKey, PrivateKey | None, str]:
    curve, size, alg = CURVES[_text(document, "crv")]
    point = b"\x04" + _coordinate(document, "x", size) + _coordinate(document, "y", size)
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    if "d" not in document:
        return public, None, alg
    private = ec.derive_private_key(int.from_bytes(_coordinate(document, "d", size), "big"), curve)
    if private.public_key().public_numbers() != public.public_numbers():
        raise JoseError("key")
    return public, private, alg


def _read_okp(document: Mapping[str, object]) -> tuple[PublicKey, PrivateKey | None, str]:
    if _text(document, "crv") != "Ed25519":
        raise JoseError("key type")
    raw = _coordinate(document, "x", 32)
    public = ed25519.Ed25519PublicKey.from_public_bytes(raw)
    if "d" not in document:
        return public, None, "EdDSA"
    private = ed25519.Ed25519PrivateKey.from_private_bytes(_coordinate(document, "d", 32))
    if private.public_key().public_bytes_raw() != raw:
        raise JoseError("key")
    return public, private, "EdDSA"


def _read_rsa(
    document: Mapping[str, object], *, is_own: bool = False
) -> tuple[PublicKey, PrivateKey | None, str]:
    n, e = _number(document, "n"), _number(document, "e")
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or e < 3 or e % 2 == 0 or e.bit_length() > 64:
        raise JoseError("key")
    if weak_keys.is_factorable(n):
        raise JoseError("key")
    numbers = rsa.RSAPublicNumbers(e, n)
    if "d" not in document:
        return numbers.public_key(), None, "RS256"
    p, q, d, dp, dq, qi = (_number(document, member) for member in ("p", "q", "d", "dp", "dq", "qi"))
    private = rsa.RSAPrivateNumbers(p, q, d, dp, dq, qi, numbers).private_key(
        unsafe_skip_rsa_key_validation=is_own
    )
    return numbers.public_key(), private, "RS256"


_read_own_rsa = functools.partial(_read_rsa, is_own=True)
_READERS = {"EC": _read_ec, "OKP": _read_okp, "RSA": _read_rsa}


def parse_set(document: object, alg: str | None = None, *, is_private: bool = False) -> list[Key]:
    """Read the public parts of a JWK set; keys of unknown types or for encryption are skipped (RFC 7517 §5). Raise JoseError.

    An RSA key without `alg` (§4.4) is for `alg`, or for RS256 when that is not an RSA algorithm. With `is_private`, the private parts are
    read as well.
    """
    read = parse if is_private else parse_public
    rsa_algorithm = alg if alg in RSA_ALGORITHMS else None
    found = []
    for member in _members(document):
        if not isinstance(member, Mapping) or not _names_are_text(member):
            raise JoseError("malformed")
        if _is_for_signatures(member) and member.get("kty") in _READERS and _is_known(member):
            is_open = member["kty"] == "RSA" and member.get("alg") is None
            found.append(read(member, rsa_algorithm if is_open else None))
    return found


def parse_published(document: object) -> list[Key]:
    """Read a JWK set that another party published; unusable keys are skipped (RFC 7517 §5). Raise JoseError for what is no set.

    An RSA key without `alg` (§4.4) is returned once for each RSA algorithm: the verifier says which algorithms it accepts.
    """
    found = []
    for member in _members(document):
        with contextlib.suppress(JoseError):
            for key in parse_set({"keys": [member]}):
                is_open = key.kty == "RSA" and member.get("alg") is None
                found += [replace(key, alg=alg) for alg in RSA_ALGORITHMS] if is_open else [key]
    return found


def tells_secret(document: Mapping[str, object]) -> bool:
    """Whether a JWK of any type has private or symmetric members (RFC 7518 §6): it must not be published or stored."""
    return any(member in document for member in ("d", "p", "k"))


def _members(document: object) -> list[Any]:
    keys = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(keys, list):
        raise JoseError("malformed")
    if len(keys) > MAX_KEYS:
        raise JoseError(f"more than {MAX_KEYS} keys")
    return keys


def _names_are_text(member: Mapping[str, Any]) -> bool:
    # RFC 7517 §4.1, RFC 7518 §6.2.1.1: both are strings
    return all(isinstance(member.get(name, ""), str) for name in ("kty", "crv"))


def _is_known(member: Mapping[str, Any]) -> bool:
    alg, crv = member.get("alg"), member.get("crv")
    if isinstance(alg, str) and alg not in ALGORITHMS:  # for encryption, even if `use` does not say so
        return False
    if member["kty"] == "RSA":
        return alg is None or alg in RSA_ALGORITHMS
    return crv == "Ed25519" if member["kty"] == "OKP" else crv in CURVES


def _public_members(public: PublicKey) -> dict[str, str]:
    if isinstance(public, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": b64encode(public.public_bytes_raw())}
    if isinstance(public, rsa.RSAPublicKey):
        rsa_numbers = public.public_numbers()
        return {"kty": "RSA", "n": _encode_number(rsa_numbers.n), "e": _encode_number(rsa_numbers.e)}
    numbers = public.public_numbers()
    crv, size = next(
        (crv, size) for crv, (curve, size, _) in CURVES.items() if curve.name == public.curve.name
    )
    return {
        "kty": "EC",
        "crv": crv,
        "x": b64encode(numbers.x.to_bytes(size, "big")),
        "y": b64encode(numbers.y.to_bytes(size, "big")),
    }


def _encode_number(number: int) -> str:
    return b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def public_document(key: Key) -> dict[str, str]:
    """Return a key's public JWK with its identifier and algorithm."""
    return {**_public_members(key.public), **({"kid": key.kid} if key.kid else {}), "alg": key.alg}


def private_document(key: Key) -> dict[str, str]:
    """Return a key's private JWK; raise JoseError when there is no private part."""
    private = key.private
    if private is None:
        raise JoseError("key")
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return {**public_document(key), "d": b64encode(private.private_bytes_raw())}
    if isinstance(private, rsa.RSAPrivateKey):
        numbers = private.private_numbers()
        members = {
            "d": numbers.d,
            "p": numbers.p,
            "q": numbers.q,
            "dp": numbers.dmp1,
            "dq": numbers.dmq1,
            "qi": numbers.iqmp,
        }
        return {**public_document(key), **{name: _encode_number(value) for name, value in members.items()}}
    size = next(size for curve, size, _ in CURVES.values() if curve.name == private.curve.name)
    return {
        **public_document(key),
        "d": b64encode(private.private_numbers().private_value.to_bytes(size, "big")),
    }
