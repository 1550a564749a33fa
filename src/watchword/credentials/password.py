"""NIST SP 800-63B-4 §3.1.1.2, RFC 8265 §4.2 and RFC 9106: passwords.

Owns what may become a password and its Argon2id hash. Length counts, composition does not; nothing is truncated. Which passwords
everybody guesses is in `guessable`, which have leaked is in `breach_list`, hashes that were not made with Argon2 are in `foreign_hash`;
when to ask for a new one is decided in `flows`.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable

from argon2 import Type
from argon2.exceptions import HashingError, VerificationError
from argon2.low_level import hash_secret, verify_secret

from watchword.credentials import foreign_hash, guessable

MIN_LENGTH = 15  # characters: a password may be the only factor
MAX_BYTES = 1024
# A composed character of three bytes stands for at most four typed ones: a longer text cannot fit into MAX_BYTES, even after NFC.
MAX_TYPED = 4 * MAX_BYTES // 3

# OWASP's minimum for Argon2id: 19 MiB, two passes, one lane.
MEMORY_KIB, PASSES, LANES, HASH_LENGTH, SALT_LENGTH = 19_456, 2, 1, 32, 16
# What an imported hash may cost at most: 256 MiB at a time, 1 GiB written in all.
MAX_MEMORY_KIB, MAX_PASSES, MAX_LANES, MAX_WORK_KIB = 262_144, 32, 8, 1_048_576

_HASH = re.compile(
    r"\$argon2(?P<type>id|i|d)\$v=(?P<version>16|19)\$m=(?P<m>[1-9][0-9]{0,8}),t=(?P<t>[1-9][0-9]{0,3}),p=(?P<p>[1-9][0-9]?)"
    r"\$(?P<salt>[A-Za-z0-9+/]{11,86})\$(?P<tag>[A-Za-z0-9+/]{16,86})"
)
_TYPES = {"id": Type.ID, "i": Type.I, "d": Type.D}
_SPACES = dict.fromkeys((0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " ")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# For an account that does not exist: verifying it costs the same as a real hash, and no password matches it.
DUMMY_HASH = (
    f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}"
    "$d2F0Y2h3b3JkIGR1bW15IQ$tVPZ5mGC1BjyNkaAv2q18/ozC1XK9e6DmmRmNQaDceE"
)

REMEDIES = {
    "common": "This is too easy to guess: do not build it from common passwords, keys in a row or repetition.",
    "context": "This is too easy to guess: do not build it from your own name, your address or the name of this service.",
}


class PasswordRefused(ValueError):
    """A password that is not acceptable; `code` is stable, `remedy` says what to change and never repeats it."""

    def __init__(self, code: str, remedy: str) -> None:
        super().__init__(remedy)
        self.code = code
        self.remedy = remedy


class HashRefused(ValueError):
    """A hash that is not imported; the message says why and never repeats it."""


def normalise(password: str) -> bytes:
    """Return the bytes that are hashed: one kind of space, NFC, never truncated; raise PasswordRefused."""
    if len(password) > MAX_TYPED:  # before NFC, so that a flood of combining marks costs nothing (SE-08)
        raise _too_long()
    if _CONTROL.search(password):
        raise PasswordRefused("characters", "Use characters that can be typed.")
    raw = unicodedata.normalize("NFC", password.translate(_SPACES)).encode("utf-8")  # RFC 8265 §4.2.2
    if len(raw) > MAX_BYTES:
        raise _too_long()
    return raw


def _too_long() -> PasswordRefused:
    return PasswordRefused("too_long", f"Use at most {MAX_BYTES} bytes.")


def check_new_password(
    password: str,
    *,
    context_words: Iterable[str],
    breached: Callable[[bytes], bool] | None = None,
) -> None:
    """Check a password that a person wants to set; `breached` is asked about its SHA-1 digest. Raise PasswordRefused."""
    raw = normalise(password)
    text = raw.decode("utf-8")
    if len(text) < MIN_LENGTH:  # in code points
        raise PasswordRefused(
            "too_short", f"Use at least {MIN_LENGTH} characters; several words make a good one."
        )
    why = guessable.reason(text, context_words)
    if why is not None:
        raise PasswordRefused(why, REMEDIES[why])
    if breached is not None and breached(hashlib.sha1(raw, usedforsecurity=False).digest()):
        raise PasswordRefused("breached", "This password is known from a leak: choose another.")


def hash_password(password: str, salt: bytes) -> str:
    """Return the Argon2id hash; `salt` is 16 random bytes. Raise PasswordRefused for what cannot be a password."""
    if len(salt) != SALT_LENGTH:
        raise ValueError("the salt must have 16 bytes")
    raw = normalise(password)
    try:
        return hash_secret(raw, salt, PASSES, MEMORY_KIB, LANES, HASH_LENGTH, Type.ID).decode("ascii")
    except HashingError as error:
        raise MemoryError(str(error)) from None  # with these parameters, nothing else can fail


def verify_password(stored: str, password: str) -> bool:
    """Whether a password matches a stored hash.

    A hash that is malformed or demands absurd work is never computed (LG-10); it takes as long as a wrong password. Raise MemoryError
    when there is not enough memory to tell.
    """
    try:
        raw = normalise(password)
    except PasswordRefused:
        return False
    known = _read(stored)
    if known is None and foreign_hash.is_readable(stored):
        return foreign_hash.matches(stored, password)
    right = _matches(stored if known else DUMMY_HASH, raw, _TYPES[known["type"]] if known else Type.ID)
    return right and known is not None


# Argon2's errors when it could not compute at all, which say nothing about the password (F-22).
_NO_ROOM = ("Memory allocation error", "Threading failure")


def _matches(stored: str, raw: bytes, kind: Type) -> bool:
    try:
        return bool(verify_secret(stored.encode("ascii"), raw, kind))
    except (VerificationError, HashingError) as error:
        if str(error) in _NO_ROOM:
            raise MemoryError(str(error)) from None
        return False


def _read(stored: str) -> re.Match[str] | None:
    found = _HASH.fullmatch(stored)
    if found is None:
        return None
    memory, passes, lanes = int(found["m"]), int(found["t"]), int(found["p"])
    bounded = memory <= MAX_MEMORY_KIB and passes <= MAX_PASSES and lanes <= MAX_LANES
    return found if bounded and memory * passes <= MAX_WORK_KIB and memory >= 8 * lanes else None


def adopt(exported: str) -> str:
    """Return the form in which a hash that another product exported is stored; raise HashRefused for one that cannot be verified here."""
    stored = foreign_hash.rewrite(exported)
    if _read(stored) is not None or foreign_hash.is_readable(stored):
        return stored
    if stored.startswith(("$argon2", "$2", "bcrypt_sha256$", "$pbkdf2-", "$scrypt$")):
        raise HashRefused("The hash is malformed, or its cost is out of bounds.")
    raise HashRefused(
        "Only hashes by Argon2, bcrypt, scrypt and PBKDF2 are taken over. Without it, its person sets a new password."
    )


def needs_rehash(stored: str) -> bool:
    """Whether a hash is weaker than one made today, or not by Argon2id; one that is stronger stays."""
    found = _read(stored)
    if found is None or (found["type"], found["version"]) != ("id", "19"):
        return True
    weak = int(found["m"]) < MEMORY_KIB or int(found["t"]) < PASSES
    return weak or len(found["salt"]) * 3 // 4 < SALT_LENGTH or len(found["tag"]) * 3 // 4 < HASH_LENGTH
