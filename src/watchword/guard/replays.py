"""RFC 9449 §11.1 over several processes: what they share so that a proof of possession works once in all of them.

A guard remembers used proofs in its own process, whatever is shared. What it is given as `replays` is asked after that: any store
with one atomic step that keeps a key which is not there yet and lets it expire. A server in the guard's process is one by itself.
"""

import hashlib
from typing import Protocol

from watchword.guard.trusted import IssuerUnavailable
from watchword.jose import jwk
from watchword.oauth import dpop

# For how many seconds a proof could be shown again: until it is too old, on the slowest clock that is allowed.
SECONDS = dpop.MAX_AGE + dpop.LEEWAY + 1


class Replays(Protocol):
    """A memory of used proofs that the processes of an API share."""

    async def use_proof(self, identifier: str, seconds: int) -> bool:
        """Keep an identifier (43 characters of base64url) for so many seconds, and return whether it was not kept yet.

        Both in one atomic step: of two processes that ask at once, one gets True. Whatever is raised refuses the request with 503.
        """


async def use(replays: Replays, jkt: str, jti: str) -> bool:
    """Use a proof up for all processes and return whether it was new; raise IssuerUnavailable when that cannot be told."""
    digest = hashlib.sha256(f"guard\n{jkt}\n{jti}".encode()).digest()
    try:
        return await replays.use_proof(jwk.b64encode(digest), SECONDS)
    except (
        Exception
    ) as error:  # whatever a store may raise: a proof that may have been used is not let through
        raise IssuerUnavailable(f"the memory of used proofs: {type(error).__name__}") from None
