"""Grants: codes that are redeemed once, refresh-token families that rotate, and the end of both with all that came from them."""

from collections.abc import Mapping

import msgspec

from watchword.oauth import refresh
from watchword.oauth.refresh import Family, Limits, Outcome
from watchword.store import faults
from watchword.store.database import Row, Transaction
from watchword.store.logout_notices import note_client
from watchword.store.tokens import StoredToken, store_token


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a person granted to a client in a session; `claims` is JSON (`auth_time`, `acr`, `amr`), times are Unix seconds.

    `wishes` is JSON too: the claims that were asked for by name; empty when there were none. So are the `authorization_details`.
    """

    id: str
    client_id: str
    user_id: str
    session_id: str
    scope: str
    audience: str
    claims: str
    created_at: int
    started_at: int
    last_used_at: int
    generation: int = 0
    rotated_at: int | None = None
    ended_at: int | None = None
    jkt: str | None = None
    x5t: str | None = None
    wishes: str = ""
    authorization_details: str = "[]"


class Bought(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored when a code is redeemed: digests, and what a public client's refresh tokens are bound to."""

    access_token: StoredToken | None = None
    refresh_token: bytes | None = None
    refresh_expires_at: int = 0
    jkt: str | None = None
    x5t: str | None = None


class Redeemed(msgspec.Struct, frozen=True):
    """What came of presenting a code: "redeemed", "unknown", "expired", "ended", or "replayed" (then the grant has ended)."""

    outcome: str
    grant: Grant | None = None
    request: str = ""


class Refreshed(msgspec.Struct, frozen=True):
    """What came of presenting a refresh token; `sealed_successor` is there for a replay within the grace."""

    outcome: Outcome
    grant: Grant
    sealed_successor: bytes | None = None


# What the audit trail says of a refresh token that was presented; a rotation records itself.
EVENTS: Mapping[Outcome, str] = {
    "replay": "refresh_token.replayed",
    "burn": "refresh_token.reused",
    "burned": "refresh_token.refused",
    "idle": "refresh_token.expired",
    "ended": "refresh_token.expired",
}

_NAMES = Grant.__struct_fields__
_COLUMNS = ", ".join(_NAMES)
_PLACES = ", ".join(f"${number}" for number in range(1, len(_NAMES) + 1))


def _grant(row: Row) -> Grant:
    return Grant(**{name: row[name] for name in _NAMES})


async def hold_session(tx: Transaction, session_id: str, now: int) -> bool:
    """Lock a live session: its end comes before what is granted in it, and then there is no grant, or after, and ends it."""
    row = await tx.one(
        "UPDATE sessions SET acr = acr WHERE id = $1 AND ended_at IS NULL AND idle_expires_at > $2 AND expires_at > $2 RETURNING id",
        session_id,
        now,
    )
    return row is not None


async def create_grant(tx: Transaction, grant: Grant, *, code: bytes, request: str, expires_at: int) -> bool:
    """Store a grant with the code that redeems it; return False when its session has ended."""
    if not await hold_session(tx, grant.session_id, grant.created_at):
        return False
    await store_grant(tx, grant)
    await tx.run(
        "INSERT INTO codes (digest, grant_id, request, expires_at) VALUES ($1, $2, $3, $4)",
        code,
        grant.id,
        request,
        expires_at,
    )
    return True


async def store_grant(tx: Transaction, grant: Grant) -> None:
    """Store a grant as a part of an operation that holds its session and makes it redeemable."""
    await tx.run(
        f"INSERT INTO grants ({_COLUMNS}) VALUES ({_PLACES})",  # noqa: S608 - literals
        *(getattr(grant, name) for name in _NAMES),
    )
    await tx.record(
        "grant.created",
        actor=grant.user_id,
        target=grant.id,
        at=grant.created_at,
        client=grant.client_id,
        scope=grant.scope,
    )
    if "openid" in grant.scope.split():
        await note_client(tx, grant.session_id, grant.client_id, grant.created_at)


async def find_code(tx: Transaction, digest: bytes) -> Redeemed:
    """Return what a code is for without using it up."""
    row = await tx.one("SELECT grant_id, request FROM codes WHERE digest = $1", digest)
    if row is None:
        return Redeemed("unknown")
    return Redeemed("found", await get_grant(tx, row["grant_id"]), row["request"])


async def redeem_code(tx: Transaction, digest: bytes, bought: Bought, now: int) -> Redeemed:
    """Use a code up and store what it buys, both or neither; of concurrent redemptions one wins, and any after it ends
    the grant (RFC 6749 §4.1.2)."""
    row = await tx.one(
        "UPDATE codes SET used_at = $1 WHERE digest = $2 AND used_at IS NULL RETURNING grant_id, request, expires_at",
        now,
        digest,
    )
    if row is None:
        return await _replayed(tx, digest, now)
    faults.reach("code.consumed")
    grant = await get_grant(tx, row["grant_id"])
    if grant is None or grant.ended_at is not None:
        await tx.record("code.refused", actor="unknown", target=row["grant_id"], at=now, reason="ended")
        return Redeemed("ended")
    if now >= row["expires_at"]:
        await tx.record("code.refused", actor=grant.client_id, target=grant.id, at=now, reason="expired")
        return Redeemed("expired")
    await store_bought(tx, grant, bought)
    faults.reach("code.stored")
    await tx.record("code.redeemed", actor=grant.client_id, target=grant.id, at=now)
    return Redeemed("redeemed", grant, row["request"])


async def store_bought(tx: Transaction, grant: Grant, bought: Bought) -> None:
    """Store what the redemption of a grant buys."""
    if bought.access_token is not None:
        await store_token(tx, bought.access_token)
    if bought.refresh_token is not None:
        await tx.run(
            "INSERT INTO refresh_tokens (digest, grant_id, generation, expires_at) VALUES ($1, $2, 0, $3)",
            bought.refresh_token,
            grant.id,
            bought.refresh_expires_at,
        )
    if bought.jkt is not None or bought.x5t is not None:
        await tx.run("UPDATE grants SET jkt = $1, x5t = $2 WHERE id = $3", bought.jkt, bought.x5t, grant.id)


async def _replayed(tx: Transaction, digest: bytes, now: int) -> Redeemed:
    row = await tx.one("SELECT grant_id FROM codes WHERE digest = $1", digest)
    if row is None:
        return Redeemed("unknown")
    await tx.record("code.replayed", actor="unknown", target=row["grant_id"], at=now)
    await end_grant(tx, row["grant_id"], reason="code replayed", actor="system", now=now)
    return Redeemed("replayed")


async def get_grant(tx: Transaction, grant_id: str) -> Grant | None:
    """Return a grant by its identifier."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM grants WHERE id = $1", grant_id)  # noqa: S608 - literals
    return _grant(row) if row else None


async def find_refresh_token(tx: Transaction, digest: bytes) -> Grant | None:
    """Return the grant of a refresh token, whatever its state."""
    row = await tx.one(
        f"SELECT {_COLUMNS} FROM grants WHERE id = (SELECT grant_id FROM refresh_tokens WHERE digest = $1)",  # noqa: S608 - literals
        digest,
    )
    return _grant(row) if row else None


async def rotate_refresh_token(
    tx: Transaction,
    digest: bytes,
    *,
    successor: bytes,
    sealed_successor: bytes,
    limits: Limits,
    now: int,
    access_token: StoredToken | None,
) -> Refreshed | None:
    """Decide on a presented refresh token and do what was decided, in one transaction; None when it is unknown."""
    # The write takes the grant's lock before the decision reads it: concurrent refreshes decide one after the other. No index holds
    # the column, so that none is written for it.
    locked = await tx.one(
        "UPDATE grants SET generation = generation "  # noqa: S608 - literals
        f"WHERE id = (SELECT grant_id FROM refresh_tokens WHERE digest = $1) RETURNING {_COLUMNS}",
        digest,
    )
    row = await tx.one("SELECT generation, sealed_successor FROM refresh_tokens WHERE digest = $1", digest)
    if locked is None or row is None:
        return None
    grant = _grant(locked)
    family = Family(grant.generation, grant.started_at, grant.last_used_at, grant.rotated_at, grant.ended_at)
    outcome = refresh.decide(family, row["generation"], limits, now)
    if outcome == "rotate":
        await _rotate(tx, grant, digest, successor, sealed_successor, limits, now)
    else:
        await tx.record(
            EVENTS[outcome],
            actor=grant.client_id,
            target=grant.id,
            at=now,
            generation=row["generation"],
            outcome=outcome,
        )
    if outcome == "burn":
        await end_grant(tx, grant.id, reason="refresh token reused", actor="system", now=now)
    if access_token is not None and outcome in ("rotate", "replay"):
        await store_token(tx, access_token)
    sealed = row["sealed_successor"]
    return Refreshed(outcome, grant, bytes(sealed) if sealed is not None else None)


async def _rotate(
    tx: Transaction, grant: Grant, digest: bytes, successor: bytes, sealed: bytes, limits: Limits, now: int
) -> None:
    await tx.run(
        "UPDATE grants SET generation = generation + 1, rotated_at = $1, last_used_at = $1 WHERE id = $2",
        now,
        grant.id,
    )
    faults.reach("refresh.rotated")
    await tx.run("UPDATE refresh_tokens SET sealed_successor = $1 WHERE digest = $2", sealed, digest)
    await tx.run(
        # Those before have none: each was cleared by the second rotation after its own. A family may be thousands of tokens long.
        "UPDATE refresh_tokens SET sealed_successor = NULL WHERE grant_id = $1 AND generation = $2",
        grant.id,
        grant.generation - 1,
    )
    await tx.run(
        "INSERT INTO refresh_tokens (digest, grant_id, generation, expires_at) VALUES ($1, $2, $3, $4)",
        successor,
        grant.id,
        grant.generation + 1,
        grant.started_at + limits.lifetime,
    )
    faults.reach("refresh.stored")
    await tx.record(
        "refresh_token.rotated",
        actor=grant.client_id,
        target=grant.id,
        at=now,
        generation=grant.generation + 1,
    )


async def end_grant(tx: Transaction, grant_id: str, *, reason: str, actor: str, now: int) -> bool:
    """End a grant and every token that came from it; return whether it was alive."""
    row = await tx.one(
        "UPDATE grants SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL RETURNING id", now, grant_id
    )
    faults.reach("grant.ended")
    await _end_tokens(tx, grant_id, now)
    if row is None:
        return False
    await tx.record("grant.ended", actor=actor, target=grant_id, at=now, reason=reason)
    return True


async def end_grants_of_session(tx: Transaction, session_id: str, *, actor: str, now: int) -> int:
    """End what was granted in a session, except offline access that was taken up; return how many (OIDC Core §11)."""
    rows = await tx.all(
        "UPDATE grants SET ended_at = $1 WHERE session_id = $2 AND ended_at IS NULL AND "
        "(' ' || scope || ' ' NOT LIKE '% offline_access %' "
        "OR EXISTS (SELECT 1 FROM codes c WHERE c.grant_id = grants.id AND c.used_at IS NULL)) RETURNING id",
        now,
        session_id,
    )
    faults.reach("grant.ended")
    for row in rows:
        await _end_tokens(tx, row["id"], now)
        await tx.record("grant.ended", actor=actor, target=row["id"], at=now, reason="session ended")
    return len(rows)


async def _end_tokens(tx: Transaction, grant_id: str, now: int) -> None:
    await tx.run(
        "UPDATE access_tokens SET revoked_at = $1 WHERE grant_id = $2 AND revoked_at IS NULL", now, grant_id
    )


async def purge_grants(tx: Transaction, before: int, limit: int = 200) -> int:
    """Forget grants made before a moment that have neither a code nor a refresh token left; return how many."""
    return await tx.run(
        "DELETE FROM grants WHERE id IN (SELECT g.id FROM grants g WHERE g.created_at < $1 "
        "AND NOT EXISTS (SELECT 1 FROM codes c WHERE c.grant_id = g.id) "
        "AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.grant_id = g.id) ORDER BY g.id LIMIT $2)",
        before,
        limit,
    )


async def is_grant_alive(tx: Transaction, grant_id: str) -> bool:
    """Whether a grant has not ended."""
    return (
        await tx.one("SELECT 1 AS found FROM grants WHERE id = $1 AND ended_at IS NULL", grant_id) is not None
    )
