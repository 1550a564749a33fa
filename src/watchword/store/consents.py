"""What people agreed to: one row for each person, client and audience, with the scopes, the optional ones left out, and the details."""

from collections.abc import Callable, Sequence

import msgspec

from watchword.store.database import Transaction
from watchword.store.grants import hold_session
from watchword.store.several import padded, places

# Bytes of an audience that is kept, which is in the table's index: PostgreSQL refuses entries of more than 2.7 kB, and a client whose
# identifier is an address takes up to 0.8 of them.
LONGEST = 1800


class Consent(msgspec.Struct, frozen=True):
    """What a person answered so far; scopes are separated by spaces, `authorization_details` is JSON.

    `noted` says that the session already lists the client, so that it is told of a logout.
    """

    scope: str
    declined: str = ""
    authorization_details: str = "[]"
    noted: bool = False


# Locks the client: a change of its metadata, which may withdraw what people agreed to, comes wholly before or after.
_ASKS = (
    "SELECT client_id FROM clients WHERE client_id = $1 AND disabled_at IS NULL "
    "AND (CAST($2 AS BIGINT) = 0 OR version = $2) FOR SHARE"
)
_ANSWERED = (
    "SELECT scope, declined, authorization_details, EXISTS (SELECT 1 FROM session_clients n "
    "WHERE n.session_id = $4 AND n.client_id = $2) AS noted FROM consents "
    "WHERE user_id = $1 AND client_id = $2 AND audience = $3"
)


def fits(audience: str) -> bool:
    """Whether consent for an audience is kept."""
    return len(audience.encode()) <= LONGEST


async def find_consent(
    tx: Transaction,
    user_id: str,
    client_id: str,
    audience: str,
    session_id: str = "",
    *,
    held: bool = False,
) -> Consent | None:
    """Return what a person answered to a client for an audience; with `held`, locked until this transaction ends."""
    row = await tx.one(
        f"{_ANSWERED} FOR UPDATE" if held else _ANSWERED,
        user_id,
        client_id,
        audience,
        session_id,
    )
    if row is None:
        return None
    return Consent(row["scope"], row["declined"], row["authorization_details"], bool(row["noted"]))


async def hold_consent(tx: Transaction, user_id: str, client_id: str, audience: str) -> bool:
    """Lock an earlier consent against its withdrawal until this transaction is over; return False when there is none any more.

    A withdrawal that came first leaves nothing to grant by; one that comes later ends what was granted.
    """
    held = (
        "SELECT client_id FROM consents WHERE user_id = $1 AND client_id = $2 AND audience = $3 FOR KEY SHARE"
    )
    return await tx.one(held, user_id, client_id, audience) is not None


async def remember_consent(
    tx: Transaction,
    user_id: str,
    client_id: str,
    audience: str,
    *,
    session_id: str,
    scope: tuple[str, ...],
    declined: tuple[str, ...] = (),
    details: Callable[[str], str] | None = None,
    version: int = 0,
    implied: bool = False,
    now: int,
) -> None:
    """Add what a person answered to their earlier answers; `details` returns the earlier authorization details with the new ones added.

    Nothing is stored for a client that is gone: a later one under its identifier must inherit nothing (AP-09). Nor for one that has
    changed since the `version` named: its addresses may be others now, and then people are asked again (DC-07). What is for a longer
    audience than LONGEST is recorded alone: people are asked every time. The event says of what is `implied` that nobody was asked;
    nothing is implied once the session has ended, since its account may be gone.
    """
    if implied and not await hold_session(tx, session_id, now):
        return
    if await tx.one(_ASKS, client_id, version) is None:
        return
    if fits(audience):
        await _keep(tx, (user_id, client_id, audience), scope, declined, details, now)
    await tx.record(
        "consent.given",
        actor=user_id,
        target=client_id,
        at=now,
        session=session_id,
        scope=" ".join(scope),
        audience=audience,
        declined=" ".join(declined),
        **({"implied": True} if implied else {}),
    )


async def _keep(
    tx: Transaction,
    whose: tuple[str, str, str],
    scope: tuple[str, ...],
    declined: tuple[str, ...],
    details: Callable[[str], str] | None,
    now: int,
) -> None:
    # Without a row there would be nothing to lock: of two first answers at once, the second waits here, and is added to the other.
    await tx.run(
        "INSERT INTO consents (user_id, client_id, audience, scope, granted_at) VALUES ($1, $2, $3, '', $4) ON CONFLICT DO NOTHING",
        *whose,
        now,
    )
    before = await find_consent(tx, *whose, held=True) or Consent("")
    answered = {*scope, *declined}
    agreed = [*(old for old in before.scope.split() if old not in answered), *scope]
    left_out = [*(old for old in before.declined.split() if old not in answered), *declined]
    await tx.run(
        "INSERT INTO consents (user_id, client_id, audience, scope, declined, authorization_details, granted_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (user_id, client_id, audience) DO UPDATE SET scope = excluded.scope, "
        "declined = excluded.declined, authorization_details = excluded.authorization_details, granted_at = excluded.granted_at",
        *whose,
        " ".join(agreed),
        " ".join(left_out),
        before.authorization_details if details is None else details(before.authorization_details),
        now,
    )


class Granted(msgspec.Struct, frozen=True):
    """What a person agreed to, or live grants of the same; `authorization_details` is JSON, times are Unix seconds."""

    client_id: str
    scope: str
    audience: str
    authorization_details: str
    since: int
    used: int | None


async def list_granted(tx: Transaction, user_id: str, clients: Sequence[str]) -> list[Granted]:
    """Return what a person agreed to with at most a hundred clients, and their live grants to these, equal ones as one."""
    which = f"client_id IN ({places(2, clients)})"
    rows = await tx.all(
        "SELECT client_id, scope, audience, authorization_details, granted_at AS since, NULL AS used FROM consents "  # noqa: S608 - literals
        f"WHERE user_id = $1 AND {which} UNION ALL "
        "SELECT client_id, scope, audience, authorization_details, MIN(created_at), MAX(last_used_at) FROM grants "
        f"WHERE user_id = $1 AND ended_at IS NULL AND {which} GROUP BY client_id, scope, audience, authorization_details",
        user_id,
        *padded(clients),
    )
    return [Granted(*(row[name] for name in Granted.__struct_fields__)) for row in rows]
