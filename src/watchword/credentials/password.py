"""NIST SP 800-63B-4 §3.1.1.2 and RFC 9106: passwords.

Owns the rules for new passwords and their Argon2id hashes. Length counts, composition does not; nothing is truncated.
"""

import unicodedata
from collections.abc import Iterable

from argon2 import Parameters, Type, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import hash_secret, verify_secret

MIN_SINGLE_FACTOR = 15
MIN_WITH_SECOND_FACTOR = 8
MAX_BYTES = 1024

# OWASP's minimum for Argon2id: 19 MiB, two passes, one lane.
MEMORY_KIB, PASSES, LANES, HASH_LENGTH = 19_456, 2, 1, 32
MAX_MEMORY_KIB, MAX_PASSES = 262_144, 10

COMMON = frozenset(
    "password passwort qwerty qwertz letmein welcome iloveyou dragon monkey football baseball master sunshine princess "
    "admin administrator changeme secret trustno1 superman batman starwars whatever computer internet".split()
)


class PasswordRefused(ValueError):
    """A new password that is not acceptable; `remedy` says what to change."""

    def __init__(self, code: str, remedy: str) -> None:
        super().__init__(remedy)
        self.code = code
        self.remedy = remedy


def normalise(password: str) -> bytes:
    """Return the bytes that are hashed: NFC, never truncated; raise PasswordRefused for what no person types."""
    if len(password) > MAX_BYTES:
        raise PasswordRefused("too_long", f"Use at most {MAX_BYTES} bytes.")
    try:
        raw = unicodedata.normalize("NFC", password).encode("utf-8")
    except UnicodeEncodeError:
        raise PasswordRefused("characters", "Use characters that can be typed.") from None
    if len(raw) > MAX_BYTES:
        raise PasswordRefused("too_long", f"Use at most {MAX_BYTES} bytes.")
    if b"\x00" in raw:
        raise PasswordRefused("characters", "Use characters that can be typed.")
    return raw


def check_new_password(password: str, *, context_words: Iterable[str], single_factor: bool) -> None:
    """Check a password that a person wants to set; raise PasswordRefused."""
    normalise(password)
    least = MIN_SINGLE_FACTOR if single_factor else MIN_WITH_SECOND_FACTOR
    if len(unicodedata.normalize("NFC", password)) < least:
        raise PasswordRefused("too_short", f"Use at least {least} characters; several words make a good one.")
    folded = password.casefold()
    words = {word.casefold() for word in context_words if len(word) >= 4} | COMMON
    rest = folded
    for word in words:
        rest = rest.replace(word, "")
    if len(set(rest)) < 5 and (rest != folded or len(set(folded)) < 5):
        raise PasswordRefused(
            "guessable", "This is too easy to guess: do not build it from a name or a common password."
        )


def hash_password(password: str, salt: bytes) -> str:
    """Return the Argon2id hash; `salt` is 16 random bytes."""
    raw = normalise(password)
    return hash_secret(raw, salt, PASSES, MEMORY_KIB, LANES, HASH_LENGTH, Type.ID).decode("ascii")


def verify_password(stored: str, password: str) -> bool:
    """Whether a password is the one of a stored hash; a hash with absurd parameters is never computed (LG-10)."""
    try:
        parameters = extract_parameters(stored)
        if parameters.memory_cost > MAX_MEMORY_KIB or parameters.time_cost > MAX_PASSES:
            return False
        return bool(verify_secret(stored.encode("ascii"), normalise(password), Type.ID))
    except (VerificationError, InvalidHashError, PasswordRefused, UnicodeEncodeError):
        return False


def needs_rehash(stored: str) -> bool:
    """Whether a hash was made with weaker parameters than today's."""
    return extract_parameters(stored) != Parameters(Type.ID, 19, 16, HASH_LENGTH, PASSES, MEMORY_KIB, LANES)
