"""Grants: what a person granted to a client in a session, whether it is still valid, and ending it with every token that came from it.

A grant starts with a code, or without one where a device was approved, and lives on as a family of refresh tokens. Both are part of
its row; `redemption` redeems and rotates them.
"""

from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec

from watchword.oauth.claims_request import ClaimsRequest
from watchword.store import documents, faults, unreadable
from watchword.store.database import AuditEntry, Change, Database, Row, Transaction
from watchword.store.liveness import live_session
from watchword.store.logout_notices import note_client_with
from watchword.store.several import padded, places
from watchword.store.users import NAMES as USER
from watchword.store.users import User, user_of

# Seconds for which a grant is kept after it can issue nothing more: a replayed code still ends what it bought, and introspection of the
# last access token still sees that its grant has ended.
KEPT = 172_800


class Grant(msgspec.Struct, frozen=True):
    """What a person granted to a client in a session; `claims` is JSON (`auth_time`, `acr`, `amr`), times are Unix seconds.

    `wishes` is JSON too: the `claims` parameter of the request, "" when there was none. So are the `authorization_details`.
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


class Code(msgspec.Struct, frozen=True):
    """The code by which a client takes up a grant, and the authorization request that it answers, as JSON; `expires_at` is in Unix seconds."""

    digest: bytes
    expires_at: int
    request: str


class Standing(msgspec.Struct, frozen=True):
    """A grant and what it depends on: its person, and whether the session that it was made in is live.

    `request` is the authorization request as JSON, for as long as its code may be presented; the digests are those of the newest refresh
    token and of the one before.
    """

    grant: Grant
    user: User | None
    in_session: bool
    request: str
    code_used_at: int | None
    code_expires_at: int | None
    family: bytes | None
    refresh_digest: bytes | None
    superseded_digest: bytes | None
    expires_at: int  # when the grant is forgotten


_NAMES = Grant.__struct_fields__
_FACTS = Standing.__struct_fields__[3:]
_PERSON, _REST = len(_NAMES), len(_NAMES) + len(USER)
STANDING = (
    f"SELECT {', '.join(f'g.{name}' for name in _NAMES)}, {', '.join(f'u.{name}' for name in USER)}, "  # noqa: S608 - literals
    f"EXISTS (SELECT 1 FROM sessions WHERE id = g.session_id AND {live_session('$1')}) AS in_session, "
    f"{', '.join(f'g.{name}' for name in _FACTS)} FROM grants g LEFT JOIN users u ON u.id = g.user_id "
)
_BEGINNING = (*_NAMES, "expires_at", "code_digest", "code_expires_at", "request")
_INSERT = f"INSERT INTO grants ({', '.join(_BEGINNING)})"
_PLACES = ", ".join(f"${number}" for number in range(1, len(_BEGINNING) + 1))
# The end of the session or of the client, or the withdrawal of the consent, comes either before the grant, which then is not created,
# or after, and ends it.
_CREATE = Change(
    "create_grant",
    f"{_INSERT} SELECT {_PLACES} FROM sessions JOIN clients ON clients.client_id = $2 AND clients.disabled_at IS NULL "  # noqa: S608 - literals
    "JOIN consents ON consents.user_id = $3 AND consents.client_id = $2 AND consents.audience = $6 "
    f"WHERE sessions.id = $4 AND {live_session('$8', 'sessions.')} "
    "FOR SHARE OF sessions FOR KEY SHARE OF clients FOR KEY SHARE OF consents RETURNING id",
)


_read_wishes = documents.reader(ClaimsRequest)


def _grant(values: Sequence[Any]) -> Grant:
    grant = Grant(*values)
    if grant.wishes:
        _read_wishes(grant.wishes)  # raises if damaged, so that later readers may decode it without a check
    return grant


def to_standing(row: Row) -> Standing:
    """Build a Standing from a row that STANDING selects."""
    values = tuple(row)
    user = user_of(values[_PERSON:_REST]) if values[_PERSON] is not None else None
    return Standing(_grant(values[:_PERSON]), user, bool(values[_REST]), *values[_REST + 1 :])


def _created(grant: Grant) -> AuditEntry:
    return AuditEntry(
        "grant.created",
        actor=grant.user_id,
        target=grant.id,
        at=grant.created_at,
        data={"client": grant.client_id, "scope": grant.scope, "session": grant.session_id},
    )


def _values(grant: Grant, code: Code | None) -> tuple[object, ...]:
    given = tuple(getattr(grant, name) for name in _NAMES)
    if code is None:
        return (*given, grant.created_at + KEPT, None, None, "")
    return (*given, code.expires_at + KEPT, code.digest, code.expires_at, code.request)


def create_grant(database: Database, grant: Grant, code: Code) -> Awaitable[bool]:
    """Store a grant that is given by an earlier consent, with its code; the awaitable yields False when the session or the client has ended,
    or the consent was withdrawn."""
    return database.change(_CREATE, _values(grant, code), _created(grant))


async def hold_session(tx: Transaction, session_id: str, now: int) -> bool:
    """Lock a live session against its end until this transaction is over; return False when it has ended.

    An end that came first leaves nothing to grant in; one that comes later ends what was granted.
    """
    held = f"SELECT id FROM sessions WHERE id = $1 AND {live_session('$2')} FOR SHARE"  # noqa: S608 - literals
    return await tx.one(held, session_id, now) is not None


async def store_grant(tx: Transaction, grant: Grant, code: Code | None = None) -> None:
    """Store a grant, with its code if it has one, inside an operation that has locked its session and client."""
    await tx.run(f"{_INSERT} VALUES ({_PLACES})", *_values(grant, code))
    entry = _created(grant)
    await tx.record(entry.name, actor=entry.actor, target=entry.target, at=entry.at, **entry.data)
    if "openid" in grant.scope.split():
        await note_client_with(tx, grant.session_id, grant.client_id, grant.created_at)


async def get_standing(tx: Transaction, grant_id: str, now: int) -> Standing | None:
    """Return a grant by its identifier, with what it depends on."""
    row = await tx.one(f"{STANDING} WHERE g.id = $2", now, grant_id)
    return to_standing(row) if row else None


async def end_grant(tx: Transaction, grant_id: str, *, reason: str, actor: str, now: int) -> bool:
    """End a grant and with it every token that came from it; return whether it was alive."""
    row = await tx.one(
        "UPDATE grants SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL RETURNING id", now, grant_id
    )
    faults.reach("grant.ended")
    if row is None:
        return False
    await tx.record("grant.ended", actor=actor, target=grant_id, at=now, reason=reason)
    return True


async def end_grants(
    tx: Transaction, which: str, *values: object, reason: str, actor: str, now: int
) -> list[Row]:
    """End the live grants for which a condition holds, whose first placeholder is $2, and return `id` and `session_id` of each.

    One whose row is damaged ends as well; the log tells of it, and no event.
    """
    rows = await tx.all_as_kept(
        f"UPDATE grants SET ended_at = $1 WHERE {which} AND ended_at IS NULL RETURNING id, session_id",  # noqa: S608 - literals
        now,
        *values,
    )
    faults.reach("grant.ended")
    for row in unreadable.sound(rows, {"id": str}, "grants"):
        await tx.record("grant.ended", actor=actor, target=row["id"], at=now, reason=reason)
    return rows


_LASTS = (
    "(' ' || scope || ' ' LIKE '% offline_access %' AND (code_digest IS NULL OR code_used_at IS NOT NULL))"
)


async def end_grants_of_sessions(
    tx: Transaction, sessions: Sequence[str], *, lasting: bool = False, actor: str, now: int
) -> Counter[str]:
    """End the grants of at most a hundred sessions, and return how many of each session (OIDC Core §11).

    A grant with `offline_access` whose code was redeemed outlives its session, and is ended only with `lasting`.
    """
    of_these = f"SELECT user_id FROM sessions WHERE id IN ({places(3, sessions)})"  # noqa: S608 - literals
    rows = await end_grants(
        tx,
        f"user_id IN ({of_these}) AND session_id IN ({places(3, sessions)}) AND ($2 = 1 OR NOT {_LASTS})",
        int(lasting),
        *padded(sessions),
        reason="session ended",
        actor=actor,
        now=now,
    )
    return Counter(row["session_id"] for row in rows)


async def sessions_with_lasting_access(tx: Transaction, user_id: str) -> frozenset[str]:
    """Return those of a person's sessions in which offline access was granted that is still live."""
    rows = await tx.all(
        f"SELECT DISTINCT session_id FROM grants WHERE user_id = $1 AND ended_at IS NULL AND {_LASTS}",  # noqa: S608 - literals
        user_id,
    )
    return frozenset(row["session_id"] for row in rows)


async def is_grant_alive(tx: Transaction, grant_id: str) -> bool:
    """Whether a grant has not ended."""
    return (
        await tx.one("SELECT 1 AS found FROM grants WHERE id = $1 AND ended_at IS NULL", grant_id) is not None
    )
