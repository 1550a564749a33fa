"""A second implementation of docs/zero.md, straight from RFC 8032 §5.1, RFC 5869, RFC 8235 and the HChaCha20 draft.

For tests only: slow, not constant-time, and sharing no line with the product. Numbers are plain integers.
"""

import base64
import hashlib
import hmac
import json
import struct
from typing import Any

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = (-121665 * pow(121666, -1, P)) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741 - the root of -1, as the RFC calls it
IDENTITY = (0, 1)


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P
    return x, y


def multiply(scalar: int, point: tuple[int, int]) -> tuple[int, int]:
    result = IDENTITY
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def recover_x(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * I % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


G = (recover_x(4 * pow(5, -1, P) % P, 0) or 0, 4 * pow(5, -1, P) % P)


def encode(point: tuple[int, int]) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def decode(data: bytes) -> tuple[int, int] | None:
    """A point on the curve, or None when the encoding is not canonical (RFC 8032 §5.1.3)."""
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    x = recover_x(y, sign) if len(data) == 32 and y < P else None
    return None if x is None else (x, y)


def member(data: bytes) -> bool:
    point = decode(data)
    return point is not None and point != IDENTITY and multiply(L, point) == IDENTITY


def torsion() -> list[tuple[int, int]]:
    """All eight points whose order divides eight."""
    y = 2
    while True:
        x = recover_x(y, 0)
        point = multiply(L, (x, y)) if x is not None else IDENTITY
        if multiply(4, point) != IDENTITY:
            return [multiply(n, point) for n in range(8)]
        y += 1


def scalar_bytes(number: int) -> bytes:
    return (number % L).to_bytes(32, "little")


def frame(*fields: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


def hkdf(seed: bytes, label: str, size: int, *context: bytes) -> bytes:
    key = hmac.new(b"watchword/zero/1", seed, hashlib.sha512).digest()
    info = frame(label.encode(), *context)
    return hmac.new(key, info + b"\x01", hashlib.sha512).digest()[:size]


def secret(seed: bytes) -> int:
    return int.from_bytes(hkdf(seed, "scalar", 64), "little") % L


def public(seed: bytes) -> bytes:
    return encode(multiply(secret(seed), G))


def challenge(domain: str, public_point: bytes, commitment: bytes, *fields: bytes) -> int:
    transcript = frame(domain.encode(), b"edwards25519", encode(G), commitment, public_point, *fields)
    return int.from_bytes(hashlib.sha512(transcript).digest(), "little") % L


def prove(domain: str, seed: bytes, randomness: bytes, *fields: bytes) -> tuple[bytes, bytes]:
    a, point = secret(seed), public(seed)
    context = frame(domain.encode(), point, *fields)
    message = frame(b"watchword/zero/1/nonce", randomness, context)
    nonce = int.from_bytes(hmac.new(scalar_bytes(a), message, hashlib.sha512).digest(), "little") % L
    commitment = encode(multiply(nonce, G))
    return commitment, scalar_bytes(nonce - a * challenge(domain, point, commitment, *fields))


def accepts(domain: str, public_point: bytes, commitment: bytes, response: bytes, *fields: bytes) -> bool:
    point, r = decode(public_point), int.from_bytes(response, "little")
    if point is None or not member(public_point) or not member(commitment) or not 0 < r < L:
        return False
    c = challenge(domain, public_point, commitment, *fields)
    return encode(add(multiply(r, G), multiply(c, point))) == commitment


def u64(number: int) -> bytes:
    return struct.pack(">Q", number)


def identity_fields(identity: dict[str, Any]) -> tuple[bytes, ...]:
    numbers = [u64(identity[name]) for name in ("created", "renewed", "expires", "sequence")]
    return (*numbers, identity["jkt"].encode(), frame(*(c.encode() for c in identity["commitments"])))


def proof_fields(proof: dict[str, Any]) -> tuple[bytes, ...]:
    return (
        proof["verifier"].encode(),
        proof["purpose"].encode(),
        unbase64url(proof["challenge"]),
        u64(proof["issued"]),
        u64(proof["expires"]),
        unbase64url(proof["channel"]),
        frame(*(d.encode() for d in proof["disclosures"])),
    )


def disclosure(seed: bytes, name: str, value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    salt = base64url(hkdf(seed, "attribute-salt", 16, name.encode(), text.encode()))
    return base64url(json.dumps([salt, name, value], ensure_ascii=False, separators=(",", ":")).encode())


def commitments(seed: bytes, attributes: dict[str, object]) -> list[str]:
    digests = [
        base64url(hashlib.sha256(disclosure(seed, name, value).encode()).digest())
        for name, value in attributes.items()
    ]
    decoys = -len(digests) % 4
    return sorted(digests + [base64url(hkdf(seed, "decoy", 32, struct.pack(">I", n))) for n in range(decoys)])


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unbase64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            _quarter(state, a, b, c, d)
        for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            _quarter(state, a, b, c, d)
    return struct.pack("<8I", *state[:4], *state[12:])


def _quarter(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for to, by, mixed, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[to] = (state[to] + state[by]) & 0xFFFFFFFF
        word = state[mixed] ^ state[to]
        state[mixed] = (word << turn | word >> (32 - turn)) & 0xFFFFFFFF
