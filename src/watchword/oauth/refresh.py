"""RFC 9700 §4.14: the family of refresh tokens that grows from one grant.

Theory of operation. A grant owns at most one *family*. A family is a chain of generations; each generation is one token.
A family is stored as a number and four times: the `generation` of the newest token, `rotated_at` when that was made from its
predecessor, `started_at`, `last_used_at`, and `burned_at` once it is over; and the digests of the newest token and of its
predecessor. A presented token names its family by the mark that all its tokens share; one that is neither of the two is older.

    state     is when
    live      not burned, not expired
    expired   `last_used_at` + idle or `started_at` + lifetime is reached; tokens are refused, nothing is revoked
    burned    `burned_at` is set: reuse was detected, or somebody revoked the grant; nothing leaves this state

    event in state live: the presented token is …          outcome
    of the newest generation                                `rotate`: a successor is made
    its predecessor, within `grace` seconds of rotation      `replay`: *the same* successor is returned once more
    anything else: older, or the predecessor later           `burn`: the family and all its access tokens are revoked
    what would burn, within `grace` seconds of rotation,     `abandoned`: refused, and nothing changes
      and the connection it came by has been closed

`replay` makes an honest race and a lost response harmless (RT-02, TK-06): two tabs that refresh at once, or a phone that lost the
response, get one and the same successor, so there are never two live descendants. The successor is not stored: it can be returned
again because it is derived from its predecessor and the server's root secret. As soon as the successor itself has been used, the
predecessor is two generations old, and its use burns the family, grace or not (TK-07).

`abandoned` is for an honest client that gave up its request, asked again and used what it got, all before the request that it gave up was
worked on (F-25). Nobody is there to gain anything, and no token is ever answered. A connection on which the client has merely ended
its side looks the same, so whoever ends his side can present an old token within the grace without burning the family: he learns that
it is spent, which is worth nothing, and that he tried is recorded.

Where the profile of a client forbids rotation (FAPI 2.0 §5.3.2.1), `rotate` keeps the presented token, and the family its one
generation.

Invariants, which the tests check against every sequence of events:
1. At most one token of a family can be rotated at any time.
2. After `burn` nothing of the family is ever accepted again.
3. No token is accepted at or after `started_at` + lifetime (TK-04), nor after idle seconds without use.
4. A clock that steps back makes nothing live longer than its own dates allow, and revives nothing that is burned.

The decision is pure. Rotation itself is a conditional statement that takes effect only while the token is the newest, so that of
twenty parallel refreshes with one token one rotates and the others find its successor. Binding to client, key and certificate is
checked before, by `check_binding`: a token presented by the wrong party must not burn the family of the right one (RT-03).
"""

import hmac
from typing import Literal

import msgspec

from watchword.oauth.errors import OAuthError
from watchword.oauth.scopes import excess
from watchword.presence import HasLeft, unknown

Outcome = Literal["rotate", "replay", "abandoned", "burn", "burned", "idle", "ended"]


class Limits(msgspec.Struct, frozen=True):
    """The limits of a family in seconds; a grace of 0 switches replay off."""

    idle: int
    lifetime: int
    grace: int


class Family(msgspec.Struct, frozen=True):
    """A family as stored; times are Unix seconds. `generation` is that of its newest token."""

    generation: int
    started_at: int
    last_used_at: int
    rotated_at: int | None = None
    burned_at: int | None = None


def decide(family: Family, generation: int, limits: Limits, now: int, has_left: HasLeft = unknown) -> Outcome:
    """Decide what happens when a family's token of the given generation is presented.

    `has_left` tells whether whoever presents it has closed the connection; it is called only where the answer decides.
    """
    if family.burned_at is not None:
        return "burned"
    if generation != family.generation and not _is_honest_race(family, generation, limits, now):
        if _is_in_grace(family, limits, now) and has_left():
            return "abandoned"
        return "burn"  # RFC 9700 §4.14.2: before the expiry checks, so that reuse burns an expired family as well
    if now >= family.started_at + limits.lifetime:
        return "ended"
    if now >= family.last_used_at + limits.idle:
        return "idle"
    return "rotate" if generation == family.generation else "replay"


def _is_honest_race(family: Family, generation: int, limits: Limits, now: int) -> bool:
    return generation == family.generation - 1 and _is_in_grace(family, limits, now)


def _is_in_grace(family: Family, limits: Limits, now: int) -> bool:
    return family.rotated_at is not None and abs(now - family.rotated_at) < limits.grace


_DESCRIPTIONS: dict[Outcome, str] = {
    "abandoned": "The refresh token was used before.",
    "burn": "The refresh token was used before: everything issued from its grant has been revoked.",
    "burned": "The refresh token has been revoked.",
    "idle": "The refresh token was not used for too long.",
    "ended": "The refresh token has reached the end of its life: ask the person again.",
}


def refusal(outcome: Outcome) -> OAuthError | None:
    """Return the error that answers an outcome, None for the two that succeed."""
    description = _DESCRIPTIONS.get(outcome)
    return OAuthError("invalid_grant", description, detail=f"refresh: {outcome}") if description else None


def check_binding(
    *,
    owner: str,
    client_id: str,
    jkt: str | None,
    proven_jkt: str | None,
    x5t: str | None,
    proven_x5t: str | None,
) -> None:
    """Raise `invalid_grant` unless the client that a token belongs to presents it with the key it is bound to.

    `jkt` and `x5t` are what the token is bound to (RFC 9449 §5, RFC 8705 §4), the others what the request proved.
    """
    if owner != client_id:  # RFC 6749 §6
        raise OAuthError("invalid_grant", "The refresh token was not issued to this client.")
    for wanted, proven in ((jkt, proven_jkt), (x5t, proven_x5t)):
        if wanted is not None and not (proven and hmac.compare_digest(wanted.encode(), proven.encode())):
            raise OAuthError(
                "invalid_grant",
                "The refresh token is bound to a key or certificate that this request does not prove.",
            )


def narrow_scope(requested: tuple[str, ...], granted: tuple[str, ...]) -> tuple[str, ...]:
    """Return the scope of the new access token; the refresh token keeps the whole grant. Raise `invalid_scope` (RFC 6749 §6)."""
    if any(scope not in granted for scope in requested):
        raise excess("The scope exceeds what was granted.", requested, granted)
    return requested or granted
