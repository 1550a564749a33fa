"""Making and reading refresh tokens: the first of a family, the successor of another, and what the text of one tells.

A successor is derived from its predecessor and the root secret: always the same, stored nowhere, and unknown to anybody who has only
one of the two. The store keeps digests and the mark.
"""

import hashlib
import os

import msgspec

from watchword.flows.runtime import Runtime
from watchword.oauth import token_format
from watchword.oauth.refresh import Limits
from watchword.store import redemption
from watchword.store.grants import Standing

SEAL, SUCCESSOR = "refresh token seal", "refresh successor"


class Presented(msgspec.Struct, frozen=True):
    """A refresh token as it was presented: its text, the mark of its family, its digest, and whether its seal is ours."""

    token: str
    mark: bytes
    digest: bytes
    is_sealed: bool


def read(runtime: Runtime, token: str) -> Presented | None:
    """Read a presented token; None for a text that does not have the form of a refresh token."""
    if len(token) > 64 or token_format.kind_of(token, runtime.settings.brand) != "r":
        return None
    return Presented(
        token,
        token_format.family_mark(token).encode(),
        token_format.digest(token),
        token_format.is_sealed(token, runtime.root.derive(SEAL)),
    )


def limits(runtime: Runtime) -> Limits:
    """Return how long families live, in seconds."""
    settings = runtime.settings
    return Limits(settings.refresh_token_idle, settings.refresh_token_lifetime, settings.refresh_token_grace)


async def find(runtime: Runtime, presented: Presented) -> Standing | None:
    """Return the grant that a token's family belongs to, whatever the state of both; None when there is none.

    A token whose digest is no longer stored must carry our seal: a forged one must not burn anybody's family.
    """
    found = await runtime.database.read(
        redemption.find_refresh_token, presented.mark, presented.digest, runtime.now()
    )
    if found is None or presented.is_sealed:
        return found
    return found if redemption.generation_of(found, presented.digest) != redemption.OLDER else None


def first(runtime: Runtime) -> str:
    """Return the first token of a new family."""
    return _make(runtime, os.urandom(token_format.ENTROPY_BYTES), "")


def successor(runtime: Runtime, token: str) -> str:
    """Return the successor of a token in its family."""
    derived = hashlib.blake2b(token.encode(), key=runtime.root.derive(SUCCESSOR)).digest()  # RFC 7693 §2.5
    return _make(runtime, derived, token_format.family_mark(token))


def _make(runtime: Runtime, randomness: bytes, mark: str) -> str:
    key = runtime.root.derive(SEAL)
    return token_format.make_refresh_token(runtime.settings.brand, randomness, key, mark)
