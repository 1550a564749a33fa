"""RFC 9449 §7 and RFC 8705 §3 at an API: whether a caller holds the key or the certificate that a token is bound to.

A proof works once in a process: its identifier is remembered for as long as the proof would be accepted, 150 seconds at most. The
memory that several processes share is in `replays`. With `nonce_key`, proofs must hold a nonce of this API (§9): a time and its HMAC,
which every process with the same key recognises and nobody stores.
"""

import os
from collections.abc import Callable, Collection

from watchword.guard import once
from watchword.guard.misuse import shown, split_address
from watchword.guard.presented import Presented
from watchword.guard.principal import Principal
from watchword.guard.trusted import read_algorithms
from watchword.oauth import dpop, mtls
from watchword.oauth.bearer import PresentedToken
from watchword.oauth.dpop import DPoPProof
from watchword.oauth.errors import OAuthError

MAX_REMEMBERED = 10_000
MIN_KEY_BYTES = 32
VARIABLE = "WATCHWORD_GUARD_DPOP_NONCE_KEY"


def used_before() -> "NotProven":
    """Return the refusal of a proof that was used before."""
    return NotProven("invalid_dpop_proof", "The DPoP proof was used before.")


class _Use(float):
    """When one use of a proof may be forgotten, in Unix seconds; each use is an object of its own."""


class NotProven(Exception):
    """A caller did not prove possession; `error` and `scheme` go into the challenge, `reason` into the log."""

    def __init__(self, error: str, description: str, scheme: str = "DPoP", reason: str = "") -> None:
        super().__init__(description)
        self.error = error
        self.scheme = scheme
        self.reason = reason


class Possession:
    """Proof of possession at one API; `address` is the API's address as callers see it, None where requests show it unchanged.

    `algorithms` may sign proofs; `algs` is how a challenge names them (§7.1).
    """

    def __init__(
        self,
        clock: Callable[[], float],
        nonce_key: bytes | None,
        address: str | None,
        algorithms: Collection[str] = dpop.ALGORITHMS,
    ) -> None:
        self._algorithms = read_algorithms("dpop_algorithms", algorithms)
        self.algs = dpop.names_of(self._algorithms)
        self._clock = clock
        self._nonce_key = nonce_key
        self._address = address
        self._origin, self._prefix = public_address(address) if address else ("", "")
        self._used: dict[str, _Use] = {}
        self._limit = MAX_REMEMBERED

    def at(self, clock: Callable[[], float]) -> "Possession":
        """Return a copy with another clock, and no used proofs."""
        return Possession(clock, self._nonce_key, self._address, self._algorithms)

    def nonce(self) -> str | None:
        """Return a fresh nonce for the next proof, None where none is required (RFC 9449 §9)."""
        return None if self._nonce_key is None else dpop.make_nonce(self._nonce_key, int(self._clock()))

    def check(self, principal: Principal, found: PresentedToken, presented: Presented) -> DPoPProof | None:
        """Return the DPoP proof, now marked as used in this process; None for a token that needs none.

        Raises NotProven when a bound token comes without its key or certificate, and when an unbound one comes with scheme DPoP.
        """
        # RFC 8705 §3
        if principal.x5t is not None and not mtls.is_bound(presented.certificate, principal.x5t):
            raise NotProven("invalid_token", "The token is bound to another certificate.", "Bearer")
        if principal.jkt is None:
            if found.scheme == "dpop":
                raise NotProven("invalid_token", "The token is not bound to a key.", "Bearer")
            return None
        if found.scheme != "dpop" or not presented.dpop:  # RFC 9449 §7.1
            raise NotProven(
                "invalid_token", "The token is bound to a key: send it with the scheme DPoP and a proof."
            )
        if len(presented.dpop) > 1:  # RFC 9449 §4.3 (1)
            raise NotProven("invalid_dpop_proof", "Send one DPoP proof, not several.")
        return self._check_proof(principal.jkt, found.token, presented)

    def _check_proof(self, jkt: str, token: str, presented: Presented) -> DPoPProof:
        seen, now, key = self._seen_from_outside(presented.uri), int(self._clock()), self._nonce_key
        try:
            proof = dpop.check_proof(
                presented.dpop[0],
                method=presented.method,
                uri=seen,
                now=now,
                access_token=token,
                expected_jkt=jkt,
                algorithms=self._algorithms,
                nonce_check=None if key is None else lambda nonce: dpop.is_fresh_nonce(key, nonce, now),
            )
        except OAuthError as error:
            # The address is logged because behind proxies it is usually what is wrong.
            reason = f"{error.detail}; the request came to {seen[:300]!r}" if error.detail else ""
            raise NotProven(error.code, error.description, reason=reason) from None
        identifier = f"{proof.jkt} {proof.jti}"
        if not once.has_used(presented.kept, self, identifier):
            self._use(identifier)
            once.note_use(presented.kept, self, identifier)
        return proof

    def _seen_from_outside(self, uri: str) -> str:
        # DP-52: behind a proxy a request shows the internal address; the caller signed the public one.
        if not self._origin:
            return uri
        path = "/" + uri.partition("://")[2].partition("/")[2]
        is_stripped = self._prefix and not f"{path}/".startswith(f"{self._prefix}/")
        return self._origin + (self._prefix if is_stripped else "") + path

    def _use(self, identifier: str) -> None:
        now = self._clock()
        if len(self._used) >= self._limit:
            for known, until in self._used.copy().items():  # in one step, while others add to it
                if until <= now:
                    self._used.pop(known, None)
            self._limit = max(MAX_REMEMBERED, 2 * len(self._used))
        use = _Use(now + dpop.MAX_AGE + dpop.LEEWAY + 1)
        # RFC 9449 §11.1: of several threads exactly one finds its own object in the dictionary.
        if self._used.setdefault(identifier, use) is not use:
            raise used_before()


def public_address(address: str, field: str = "api_address") -> tuple[str, str]:
    """Return the origin of an address, and its path, which a proxy may strip; raise ValueError for anything else."""
    parts = split_address(address)
    if parts is None or parts.scheme not in ("https", "http") or any(sign in address for sign in "?#@"):
        raise ValueError(f"{field} must be an address such as https://api.example.com, not {shown(address)}")
    return f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")


def read_nonce_key(given: str | bytes | None) -> bytes | None:
    """Return the nonce key, given or from the environment, as bytes; raise ValueError when it is too short or not hexadecimal."""
    given = given or os.environ.get(VARIABLE)
    if not given:
        return None
    try:
        key = bytes.fromhex(given) if isinstance(given, str) else given
    except ValueError:
        key = b""
    if len(key) < MIN_KEY_BYTES:
        raise ValueError(
            f"the key of DPoP nonces ({VARIABLE}) has at least {2 * MIN_KEY_BYTES} hexadecimal digits, the same in every process"
        )
    return key
