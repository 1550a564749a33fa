"""The texts of refresh tokens: the first of a family, the one that follows from another, and what is known of one by its text alone.

A successor follows from its predecessor and the master key: always the same, kept nowhere, and known to nobody who has only the one or
the other. The store keeps digests and the mark.
"""

import hashlib
import os

import msgspec

from watchword.flows.runtime import Runtime
from watchword.oauth import token_format
from watchword.store import redemption
from watchword.store.grants import Standing

SEAL, SUCCESSOR = "refresh token seal", "refresh successor"


class Presented(msgspec.Struct, frozen=True):
    """A refresh token as it was presented: its text, the mark of its family, its digest, and whether this server made it."""

    token: str
    mark: bytes
    digest: bytes
    is_sealed: bool


def read(runtime: Runtime, token: str) -> Presented | None:
    """Read what was presented; None for a text that is no refresh token at all."""
    if len(token) > 64 or token_format.kind_of(token, runtime.settings.brand) != "r":
        return None
    return Presented(
        token,
        token_format.family_mark(token).encode(),
        token_format.digest(token),
        token_format.is_sealed(token, runtime.root.derive(SEAL)),
    )


async def find(runtime: Runtime, shown: Presented) -> Standing | None:
    """Return the grant whose family a token is of, whatever the state of both; None when there is none.

    A token of which nothing is kept must be one that was made here: a made-up one ends nobody's family.
    """
    found = await runtime.database.read(
        redemption.find_refresh_token, shown.mark, shown.digest, runtime.now()
    )
    if found is None or shown.is_sealed or redemption.generation_of(found, shown.digest) != redemption.OLDER:
        return found
    return None


def first(runtime: Runtime) -> str:
    """Return the first token of a new family."""
    return _make(runtime, os.urandom(token_format.ENTROPY_BYTES), "")


def successor(runtime: Runtime, token: str) -> str:
    """Return the token that follows another one in its family."""
    derived = hashlib.blake2b(token.encode(), key=runtime.root.derive(SUCCESSOR)).digest()  # RFC 7693 §2.5
    return _make(runtime, derived, token_format.family_mark(token))


def _make(runtime: Runtime, randomness: bytes, mark: str) -> str:
    key = runtime.root.derive(SEAL)
    return token_format.make_sealed(runtime.settings.brand, "r", randomness, key, mark)
