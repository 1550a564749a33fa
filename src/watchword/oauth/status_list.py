"""Token Status List (draft-ietf-oauth-status-list): many revocations in one compressed, signed list.

Owns the array of statuses, its compression and the claims on both sides. Who holds the list can check offline whether a token was
revoked, and the issuer does not learn which token was checked.
"""

import zlib
from collections.abc import Iterable, Mapping

import msgspec

from watchword.jose import JoseError
from watchword.jose.jwk import b64decode, b64encode

TOKEN_TYPE = "statuslist+jwt"
MEDIA_TYPE = "application/statuslist+jwt"
SIZES = (1, 2, 4, 8)
MAX_BYTES = 8 * 1024 * 1024

VALID = 0
INVALID = 1


class StatusListError(ValueError):
    """A status list or a reference into one is malformed, or too large."""


class StatusList(msgspec.Struct, frozen=True):
    """Statuses of `bits` bits each, packed into bytes from the least significant bit on (§4.1)."""

    bits: int
    data: bytes

    def get(self, index: int) -> int:
        """Return the status at an index; raise StatusListError for one beyond the list."""
        position, shift = divmod(index * self.bits, 8)
        if index < 0 or position >= len(self.data):
            raise StatusListError("the index is beyond the list")
        return self.data[position] >> shift & ((1 << self.bits) - 1)


def build(size: int, statuses: Iterable[tuple[int, int]], bits: int = 1) -> StatusList:
    """Return a list for `size` tokens, all VALID but for the given (index, status) pairs; raise StatusListError."""
    if bits not in SIZES or not 0 < size * bits <= MAX_BYTES * 8:
        raise StatusListError("no such size")
    data = bytearray((size * bits + 7) // 8)
    for index, status in statuses:
        if not 0 <= index < size or not 0 <= status < 1 << bits:
            raise StatusListError("an index or a status is out of range")
        position, shift = divmod(index * bits, 8)
        mask = ((1 << bits) - 1) << shift
        data[position] = data[position] & ~mask | status << shift
    return StatusList(bits, bytes(data))


def to_claim(statuses: StatusList) -> dict[str, object]:
    """Return the member `status_list` of a status list token (§4.2)."""
    return {"bits": statuses.bits, "lst": b64encode(zlib.compress(statuses.data, 9))}


def from_claim(claim: object) -> StatusList:
    """Read the member `status_list` of a verified token; raise StatusListError. Never inflates beyond MAX_BYTES (HP-08)."""
    if not isinstance(claim, Mapping):
        raise StatusListError("no status list")
    bits, text = claim.get("bits"), claim.get("lst")
    if type(bits) is not int or bits not in SIZES or not isinstance(text, str):
        raise StatusListError("malformed status list")
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(b64decode(text), MAX_BYTES)
    except (JoseError, zlib.error):
        raise StatusListError("malformed status list") from None
    if not inflater.eof or inflater.unused_data:
        raise StatusListError("the status list is too large, cut off or followed by something")
    return StatusList(bits, data)


def token_claims(uri: str, statuses: StatusList, *, now: int, lifetime: int, ttl: int) -> dict[str, object]:
    """Return the claims of a status list token (§5.1); `lifetime`, and `ttl`, how long it may be cached, are in seconds."""
    return {"sub": uri, "iat": now, "exp": now + lifetime, "ttl": ttl, "status_list": to_claim(statuses)}


def reference_claim(uri: str, index: int) -> dict[str, object]:
    """Return the claim `status` of a token that is in a list (§6.1)."""
    return {"status_list": {"idx": index, "uri": uri}}


def read_reference(claims: Mapping[str, object]) -> tuple[str, int] | None:
    """Return address and index of a verified token's status, None when it has none; raise StatusListError."""
    status = claims.get("status")
    if status is None:
        return None
    reference = status.get("status_list") if isinstance(status, Mapping) else None
    if isinstance(reference, Mapping):
        uri, index = reference.get("uri"), reference.get("idx")
        if isinstance(uri, str) and type(index) is int and index >= 0:
            return uri, index
    raise StatusListError("malformed reference")
