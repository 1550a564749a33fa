"""RFC 6238 and RFC 4226: time-based one-time passwords.

Owns the code of a time step and which steps are accepted: the present one of 30 seconds, the one before and the one after (§5.2).
A code is accepted once: the caller stores the step that `verify` returns, by a conditional update, and passes it in the next time.
How often one may try is decided in `flows`.
"""

import base64
import hashlib
import hmac
import re
from urllib.parse import quote

STEP_SECONDS = 30
DIGITS = 6
DRIFT_STEPS = 1
SECRET_BYTES = 20  # RFC 4226 §4 R6: as long as the output of SHA-1

_CODE = re.compile(r"[0-9]{6}")
_SEPARATORS = re.compile(r"[ \u00a0\u202f-]")
MAX_TYPED = 16


def hotp(secret: bytes, counter: int, digits: int = DIGITS) -> str:
    """Return the one-time password of a counter (RFC 4226 §5.3)."""
    mac = hmac.digest(secret, counter.to_bytes(8, "big"), hashlib.sha1)
    offset = mac[-1] & 0x0F
    number = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**digits).zfill(digits)


def step_at(now: int) -> int:
    """Return the step of a moment, in Unix seconds (§4.2)."""
    return now // STEP_SECONDS


def verify(secret: bytes, code: str, *, now: int, last_step: int | None = None) -> int | None:
    """Return the step whose code this is, to be stored; None when it is wrong, too old, or not later than `last_step`."""
    typed = _SEPARATORS.sub("", code) if len(code) <= MAX_TYPED else ""
    if not _CODE.fullmatch(typed):
        return None
    present = step_at(now)
    steps = range(max(present - DRIFT_STEPS, 0), present + DRIFT_STEPS + 1)
    # Every step is compared, so that the timing reveals nothing; the latest match counts, so that the code cannot match again.
    right = [step for step in steps if hmac.compare_digest(hotp(secret, step).encode(), typed.encode())]
    found = max(right, default=None)
    if found is None or (last_step is not None and found <= last_step):  # §5.2: a code is accepted once
        return None
    return found


def secret_from(random: bytes) -> bytes:
    """Return a new secret of 20 random bytes; raise ValueError for another number of them."""
    if len(random) != SECRET_BYTES:
        raise ValueError("a secret is made of 20 random bytes")
    return random


def secret_text(secret: bytes) -> str:
    """Return a secret as people type it: base32 in groups of four."""
    text = base64.b32encode(secret).decode("ascii").rstrip("=")
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def otpauth_uri(secret: bytes, *, issuer: str, account: str) -> str:
    """Return the address that authenticator applications scan; a colon within a name becomes a space."""
    issuer, account = (" ".join(name.replace(":", " ").split()) for name in (issuer, account))
    text = secret_text(secret).replace(" ", "")
    label = f"{quote(issuer, safe='')}:{quote(account, safe='@')}"
    query = (
        f"secret={text}&issuer={quote(issuer, safe='')}&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"
    )
    return f"otpauth://totp/{label}?{query}"
