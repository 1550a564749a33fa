"""The revocation feed, for resource servers that verify tokens by themselves: marks, and the signed pages that carry them.

A mark is a digest of something that can end (a token, a grant, a client, an account, a trust rule, a signing key). Who holds a token
can compute its marks; a mark alone does not tell what it stands for. A mark may come with a time: then only tokens issued before it
have ended.

Owns the form of marks and pages on both sides; storage and transport are decided elsewhere.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from watchword.jose.jwk import b64encode

TOKEN_TYPE = "ended+jwt"
# Seconds after its expiry within which a guard may still accept a token: its leeway, and a clock that is a minute behind ours.
AFTER_EXPIRY = 120
# Seconds: no access token is accepted anywhere for longer than this after something that it depends on has ended.
LONGEST = 86_400 + AFTER_EXPIRY
PAGE = 200
MARK_BYTES = 16
EVERYTHING = ("all", "")


class EndedError(ValueError):
    """A page of the feed is malformed."""


class Entry(msgspec.Struct, frozen=True):
    """Something that ended: tokens with this mark are revoked, or with `before` only those issued before it.

    After `until` no guard accepts any of them, and the entry may be forgotten. Times are Unix seconds.
    """

    mark: str
    until: int
    before: int | None = None


class Page(msgspec.Struct, frozen=True):
    """Everything that ended after one position of the feed and up to another; with `more`, there are further pages already."""

    after: str
    position: str
    more: bool
    entries: tuple[Entry, ...]
    issued_at: int


def digest(kind: str, identifier: str) -> bytes:
    """Return the bytes of a mark."""
    return hashlib.sha256(f"{kind}:{identifier}".encode()).digest()[:MARK_BYTES]


_cached_digest = lru_cache(maxsize=4096)(digest)  # for what many tokens share


def mark(kind: str, identifier: str) -> str:
    """Return the mark of something that can end."""
    return b64encode(digest(kind, identifier))


def account_handle(key: bytes, user_id: str) -> str:
    """Return a keyed name of an account for its marks: its tokens reveal it, and whoever only knows the account does not find it in the feed."""
    return hmac.new(key, f"account:{user_id}".encode(), hashlib.sha256).hexdigest()[:32]


def marks_of(claims: Mapping[str, object], kid: str | None) -> tuple[bytes, ...]:
    """Return the marks of a verified token, as bytes: its own and those of everything that it depends on."""
    jti, client_id = claims.get("jti"), claims.get("client_id")
    found = [_cached_digest(*EVERYTHING)]
    if kid is not None:
        found.append(_cached_digest("key", kid))
    if isinstance(jti, str):
        found.append(digest("token", jti))
    if isinstance(client_id, str):
        found.append(_cached_digest("client", client_id))
    return (*found, *dependencies(claims))


def dependencies(claims: Mapping[str, object]) -> tuple[bytes, ...]:
    """Return the marks, as bytes, of what a token depends on besides its client and the key that signed it."""
    grant_id, parents = claims.get("grant_id"), claims.get("parents")
    found = [_cached_digest("grant", grant_id)] if isinstance(grant_id, str) else []
    if parents is not None and isinstance(parents, Sequence):
        found += [digest(*_parent(str(one))) for one in parents]
    return tuple(found)


def _parent(text: str) -> tuple[str, str]:
    kind, _, identifier = text.partition(":")
    if kind == "digest":  # an opaque token: its identifier is the end of its digest
        return "token", f"ot_{identifier[-24:]}"
    return ("token" if kind == "jti" else kind), identifier


def page_claims(issuer: str, page: Page) -> dict[str, object]:
    """Return the claims of a signed page."""
    entries = [[one.mark, one.until, *(() if one.before is None else (one.before,))] for one in page.entries]
    return {
        "iss": issuer,
        "iat": page.issued_at,
        "after": page.after,
        "position": page.position,
        "more": page.more,
        "ended": entries,
    }


def read_page(claims: Mapping[str, object]) -> Page:
    """Read a page whose signature was verified; raise EndedError."""
    after, position, more = claims.get("after"), claims.get("position"), claims.get("more")
    entries, issued_at = claims.get("ended"), claims.get("iat")
    if not isinstance(after, str) or not isinstance(position, str) or not isinstance(more, bool):
        raise EndedError("malformed position")
    if not isinstance(entries, list) or type(issued_at) is not int:
        raise EndedError("malformed entries")
    return Page(after, position, more, tuple(_entries(entries)), issued_at)


def _entries(given: list[object]) -> Iterable[Entry]:
    for one in given:
        if not isinstance(one, list) or len(one) not in (2, 3) or not isinstance(one[0], str):
            raise EndedError("malformed entry")
        if any(type(moment) is not int for moment in one[1:]):
            raise EndedError("malformed entry")
        yield Entry(one[0], one[1], one[2] if len(one) == 3 else None)
