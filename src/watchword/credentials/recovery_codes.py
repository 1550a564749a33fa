"""NIST SP 800-63B-4 §3.1.2: look-up secrets, the recovery codes of somebody who has lost every other second factor.

Owns their form and digest. A code has 120 random bits, so a plain SHA-256 protects it; it is written in Crockford's base32, in which
no two characters look alike. That a code works once, and that a new set ends the old, is up to `store`.
"""

import hashlib
import re

COUNT = 10
CODE_BYTES = 15
RANDOM_BYTES = COUNT * CODE_BYTES
GROUP = 4
MAX_TYPED = 64

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_READ_AS = str.maketrans("oil", "011")
_SEPARATORS = re.compile(r"[\s\-\u2010-\u2015.]+")
_CODE = re.compile(rf"[{_ALPHABET}]{{{CODE_BYTES * 8 // 5}}}")


class RecoveryCodeRefused(ValueError):
    """What was typed does not have the form of a recovery code."""


def generate(random: bytes) -> tuple[str, ...]:
    """Return ten new codes of 150 random bytes; raise ValueError for another number of them."""
    if len(random) != RANDOM_BYTES:
        raise ValueError("ten codes are made of 150 random bytes")
    return tuple(_write(random[start : start + CODE_BYTES]) for start in range(0, RANDOM_BYTES, CODE_BYTES))


def _write(raw: bytes) -> str:
    number = int.from_bytes(raw, "big")
    text = "".join(_ALPHABET[number >> shift & 31] for shift in range(CODE_BYTES * 8 - 5, -1, -5))
    return "-".join(text[start : start + GROUP] for start in range(0, len(text), GROUP))


def normalise(typed: str) -> str:
    """Return a code without groups, whatever case and separators it was typed with; raise RecoveryCodeRefused."""
    text = _SEPARATORS.sub("", typed).lower().translate(_READ_AS) if len(typed) <= MAX_TYPED else ""
    if not _CODE.fullmatch(text):
        raise RecoveryCodeRefused("This is not a recovery code.")
    return text


def digest(typed: str) -> bytes:
    """Return what is stored and looked up for a code: its SHA-256; raise RecoveryCodeRefused."""
    return hashlib.sha256(normalise(typed).encode("ascii")).digest()
