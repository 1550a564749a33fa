"""RFC 9449: DPoP proofs for requests, with the nonces and clocks of the servers that they are sent to."""

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from watchword.client.addresses import Origin, origin_of
from watchword.jose import jwk, jwt
from watchword.jose.jwk import Key

_AGE = re.compile(r"[0-9]{1,10}")
TOLERATED = 5  # seconds by which a clock may be off before it is allowed for


def dated(headers: Mapping[str, str]) -> float | None:
    """Return the time at a server by the Date of its answer, in Unix seconds; None where it names no moment.

    A cache on the way keeps the Date that an answer had, and says how old it is by now (RFC 9111 §5.1).
    """
    age = headers.get("age", "")
    try:
        made = parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):  # the latter is for numbers that are no zone
        return None
    return made + (int(age) if _AGE.fullmatch(age) else 0)


class Clocks:
    """The local time, and the offset of each server's clock: what a server will check by its clock is dated by that clock."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._offsets: dict[Origin, int] = {}

    def __call__(self) -> float:
        """Return the time here, in Unix seconds."""
        return self._clock()

    def at(self, origin: Origin) -> int:
        """Return the time at a server, as far as it is known."""
        return int(self._clock()) + self._offsets.get(origin, 0)

    def heard(self, origin: Origin, headers: Mapping[str, str]) -> bool:
        """Learn a server's clock from the Date of its answer; return whether the known offset changed."""
        there = dated(headers)
        if there is None:
            return False
        offset = int(there - self._clock())
        offset = offset if abs(offset) > TOLERATED else 0
        known, self._offsets[origin] = self._offsets.get(origin, 0), offset
        return abs(offset - known) > TOLERATED


def is_elsewhere(proof: str | None, address: str) -> bool:
    """Whether a proof was made for another URL, as after a redirect: then the same request needs another proof."""
    if proof is None:
        return False
    return bool(jwt.peek(proof).get("htu") != target_of(address))


def target_of(address: str) -> str:
    """Return a URL as the `htu` of a proof (§4.2): without query and fragment."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"


class Prover:
    """A key, and the latest nonce of each server."""

    def __init__(self, key: Key, clocks: Clocks) -> None:
        self.key = key
        self._clocks = clocks
        self._nonces: dict[Origin, str] = {}

    def proof(self, method: str, address: str, token: str | None = None) -> str:
        """Return a fresh proof for one request, with the `ath` of a token that is sent with it (§4.2)."""
        origin = origin_of(address)
        claims: dict[str, object] = {
            "jti": os.urandom(16).hex(),
            "htm": method,
            "htu": target_of(address),
            "iat": self._clocks.at(origin),
        }
        if token is not None:
            claims["ath"] = jwk.b64encode(hashlib.sha256(token.encode()).digest())
        if origin in self._nonces:
            claims["nonce"] = self._nonces[origin]
        return jwt.encode_with_key(self.key, claims, "dpop+jwt")

    def heard(self, origin: Origin, headers: Mapping[str, str]) -> bool:
        """Keep the nonce of an answer (§8.2); return whether it is a new one."""
        nonce = headers.get("dpop-nonce")
        if not nonce or self._nonces.get(origin) == nonce:
            return False
        self._nonces[origin] = nonce
        return True
