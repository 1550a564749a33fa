"""WebAuthn Level 3 §6.1 and §6.5.1.1: authenticator data, bounded and parsed strictly.

Owns the shape of authenticator data, attestation objects and public keys. The library that verifies them is given nothing over-long,
deeply nested, or of an algorithm that was not offered (PS-02, PS-06). Signatures and policy are in `passkey`.
"""

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers

from watchword.credentials import ctap_cbor
from watchword.credentials.ctap_cbor import CborError
from watchword.credentials.zkproof import ZeroError, check_point

MAX_CREDENTIAL_ID = 1023  # §7.1 step 25
FORMATS = frozenset({"none", "packed"})  # "none" is requested, but some authenticators send self attestation
ES256, EDDSA, RS256 = -7, -8, -257

_ATTESTED, _EXTENSIONS = 0x40, 0x80
_HEAD = 37


class MalformedError(ValueError):
    """The authenticator's data is not acceptable; `reason` is short, stable and repeats nothing of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class AuthenticatorData(msgspec.Struct, frozen=True):
    """The backup-eligible flag and the counter of authenticator data, and the credential in it when there is one."""

    backup_eligible: bool
    sign_count: int
    credential_id: bytes | None = None


def read_attestation(raw: bytes) -> AuthenticatorData:
    """Check an attestation object and the key in it, and return its authenticator data; raise MalformedError."""
    document = _whole(raw)
    if not isinstance(document, dict) or set(document) != {"fmt", "attStmt", "authData"}:
        raise MalformedError("malformed")
    form, statement, inner = document["fmt"], document["attStmt"], document["authData"]
    if not isinstance(form, str) or form not in FORMATS or not isinstance(statement, dict):
        raise MalformedError("attestation")
    if form == "none" and statement:  # §8.7
        raise MalformedError("attestation")
    if not isinstance(inner, bytes):
        raise MalformedError("malformed")
    data = read(inner)
    if data.credential_id is None:
        raise MalformedError("malformed")
    return data


def read(raw: bytes) -> AuthenticatorData:
    """Check authenticator data to its last byte; raise MalformedError."""
    if len(raw) < _HEAD:
        raise MalformedError("malformed")
    flags, at, credential_id = raw[32], _HEAD, None
    if flags & _ATTESTED:
        length = int.from_bytes(raw[at + 16 : at + 18], "big")
        credential_id, at = raw[at + 18 : at + 18 + length], at + 18 + length
        if not 0 < len(credential_id) == length <= MAX_CREDENTIAL_ID:
            raise MalformedError("malformed")
        key, at = _next(raw, at)
        _check_key(key)
    if flags & _EXTENSIONS:
        extensions, at = _next(raw, at)
        if not isinstance(extensions, dict):
            raise MalformedError("malformed")
    if at != len(raw):
        raise MalformedError("malformed")
    return AuthenticatorData(bool(flags & 0x08), int.from_bytes(raw[33:37], "big"), credential_id)


def _whole(raw: bytes) -> object:
    value, end = _next(raw, 0)
    if end != len(raw):
        raise MalformedError("malformed")
    return value


def _next(raw: bytes, at: int) -> tuple[object, int]:
    try:
        return ctap_cbor.decode(raw, at)
    except CborError:
        raise MalformedError("malformed") from None


def _check_key(key: object) -> None:
    """RFC 9053: check that a COSE key is complete and of an algorithm that was offered; raise MalformedError."""
    if not isinstance(key, dict) or any(isinstance(value, bool) for value in key.values()):
        raise MalformedError("key")  # a boolean for y is a compressed point
    match key:
        case {1: 2, 3: -7, -1: 1, -2: bytes(x), -3: bytes(y)} if len(key) == 5 and len(x) == len(y) == 32:
            _check_point(x, y)
        case {1: 1, 3: -8, -1: 6, -2: bytes(x)} if len(key) == 4 and len(x) == 32:
            _check_edwards_point(x)
        case {1: 3, 3: -257, -1: bytes(n), -2: b"\x01\x00\x01"} if len(key) == 4:
            if not (256 <= len(n) <= 512 and n[0] & 0x80 and n[-1] & 1):
                raise MalformedError("key")
        case {3: -7 | -8 | -257}:
            raise MalformedError("key")
        case _:
            raise MalformedError("algorithm")


def _check_point(x: bytes, y: bytes) -> None:
    numbers = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), SECP256R1())
    try:
        numbers.public_key()
    except ValueError:
        raise MalformedError("key") from None


def _check_edwards_point(encoded: bytes) -> None:
    """Refuse what is no point, and points of small order: signatures under those need no private key."""
    try:
        check_point(encoded)
    except ZeroError:
        raise MalformedError("key") from None
