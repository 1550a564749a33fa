"""RFC 8628: the device authorization grant.

Owns user codes and the decision about each poll. Storing both, throttling guesses and the atomic redemption of an approved code are
done elsewhere.

A user code is eight out of twenty consonants, 34 bits: no vowels, so no words, and no characters that look alike.
"""

import re
from typing import Literal

import msgspec

from watchword.oauth.errors import OAuthError

ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"  # §6.1
LENGTH = 8
ENTROPY_BYTES = 16
INTERVAL = 5
SLOWER = 5
MAX_INTERVAL = 60

Status = Literal["pending", "approved", "denied", "redeemed"]

_IGNORED = re.compile(r"[\s._-]+")
_CODE = re.compile(rf"[{ALPHABET}]{{{LENGTH}}}")


def make_user_code(randomness: bytes) -> str:
    """Make a user code from at least 16 random bytes (the bias of the reduction is below 2^-90)."""
    if len(randomness) < ENTROPY_BYTES:
        raise ValueError("too little randomness for a user code")
    number, letters = int.from_bytes(randomness, "big"), []
    for _ in range(LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[digit])
    return "".join(letters)


def format_user_code(user_code: str) -> str:
    """Return a user code as it is shown: two groups of four."""
    return f"{user_code[:4]}-{user_code[4:]}"


def normalise_user_code(typed: str) -> str | None:
    """Return what a person meant to type, None when it cannot be a user code (§6.1: case and punctuation are ignored)."""
    if len(typed) > 64 or not typed.isascii():
        return None
    code = _IGNORED.sub("", typed).upper()
    return code if _CODE.fullmatch(code) else None


class DeviceCode(msgspec.Struct, frozen=True):
    """What is kept of a device code; times are Unix seconds, `interval` is in seconds."""

    client_id: str
    status: Status
    expires_at: int
    interval: int = INTERVAL
    last_polled_at: int | None = None


class Poll(msgspec.Struct, frozen=True):
    """The answer to one poll: redeem the code when `error` is None, and store `interval` and the time of the poll."""

    error: OAuthError | None
    interval: int


def decide_poll(code: DeviceCode | None, client_id: str, now: int) -> Poll:
    """Decide one poll (§3.5); the caller then redeems an approved code atomically, so that only one poll succeeds."""
    if code is None or code.client_id != client_id or code.status == "redeemed":
        return Poll(OAuthError("invalid_grant", "The device code is not valid for this client."), INTERVAL)
    if now >= code.expires_at:
        return Poll(OAuthError("expired_token", "The device code has expired: start again."), code.interval)
    if code.status == "denied":
        return Poll(OAuthError("access_denied", "The person refused the request."), code.interval)
    if code.status == "approved":  # §3.5: only a request "still pending" is told to slow down
        return Poll(None, code.interval)
    if code.last_polled_at is not None and now - code.last_polled_at < code.interval:
        slower = min(code.interval + SLOWER, MAX_INTERVAL)  # §3.5: for this and all later polls
        return Poll(
            OAuthError("slow_down", "Poll less often: wait five seconds more.", retry_after=slower), slower
        )
    return Poll(OAuthError("authorization_pending", "The person has not answered yet."), code.interval)
