"""The format of every opaque credential: recognisable, checkable offline, easy to find where it leaked.

`<brand><kind>_<30 base62 characters><6 base62 characters of CRC-32>`. The thirty characters carry 178 bits. The checksum is the
CRC-32 of those thirty characters in base62, zero-padded, so that a garbled or invented token is refused before any hash or look-up.
A double click selects all of it, and it needs no escaping anywhere.

Thousands of access tokens are issued each second, and rows with random keys scatter over the whole index: each insert would touch
a page of its own. The first five characters of an access token are therefore its time of issue (`time_mark`), which is no secret, and
come first in the key that it is stored under; the other 25 carry 148 bits.

All refresh tokens of one family begin with the same eight characters, its *mark*, so that reuse of an old one is recognised although
its digest is no longer stored. Their last eight are a *seal*, a keyed hash of the rest, which proves that this server made the token.
Who knows the mark still has to guess the other twenty-two characters, 130 bits.
This module owns the text; what a token may do is kept by the store under its hash.
"""

import hashlib
import hmac
from functools import lru_cache
from zlib import crc32

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BODY_LENGTH = 30
CHECKSUM_LENGTH = 6
# Each byte gives a character, unless it is one of the eight values that would bias the choice: of 48, at least 30 practically always do.
ENTROPY_BYTES = 48

KINDS: dict[str, str] = {
    "a": "API token",
    "o": "access token",
    "r": "refresh token",
    "s": "client secret",
    "c": "authorization code",
    "d": "device code",
    "u": "one-time link",
    "n": "session",
    "p": "pushed request",
    "g": "registration access token",
}

TIME_LENGTH = 5
MARK_LENGTH = 8
SEAL_LENGTH = 8
# Steps per second; the mark wraps after about a hundred days, which affects the order of rows alone
TIME_STEPS = 100


_PAIRS = tuple(first + second for first in ALPHABET for second in ALPHABET)
_CHARACTERS = bytes(ord(ALPHABET[byte % 62]) for byte in range(256))
_UNEVEN = bytes(range(4 * 62, 256))


def base62(number: int, width: int) -> str:
    """Write a number in base62, zero-padded to `width` characters."""
    pairs = []
    for _ in range((width + 1) // 2):
        number, pair = divmod(number, 3844)
        pairs.append(_PAIRS[pair])
    return "".join(reversed(pairs))[-width:]


def make(brand: str, kind: str, randomness: bytes, start: str = "") -> str:
    """Make the text of a credential from random bytes, with uniformly distributed characters.

    `start` replaces the first characters: "", a `time_mark`, or the mark of a family. Raises ValueError when the bytes do not suffice,
    which happens once in 2^50 times with `ENTROPY_BYTES`.
    """
    body = _draw(kind, randomness, start, BODY_LENGTH)
    return f"{brand}{kind}_{body}{checksum(body)}"


def make_refresh_token(brand: str, randomness: bytes, key: bytes, mark: str = "") -> str:
    """Make the text of a refresh token that begins with `mark` and ends with a seal under a 32-byte key. Raise as `make`."""
    body = _draw("r", randomness, mark, BODY_LENGTH - SEAL_LENGTH)
    body += _seal(body, key)
    return f"{brand}r_{body}{checksum(body)}"


def _draw(kind: str, randomness: bytes, start: str, length: int) -> str:
    drawn = (start + randomness.translate(_CHARACTERS, _UNEVEN).decode("ascii"))[:length]
    if kind not in KINDS or len(start) > MARK_LENGTH or len(drawn) < length:
        raise ValueError("unknown kind of token, or too little randomness")
    return drawn


def is_sealed(token: str, key: bytes) -> bool:
    """Whether the seal at the end of a well-formed credential is ours."""
    end = len(token) - CHECKSUM_LENGTH
    start, seal = token[end - BODY_LENGTH : end - SEAL_LENGTH], token[end - SEAL_LENGTH : end]
    return hmac.compare_digest(_seal(start, key).encode(), seal.encode("utf-8", "surrogatepass"))


def _seal(text: str, key: bytes) -> str:
    hashed = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key).digest()  # RFC 7693 §2.5
    return hashed.translate(_CHARACTERS, _UNEVEN)[:SEAL_LENGTH].decode("ascii")


def time_mark(now: float) -> str:
    """Return a time (Unix seconds) as five characters that sort chronologically."""
    return _mark(int(now * TIME_STEPS))


@lru_cache(maxsize=1)
def _mark(step: int) -> str:
    return base62(step % 62**TIME_LENGTH, TIME_LENGTH)


def family_mark(token: str) -> str:
    """Return the mark that a refresh token shares with all others of its family."""
    begin = token.find("_") + 1
    return token[begin : begin + MARK_LENGTH]


def checksum(body: str) -> str:
    """Return the six check characters of a token's body."""
    rest, low = divmod(crc32(body.encode("ascii")), 3844)
    high, middle = divmod(rest, 3844)
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]


def is_well_formed(token: str, brand: str, kind: str) -> bool:
    """Whether a text has the form and checksum of a credential of this brand and kind: no hash, no look-up."""
    prefix = f"{brand}{kind}_"
    if len(token) != len(prefix) + BODY_LENGTH + CHECKSUM_LENGTH or not token.startswith(prefix):
        return False
    rest = token[len(prefix) :]
    if not rest.isascii() or not rest.isalnum():
        return False
    return checksum(rest[:BODY_LENGTH]) == rest[BODY_LENGTH:]


def kind_of(token: str, brand: str) -> str | None:
    """Return the kind letter of a well-formed credential of this brand, or None."""
    kind = token[len(brand) : len(brand) + 1]
    return kind if kind in KINDS and is_well_formed(token, brand, kind) else None


def digest(token: str) -> bytes:
    """Return the SHA-256 under which a credential is stored: 178 random bits need no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def ordered_digest(token: str) -> bytes:
    """Return the 32 bytes under which an access token is stored: its time mark, then 216 bits of its SHA-256."""
    raw = token.encode("utf-8", "surrogatepass")
    begin = raw.find(b"_") + 1
    return raw[begin : begin + TIME_LENGTH] + hashlib.sha256(raw).digest()[:-TIME_LENGTH]


def pattern(brand: str, kinds: str = "".join(KINDS)) -> str:
    """Return the regular expression that finds what may be credentials of this brand in any text; the checksum tells which are.

    Anything may stand beside one: it may follow `%20` in an address, or `\\n` in JSON.
    """
    return rf"{brand}[{kinds}]_[0-9A-Za-z]{{{BODY_LENGTH + CHECKSUM_LENGTH}}}"
