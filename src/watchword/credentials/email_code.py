"""NIST SP 800-63B-4 §3.1.3.1: one-time codes by e-mail, the weakest proof there is.

Owns a code's form, its keyed digest and the decision about an attempt. Eight digits can be brute-forced from a plain digest, so
it is an HMAC under a key that is not in the database, bound to what the code is for and to whom it was sent. An attempt is counted
before it is judged, in one conditional update of the store; `decide` judges what that update returned.
"""

import hmac
import re
from typing import Literal

import msgspec

DIGITS = 8
RANDOM_BYTES = 16  # 128 bits, so that the modulo bias is negligible
LIFETIME = 600
MAX_ATTEMPTS = 5
MAX_TYPED = 32
MIN_KEY = 32

_CODE = re.compile(rf"[0-9]{{{DIGITS}}}")
_SEPARATORS = re.compile(r"[\s\-\u2010-\u2015]+")

Outcome = Literal["accepted", "wrong", "expired", "exhausted", "used"]


class Challenge(msgspec.Struct, frozen=True):
    """A code that was sent: its digest, end in Unix seconds, and how often it was tried, the present attempt included."""

    digest: bytes
    expires_at: int
    attempts: int
    used: bool


def generate(random: bytes) -> str:
    """Return a code of eight digits made of 16 random bytes; raise ValueError for another number of them."""
    if len(random) != RANDOM_BYTES:
        raise ValueError("a code is made of 16 random bytes")
    return str(int.from_bytes(random, "big") % 10**DIGITS).zfill(DIGITS)


def grouped(code: str) -> str:
    """Return a code as it is shown in the message."""
    return f"{code[: DIGITS // 2]} {code[DIGITS // 2 :]}"


def digest(key: bytes, typed: str, *, purpose: str, subject: str) -> bytes:
    """Return the keyed digest of a code for one purpose ("sign-in") and one account or address; text that is not a code has one, too."""
    if len(key) < MIN_KEY:
        raise ValueError("the key must have at least 32 bytes")
    text = _SEPARATORS.sub("", typed) if len(typed) <= MAX_TYPED else ""
    code = text if _CODE.fullmatch(text) else ""
    fields = (part.encode("utf-8", "surrogatepass") for part in (purpose, subject, code))
    return hmac.digest(key, b"".join(len(part).to_bytes(4, "big") + part for part in fields), "sha256")


def decide(challenge: Challenge | None, presented: bytes, now: int) -> Outcome:
    """Return the outcome of an attempt; only "accepted" proves anything, and the caller then marks the code as used."""
    right = hmac.compare_digest(challenge.digest if challenge else bytes(32), presented)
    if challenge is None:
        return "wrong"
    if challenge.used:
        return "used"
    if now >= challenge.expires_at:
        return "expired"
    if challenge.attempts > MAX_ATTEMPTS:
        return "exhausted"
    return "accepted" if right else "wrong"
