"""Sessions: who is signed in, since when, by what means, and from where; and what ends with them.

However a session ends, the same happens in the same transaction: its grants end, except offline access unless `lasting` says so
(Back-Channel Logout §2.7), a change of address requested in it is dropped, and logout notices to its clients are queued.
"""

from collections.abc import Sequence, Set
from typing import Any

import msgspec

from watchword.store import documents, unreadable
from watchword.store.browsers import forget_trust
from watchword.store.database import Row, StorageUnavailable, Transaction
from watchword.store.filters import where
from watchword.store.grants import end_grants_of_sessions
from watchword.store.links import find_live_link, forget_links
from watchword.store.liveness import live_session
from watchword.store.logout_notices import queue_notices
from watchword.store.several import in_parts, padded, places
from watchword.store.tokens import Used, use_identifier
from watchword.store.upstream_sessions import UpstreamSession, end_upstream, hold_upstream, note_upstream
from watchword.store.users import NAMES as USER
from watchword.store.users import User, hold_user, outdate_proofs, user_of
from watchword.telemetry import log

STEP = 100


class Session(msgspec.Struct, frozen=True):
    """A person's session; times are Unix seconds. The cookie itself is not stored.

    `authenticated_at` is when the level in `acr` was proved, 0 where an upstream provider did not say; `confirmed_at` is when anything was
    last proved in the session. `browser` is the digest of the browser's cookie, empty for a program, None for sessions of old releases.
    """

    id: str
    user_id: str
    created_at: int
    authenticated_at: int
    last_seen_at: int
    idle_expires_at: int
    expires_at: int
    acr: str
    amr: tuple[str, ...]
    user_agent: str
    address: str
    remembered: bool = False
    ended_at: int | None = None
    confirmed_at: int = 0
    browser: bytes | None = None

    @property
    def auth_time(self) -> int | None:
        """When the level in `acr` was proved (Unix seconds); None where an upstream provider did not say."""
        return self.authenticated_at or None


_NAMES = Session.__struct_fields__
_COLUMNS = ", ".join(_NAMES)
_PLACES = ", ".join(f"${number}" for number in range(1, len(_NAMES) + 2))  # the digest's first
_AMR, _REMEMBERED, _BROWSER = (_NAMES.index(name) for name in ("amr", "remembered", "browser"))
_decode_amr = documents.reader(tuple[str, ...])


def _session(row: Row) -> Session:
    return _session_of([row[name] for name in _NAMES])


def _session_of(values: Sequence[Any]) -> Session:
    """Build a Session from the values of its columns, in their order."""
    fields = list(values)
    fields[_AMR] = _decode_amr(fields[_AMR])
    fields[_REMEMBERED] = bool(fields[_REMEMBERED])
    fields[_BROWSER] = None if fields[_BROWSER] is None else bytes(fields[_BROWSER])
    return Session(*fields)


async def create_session(
    tx: Transaction,
    session: Session,
    digest: bytes,
    *,
    limit: int,
    actor: str,
    came_from: UpstreamSession | None = None,
    proof_epoch: int | None = None,
) -> bool:
    """Store a new session; a person's oldest sessions beyond `limit` end (LG-19). False when the account is gone or disabled.

    `proof_epoch` is the account's from before the person proved who they are: a proof that was invalidated since begins no session, and
    one of a session at a provider that has ended since neither.
    """
    if not await hold_upstream(tx, came_from):
        return False
    # One after another: those that begin at the same time would not see each other, and exceed the limit together.
    if not await hold_user(tx, session.user_id, proof_epoch, alone=True):
        return False
    kept = msgspec.structs.asdict(session) | {
        "amr": msgspec.json.encode(session.amr).decode(),
        "remembered": int(session.remembered),
    }
    insert = f"INSERT INTO sessions (digest, {_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608 - literals
    await tx.run(insert, digest, *kept.values())
    await note_upstream(tx, session.id, came_from)
    crowded_out = await tx.all_as_kept(
        "UPDATE sessions SET ended_at = $1 WHERE user_id = $2 AND ended_at IS NULL AND id NOT IN "
        "(SELECT id FROM sessions WHERE user_id = $2 AND ended_at IS NULL ORDER BY last_seen_at DESC, id DESC LIMIT $3) "
        "RETURNING id, user_id",
        session.created_at,
        session.user_id,
        limit,
    )
    await _end(tx, crowded_out, actor="system", now=session.created_at, reason="too many sessions")
    await tx.record(
        "session.created",
        actor=actor,
        target=session.id,
        at=session.created_at,
        user=session.user_id,
        acr=session.acr,
        address=session.address,
    )
    return True


_VISIT = (
    f"SELECT {', '.join('s.' + name for name in _NAMES)}, {', '.join('u.' + name for name in USER)} "  # noqa: S608 - literals
    "FROM sessions s JOIN users u ON u.id = s.user_id "
    f"WHERE s.digest = $1 AND {live_session('$2', 's.')} "
    "AND u.disabled_at IS NULL AND s.created_at >= u.valid_from"
)


async def find_session(tx: Transaction, digest: bytes, now: int) -> tuple[Session, User] | None:
    """Return the live session of a cookie, and its account; None when there is none or the account is disabled."""
    row = await tx.one(_VISIT, digest, now)
    if row is None:
        return None
    values = tuple(row)
    return _session_of(values[: len(_NAMES)]), user_of(values[len(_NAMES) :])


async def get_session(tx: Transaction, session_id: str, now: int) -> Session | None:
    """Return a live session by its identifier."""
    row = await tx.one(
        f"SELECT {_COLUMNS} FROM sessions WHERE id = $1 AND {live_session('$2')}",  # noqa: S608 - literals
        session_id,
        now,
    )
    return _session(row) if row else None


async def list_sessions(
    tx: Transaction, *, user_id: str, now: int, after: str = "", limit: int = 100
) -> list[Session]:
    """Return live sessions, newest first, of one person or of all (an empty `user_id`)."""
    which, values = where(
        ("user_id = {}", user_id),
        (live_session("{}"), now, now),
        ("id < {}", after),
    )
    rows = await tx.all(
        f"SELECT {_COLUMNS} FROM sessions{which} ORDER BY id DESC LIMIT ${len(values) + 1}",  # noqa: S608 - literals
        *values,
        limit,
    )
    return [_session(row) for row in rows]


async def owners_of(tx: Transaction, session_ids: Sequence[str]) -> dict[str, str]:
    """Return the person of each session by its identifier; purged sessions are left out."""
    owners: dict[str, str] = {}
    for some in in_parts(session_ids):
        rows = await tx.all(
            f"SELECT id, user_id FROM sessions WHERE id IN ({places(1, some)})",  # noqa: S608 - placeholders
            *padded(some),
        )
        owners |= {row["id"]: row["user_id"] for row in rows}
    return owners


async def touch_session(
    tx: Transaction, session_id: str, *, idle_expires_at: int, now: int, address: str
) -> None:
    """Note that a session is in use; `address` is empty where nobody knows from where, as for an API in this process.

    Its idle limit stays within the other one, which a sign-in may have brought nearer since it was read: `end_expired` goes by the idle
    limit alone.
    """
    await tx.run(
        "UPDATE sessions SET last_seen_at = $1, idle_expires_at = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END, "
        "address = CASE WHEN $3 = '' THEN address ELSE $3 END WHERE id = $4 AND ended_at IS NULL",
        now,
        idle_expires_at,
        address,
        session_id,
    )


async def elevate_session(
    tx: Transaction,
    session_id: str,
    digest: bytes,
    *,
    acr: str,
    amr: tuple[str, ...],
    authenticated_at: int,
    confirmed_at: int,
    limits: tuple[bool, int, int] | None,
    actor: str,
    now: int,
    came_from: UpstreamSession | None = None,
    proof_epoch: int | None = None,
) -> bool:
    """Give a session a new cookie and the level proved now; the old cookie is dead. Return False when the session has ended.

    `limits` replace whether it is remembered, its idle and its absolute expiry. `proof_epoch` and `came_from` are as for `create_session`.
    """
    if not await hold_upstream(tx, came_from):
        return False
    if proof_epoch is not None and not await hold_user(tx, actor, proof_epoch):
        return False
    row = await tx.one(
        "UPDATE sessions SET digest = $1, acr = $2, amr = $3, authenticated_at = $4, confirmed_at = $5 "
        "WHERE id = $6 AND ended_at IS NULL RETURNING id",
        digest,
        acr,
        msgspec.json.encode(amr).decode(),
        authenticated_at,
        confirmed_at,
        session_id,
    )
    if row is None:
        return False
    if limits is not None:
        await tx.run(
            "UPDATE sessions SET remembered = $1, idle_expires_at = $2, expires_at = $3 WHERE id = $4",
            int(limits[0]),
            limits[1],
            limits[2],
            session_id,
        )
    await note_upstream(tx, session_id, came_from)
    await tx.record("session.elevated", actor=actor, target=session_id, at=now, acr=acr)
    return True


async def renew_session(tx: Transaction, session_id: str, digest: bytes, *, actor: str, now: int) -> bool:
    """Give a session a new cookie; the old one is dead. Return False when the session has ended."""
    row = await tx.one(
        "UPDATE sessions SET digest = $1 WHERE id = $2 AND ended_at IS NULL RETURNING id", digest, session_id
    )
    if row is not None:
        await tx.record("session.renewed", actor=actor, target=session_id, at=now)
    return row is not None


async def end_session(tx: Transaction, session_id: str, *, actor: str, now: int) -> bool:
    """Sign out: end one session; return whether it was live. The trust in its browser stays, for the next sign-in there."""
    return await _end_one(tx, session_id, "", False, actor, now) is not None


async def end_session_elsewhere(
    tx: Transaction, session_id: str, *, user_id: str = "", lasting: bool = False, actor: str, now: int
) -> bool:
    """End one session, of one person if named (LG-18), with `lasting` its offline access, and the trust in its browser: whoever does so
    from elsewhere may have lost the device. Return whether it was live.

    A sign-in under way there that skipped the second factor because of that trust begins no session any more.
    """
    # The account's row is locked first, the order in which sessions are begun.
    await tx.run(
        "UPDATE users SET proof_epoch = proof_epoch + 1 WHERE id IN "
        "(SELECT user_id FROM sessions WHERE id = $1 AND ($2 = '' OR user_id = $2) AND ended_at IS NULL)",
        session_id,
        user_id,
    )
    row = await _end_one(tx, session_id, user_id, lasting, actor, now)
    if row is not None:
        await forget_trust(tx, row["user_id"], row["browser"])
    return row is not None


async def _end_one(
    tx: Transaction, session_id: str, user_id: str, lasting: bool, actor: str, now: int
) -> Row | None:
    rows = await tx.all(
        "UPDATE sessions SET ended_at = $1 WHERE id = $2 AND ($3 = '' OR user_id = $3) AND ended_at IS NULL "
        "RETURNING id, user_id, browser",
        now,
        session_id,
        user_id,
    )
    await _end(tx, rows, actor=actor, now=now, lasting=lasting)
    return rows[0] if rows else None


async def end_sessions_of(tx: Transaction, user_id: str, *, but: str = "", actor: str, now: int) -> list[str]:
    """End every session of a person except `but`, and the trust in all their browsers; return the identifiers of the ended ones.

    A proof given before, in a sign-in that is not finished, begins no session either.
    """
    await outdate_proofs(tx, user_id)
    rows = await tx.all_as_kept(
        "UPDATE sessions SET ended_at = $1 WHERE user_id = $2 AND id <> $3 AND ended_at IS NULL RETURNING id, user_id",
        now,
        user_id,
        but,
    )
    await forget_trust(tx, user_id)
    return await _end(tx, rows, actor=actor, now=now)


async def end_expired(tx: Transaction, now: int) -> int:
    """End at most STEP expired sessions, with all that ends with them; return how many."""
    rows = await tx.all_as_kept(
        "UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL AND idle_expires_at <= $1 AND id IN "
        "(SELECT id FROM sessions WHERE ended_at IS NULL AND idle_expires_at <= $1 ORDER BY idle_expires_at LIMIT $2) "
        "RETURNING id, user_id",
        now,
        STEP,
    )
    await _end(tx, rows, actor="system", now=now, reason="expired")
    return len(rows)


async def end_sessions_from(
    tx: Transaction, issuer: str, *, used: Used, subject: str, sid: str, now: int
) -> list[str] | None:
    """Use up a provider's logout token and end the sessions that came from the session, or the person, that it names.

    What the provider proved before begins no session any more, such as a sign-in that waits for its second factor, and elevates none; where
    only a session is named, the latter is so for whoever came from it before.
    Return the identifiers of the ended sessions; None when the token was used before, and then nothing ends.
    """
    if not await use_identifier(tx, *used):
        return None
    await end_upstream(tx, issuer, subject=subject, sid=sid, now=now)
    await tx.run(
        "UPDATE users SET proof_epoch = proof_epoch + 1 WHERE id IN (SELECT user_id FROM upstream_accounts WHERE issuer = $1 AND "
        "(subject = $2 OR ($2 = '' AND subject IN (SELECT subject FROM upstream_sessions WHERE issuer = $1 AND sid = $3))))",
        issuer,
        subject,
        sid,
    )
    rows = await tx.all_as_kept(
        "UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL AND id IN (SELECT session_id FROM upstream_sessions "
        "WHERE issuer = $2 AND ($3 = '' OR subject = $3) AND ($4 = '' OR sid = $4)) RETURNING id, user_id",
        now,
        issuer,
        subject,
        sid,
    )
    return await _end(tx, rows, actor=issuer, now=now, reason="ended at the provider")


async def _end(
    tx: Transaction,
    ended: Sequence[Row],
    *,
    actor: str,
    now: int,
    reason: str | None = None,
    lasting: bool = False,
) -> list[str]:
    """Do what follows from the end of sessions, and return their identifiers; one whose row is damaged has ended all the same."""
    more = {"reason": reason} if reason else {}
    ids = [row["id"] for row in unreadable.sound(ended, {"id": str}, "sessions")]
    for part in in_parts(ids):
        grants = await end_grants_of_sessions(tx, part, lasting=lasting, actor=actor, now=now)
        told = await queue_notices(tx, part, now)
        for session_id in part:
            counts = {"grants": grants[session_id], "clients": told[session_id]}
            await tx.record("session.ended", actor=actor, target=session_id, at=now, **counts, **more)
    for user_id in {row["user_id"] for row in unreadable.sound(ended, {"user_id": str}, "sessions")}:
        await _drop_address_change(tx, user_id, frozenset(ids), now)
    return ids


async def _drop_address_change(tx: Transaction, user_id: str, sessions: Set[str], now: int) -> None:
    try:
        link = await find_live_link(tx, user_id, "verify_email", now)
        asked_here = link is not None and link.data.get("session") in sessions
    except StorageUnavailable as error:
        log.error("row.unreadable", table="one_time_links", reason=error.reason)
        asked_here = True  # perhaps: it leads nowhere any more
    if asked_here:
        await forget_links(tx, user_id, "verify_email")
