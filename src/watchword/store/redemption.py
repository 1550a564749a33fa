"""Redeeming a grant's code once, rotating its refresh tokens, and reacting to the replay of either.

Each is one statement on the grant's row, whose conditions decide who wins a race. Whoever loses, or presents a token that is not the
newest, is handled in a transaction that locks the row first. Codes and refresh tokens are found by digest; a refresh token that is
neither the newest nor the one before it is recognised by the family mark that all tokens of its family share.
"""

from collections.abc import Awaitable, Iterable, Mapping

import msgspec

from watchword.oauth import refresh
from watchword.oauth.refresh import Family, Limits, Outcome
from watchword.presence import HasLeft, unknown
from watchword.store.database import AuditEntry, Change, Database, Transaction
from watchword.store.grants import KEPT, STANDING, Grant, Standing, end_grant, to_standing

_BY_MARK = f"{STANDING} WHERE g.family = $2"
_BY_EITHER = f"{STANDING} WHERE g.family IN ($2, $3)"
OLDER = -1  # the generation of a token whose digest is no longer stored


class Bought(msgspec.Struct, frozen=True):
    """What a redemption stores with a grant: its first refresh token, and the key that a public client's tokens are bound to."""

    mark: bytes | None = None
    refresh_digest: bytes | None = None
    expires_at: int = 0  # when the last token that the grant can issue expires
    jkt: str | None = None
    x5t: str | None = None


_BUY = "family = $2, refresh_digest = $3, expires_at = $4, jkt = $5, x5t = $6"
_REDEEM = Change(
    "redeem_code",
    f"UPDATE grants SET {_BUY}, code_used_at = $7 WHERE code_digest = $1 AND code_used_at IS NULL "  # noqa: S608 - literals
    "AND ended_at IS NULL AND code_expires_at > $7 RETURNING code_digest",
)
# The request is kept for a day after the code's expiry, so that a replayed code is still checked against it.
_USED = "last_used_at = $3, request = CASE WHEN code_expires_at + 86400 < $3 THEN '' ELSE request END"
_MOVE_ON = (
    f"generation = generation + 1, superseded_digest = $1, refresh_digest = $2, rotated_at = $3, {_USED}"
)
_NEWEST = "id = $4 AND refresh_digest = $1 AND ended_at IS NULL RETURNING superseded_digest"
_ROTATE = Change("rotate_refresh_token", f"UPDATE grants SET {_MOVE_ON} WHERE {_NEWEST}")  # noqa: S608 - literals
# Used when the family has no mark yet, only a token's digest in its place (see migration 0020), or when the lifetime of families was
# lengthened since. A statement of its own, because it changes indexed columns and `_ROTATE` changes none.
_ROTATE_ANEW = Change(
    "rotate_refresh_token",
    f"UPDATE grants SET {_MOVE_ON}, family = $5, expires_at = $6 WHERE {_NEWEST}",  # noqa: S608 - literals
)
_USE = (
    f"UPDATE grants SET {_USED}, expires_at = $4 WHERE id = $2 AND refresh_digest = $1 "  # noqa: S608 - literals
    "AND ended_at IS NULL RETURNING id"
)
# The audit event for each outcome of presenting a refresh token; a rotation is recorded by its own statement.
EVENTS: Mapping[Outcome, str] = {
    "replay": "refresh_token.replayed",
    "abandoned": "refresh_token.abandoned",
    "burn": "refresh_token.reused",
    "burned": "refresh_token.refused",
    "idle": "refresh_token.expired",
    "ended": "refresh_token.expired",
}


def _bought(bought: Bought) -> tuple[object, ...]:
    return (
        bought.mark,
        bought.refresh_digest,
        bought.expires_at + KEPT,
        bought.jkt,
        bought.x5t,
    )


async def find_code(tx: Transaction, digest: bytes, now: int) -> Standing | None:
    """Return what a code is for, whatever its state, without using it up."""
    row = await tx.one(f"{STANDING} WHERE g.code_digest = $2", now, digest)
    return to_standing(row) if row else None


def redeem_code(
    database: Database,
    digest: bytes,
    grant: Grant,
    bought: Bought,
    now: int,
    *,
    after: Awaitable[object] | None = None,
) -> Awaitable[bool]:
    """Redeem a code; the awaitable yields True for one attempt only (RFC 6749 §4.1.2). `after` as in `Database.change`."""
    entry = AuditEntry("code.redeemed", grant.client_id, grant.id, now)
    return database.change(_REDEEM, (digest, *_bought(bought), now), entry, after=after)


async def refuse_code(tx: Transaction, digest: bytes, now: int) -> str:
    """Return why a code was not redeemed: "unknown", "replayed", which ends the grant (RFC 6749 §4.1.2), "ended" or "expired"."""
    held = await tx.one(
        "SELECT id, client_id, code_used_at, ended_at FROM grants WHERE code_digest = $1 FOR UPDATE", digest
    )
    if held is None:
        return "unknown"
    if held["code_used_at"] is not None:
        await tx.record("code.replayed", actor="unknown", target=held["id"], at=now)
        await end_grant(tx, held["id"], reason="code replayed", actor="system", now=now)
        return "replayed"
    reason = "ended" if held["ended_at"] is not None else "expired"
    await tx.run("UPDATE grants SET code_used_at = $1 WHERE id = $2", now, held["id"])
    await tx.record("code.refused", actor=held["client_id"], target=held["id"], at=now, reason=reason)
    return reason


async def store_bought(tx: Transaction, grant_id: str, bought: Bought) -> bool:
    """Store what a redemption buys, inside an operation that has decided about it; return False when the grant has ended."""
    stored = f"UPDATE grants SET {_BUY} WHERE id = $1 AND ended_at IS NULL RETURNING id"  # noqa: S608 - literals
    return await tx.one(stored, grant_id, *_bought(bought)) is not None


async def find_refresh_token(tx: Transaction, mark: bytes, digest: bytes, now: int) -> Standing | None:
    """Return the grant of a refresh token, whatever its state: by the mark of its family, or by the digest stored in its place."""
    found = [to_standing(row) for row in await tx.all(_BY_MARK, now, mark)]
    if (exact := _holder(found, digest)) is not None:
        return exact
    # Both in one look: a concurrent refresh may put the mark in the digest's place between two.
    found = [to_standing(row) for row in await tx.all(_BY_EITHER, now, mark, digest)]
    return _holder(found, digest) or next(iter(found), None)


def _holder(found: Iterable[Standing], digest: bytes) -> Standing | None:
    # Two of millions of families may share a mark of eight characters, but never a digest.
    return next((one for one in found if digest in (one.refresh_digest, one.superseded_digest)), None)


def generation_of(standing: Standing, digest: bytes) -> int:
    """Return the generation of a presented token of a family."""
    if digest == standing.refresh_digest:
        return standing.grant.generation
    return standing.grant.generation - 1 if digest == standing.superseded_digest else OLDER


def family_of(grant: Grant) -> Family:
    """Return the facts that the rotation rules decide by."""
    return Family(grant.generation, grant.started_at, grant.last_used_at, grant.rotated_at, grant.ended_at)


def rotate_refresh_token(
    database: Database,
    digest: bytes,
    standing: Standing,
    *,
    mark: bytes,
    successor: bytes,
    expires_at: int,
    now: int,
    after: Awaitable[object] | None = None,
) -> Awaitable[bool]:
    """Replace a family's newest token by its successor; the awaitable yields False when it is not the newest any more.

    `expires_at` is when the family expires, `after` as in `Database.change`.
    """
    grant = standing.grant
    data: dict[str, object] = {"generation": grant.generation + 1}
    entry = AuditEntry("refresh_token.rotated", grant.client_id, grant.id, now, data)
    values = (digest, successor, now, grant.id)
    kept_until = _kept_until(standing, expires_at)
    if (standing.family, standing.expires_at) == (mark, kept_until):
        return database.change(_ROTATE, values, entry, after=after)
    return database.change(_ROTATE_ANEW, (*values, mark, kept_until), entry, after=after)


def _kept_until(standing: Standing, expires_at: int) -> int:
    """Return until when a family is kept; its lifetime may have been lengthened since it began."""
    return max(standing.expires_at, expires_at + KEPT)


async def use_refresh_token(
    tx: Transaction, digest: bytes, standing: Standing, *, expires_at: int, now: int
) -> bool:
    """Note the use of a refresh token that is not rotated; return False when it is not the newest any more, or the family has ended.

    `expires_at` is when the family expires.
    """
    grant = standing.grant
    if await tx.one(_USE, digest, grant.id, now, _kept_until(standing, expires_at)) is None:
        return False
    await tx.record("refresh_token.used", actor=grant.client_id, target=grant.id, at=now)
    return True


async def settle_refresh_token(
    tx: Transaction,
    mark: bytes,
    digest: bytes,
    limits: Limits,
    now: int,
    has_left: HasLeft = unknown,
) -> Outcome | None:
    """Decide under the row's lock what a token that could not be rotated means, and carry that out; None when it is unknown.

    "rotate" means that it is the newest after all, and that nothing was done. `has_left` as in `refresh.decide`.
    """
    standing = await find_refresh_token(tx, mark, digest, now)
    if standing is None:
        return None
    await tx.one("SELECT id FROM grants WHERE id = $1 FOR UPDATE", standing.grant.id)
    standing = await find_refresh_token(tx, mark, digest, now)  # read again under the lock
    if standing is None:
        return None
    grant, generation = standing.grant, generation_of(standing, digest)
    outcome = refresh.decide(family_of(grant), generation, limits, now, has_left)
    if outcome == "rotate":
        return outcome
    await tx.record(
        EVENTS[outcome],
        actor=grant.client_id,
        target=grant.id,
        at=now,
        generation=generation,
        outcome=outcome,
    )
    if outcome == "burn":
        await end_grant(tx, grant.id, reason="refresh token reused", actor="system", now=now)
    return outcome
