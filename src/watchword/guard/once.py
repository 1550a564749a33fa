"""A request that guards meet several times (a middleware and a decorator, two dependencies) uses what is good once up once.

A proof of possession is good once, and so is a counted use: a second look at the same request would refuse it, or count it twice.
Everything else about it is simply looked at again, by each guard with its own rules. Owns the notes that guards leave in what a
framework keeps of a request. A note counts for the one memory of used proofs, or the one server, that it names: another one
has not seen the request yet.
"""

from collections.abc import Hashable, Mapping, MutableMapping
from typing import Any

from watchword.oauth import token_format

NOTES = "watchword.guard"
Kept = MutableMapping[Any, Any]


def is_used(kept: Kept | None, memory: object, proof: Hashable) -> bool:
    """Whether this very request used a proof up in a memory before."""
    return kept is not None and ("proof", id(memory), proof) in kept.get(NOTES, ())


def used(kept: Kept | None, memory: object, proof: Hashable) -> None:
    """Note that this very request used a proof up in a memory."""
    _note(kept, ("proof", id(memory), proof), {})


def told(kept: Kept | None, server: Hashable, token: str) -> Mapping[str, object] | None:
    """Return what a server told of a token that was used with this very request, None when it is to be asked."""
    if kept is None or NOTES not in kept:
        return None
    found: Mapping[str, object] | None = kept[NOTES].get((server, token_format.digest(token)))
    return found


def tell(kept: Kept | None, server: Hashable, token: str, claims: Mapping[str, object]) -> None:
    """Note what a server told of a token whose uses are counted; of the token itself a digest."""
    if claims.get("limited"):
        _note(kept, (server, token_format.digest(token)), claims)


def _note(kept: Kept | None, what: Hashable, content: Mapping[str, object]) -> None:
    if kept is not None:
        kept.setdefault(NOTES, {})[what] = content
