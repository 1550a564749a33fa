"""Single-use things when several guards check one request (a middleware and a decorator, two dependencies).

A DPoP proof is good once, and a counted use is counted once: a second guard would refuse the proof, or count the same request twice.
Everything else is simply checked again, by each guard with its own rules. Owns the notes that guards leave in the dictionary that a
framework keeps for a request. A note names the memory of used proofs, or the server, that it is about: another one has not seen the
request yet.
"""

from collections.abc import Hashable, Mapping, MutableMapping
from typing import Any

from watchword.oauth import token_format

NOTES = "watchword.guard"
Kept = MutableMapping[Any, Any]


def has_used(kept: Kept | None, memory: object, proof: Hashable) -> bool:
    """Whether an earlier guard of this request recorded the proof in a memory."""
    return kept is not None and ("proof", id(memory), proof) in kept.get(NOTES, ())


def note_use(kept: Kept | None, memory: object, proof: Hashable) -> None:
    """Note that this request recorded a proof in a memory."""
    _note(kept, ("proof", id(memory), proof), {})


def noted_answer(kept: Kept | None, server: Hashable, token: str) -> Mapping[str, object] | None:
    """Return what a server answered about a token for an earlier guard of this request, None when it has to be asked."""
    if kept is None or NOTES not in kept:
        return None
    found: Mapping[str, object] | None = kept[NOTES].get((server, token_format.digest(token)))
    return found


def note_answer(kept: Kept | None, server: Hashable, token: str, claims: Mapping[str, object]) -> None:
    """Note a server's answer about a limited token, whose uses are counted, under the token's digest."""
    if claims.get("limited"):
        _note(kept, (server, token_format.digest(token)), claims)


def _note(kept: Kept | None, what: Hashable, content: Mapping[str, object]) -> None:
    if kept is not None:
        kept.setdefault(NOTES, {})[what] = content
