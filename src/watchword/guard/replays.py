"""RFC 9449 §11.1 over several processes: a shared memory of used DPoP proofs, so that each proof works once in all of them.

A guard always remembers used proofs in its own process. `replays` is asked after that: any store with an atomic "set if absent, with
expiry". A server in the guard's process is one by itself.
"""

import hashlib
from typing import Protocol

from watchword.guard.trusted import IssuerUnavailable
from watchword.jose import jwk
from watchword.oauth import dpop

# For how many seconds a proof could be replayed: until it is too old, on the slowest clock that is tolerated.
SECONDS = dpop.MAX_AGE + dpop.LEEWAY + 1


class Replays(Protocol):
    """A store of used proofs that all processes of an API share."""

    async def use_proof(self, identifier: str, seconds: int) -> bool:
        """Store an identifier (43 characters of base64url) for so many seconds; return whether it was new.

        Do both in one atomic step: of two processes that call at once, exactly one gets True. If this raises, the request gets 503.
        """


def check_replays(given: object) -> None:
    """Raise ValueError for what is neither None nor a `Replays`."""
    if given is not None and not callable(getattr(given, "use_proof", None)):
        raise ValueError("replays: an object with the method use_proof(identifier, seconds)")


async def record_use(replays: Replays, jkt: str, jti: str) -> bool:
    """Record a proof for all processes and return whether it was new; raise IssuerUnavailable when the memory fails."""
    digest = hashlib.sha256(f"guard\n{jkt}\n{jti}".encode()).digest()
    try:
        return await replays.use_proof(jwk.b64encode(digest), SECONDS)
    except Exception as error:  # fail closed, whatever the store raises
        raise IssuerUnavailable(f"the memory of used proofs: {type(error).__name__}") from None
