"""RFC 8628: stored device codes: entered by one person in one browser, decided once, redeemed once.

Of concurrent decisions or polls, on any node, one wins: each is one conditional update, or decides under the row's lock. How a
poll is answered is decided in `oauth.device`.
"""

import msgspec

from watchword.oauth import device
from watchword.oauth.device import Poll, Status
from watchword.oauth.errors import OAuthError
from watchword.store import consents, grants, redemption
from watchword.store.clients import hold_client
from watchword.store.database import Row, Transaction
from watchword.store.grants import Grant
from watchword.store.redemption import Bought

REPLAY_MEMORY = 86_400  # seconds for which a redeemed code is kept, to detect its replay


class DeviceCode(msgspec.Struct, frozen=True, kw_only=True):
    """A device code; `jkt` is the key that it is bound to, `grant_id` what was approved, times are Unix seconds.

    `authorization_details` is JSON.
    """

    client_id: str
    scope: str
    audience: str
    address: str
    user_agent: str
    created_at: int
    expires_at: int
    poll_interval: int
    jkt: str | None = None
    last_polled_at: int | None = None
    status: Status = "pending"
    grant_id: str | None = None
    authorization_details: str = "[]"

    @property
    def facts(self) -> device.DeviceCode:
        """Return what the polling rules look at."""
        return device.DeviceCode(
            self.client_id, self.status, self.expires_at, self.poll_interval, self.last_polled_at
        )


_NAMES = DeviceCode.__struct_fields__
_COLUMNS = ", ".join(_NAMES)


def _code(row: Row) -> DeviceCode:
    return DeviceCode(**{name: row[name] for name in _NAMES})


async def create_device_code(tx: Transaction, code: DeviceCode, *, digest: bytes, user_code: bytes) -> bool:
    """Store a new device code; return False when its user code is in use."""
    row = await tx.one(
        f"INSERT INTO device_codes (digest, user_code, {_COLUMNS}) "  # noqa: S608 - literals
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) "
        "ON CONFLICT (user_code) DO NOTHING RETURNING client_id",
        digest,
        user_code,
        *(getattr(code, name) for name in _NAMES),
    )
    return row is not None


async def find_device_code(tx: Transaction, digest: bytes) -> DeviceCode | None:
    """Return a device code, whatever its state."""
    row = await tx.one(f"SELECT {_COLUMNS} FROM device_codes WHERE digest = $1", digest)  # noqa: S608 - literals
    return _code(row) if row else None


async def show_device_code(
    tx: Transaction, user_code: bytes, *, browser: bytes, user_id: str, now: int
) -> DeviceCode | None:
    """Note who entered a live user code, and in which browser; only whoever entered it last may decide."""
    row = await tx.one(
        "UPDATE device_codes SET browser = $1, shown_to = $2 "  # noqa: S608 - literals
        f"WHERE user_code = $3 AND status = 'pending' AND expires_at > $4 RETURNING {_COLUMNS}",
        browser,
        user_id,
        user_code,
        now,
    )
    return _code(row) if row else None


async def find_shown(
    tx: Transaction, user_code: bytes, *, browser: bytes, user_id: str, now: int
) -> DeviceCode | None:
    """Return a code that this person entered in this browser, decided or not, until it expires."""
    row = await tx.one(
        f"SELECT {_COLUMNS} FROM device_codes WHERE user_code = $1 AND browser = $2 AND shown_to = $3 "  # noqa: S608 - literals
        "AND expires_at > $4",
        user_code,
        browser,
        user_id,
        now,
    )
    return _code(row) if row else None


_DECIDE = (
    "UPDATE device_codes SET status = $1, grant_id = $2 WHERE user_code = $3 AND browser = $4 AND shown_to = $5 "
    "AND status = 'pending' AND expires_at > $6 RETURNING client_id"
)


async def approve_device_code(
    tx: Transaction, user_code: bytes, grant: Grant, *, browser: bytes, now: int
) -> bool:
    """Approve a code and store its grant and consent; return False when nothing waits for this person's decision."""
    if not await grants.hold_session(tx, grant.session_id, now) or not await hold_client(tx, grant.client_id):
        return False
    decided = await tx.one(_DECIDE, "approved", grant.id, user_code, browser, grant.user_id, now)
    if decided is None:
        return False
    await grants.store_grant(tx, grant)
    scope, session_id = tuple(grant.scope.split()), grant.session_id
    whose = (grant.user_id, grant.client_id, grant.audience)
    await consents.remember_consent(tx, *whose, session_id=session_id, scope=scope, now=now)
    told = {"client": grant.client_id, "session": session_id}
    await tx.record("device_code.approved", actor=grant.user_id, target=grant.id, at=now, **told)
    return True


async def deny_device_code(
    tx: Transaction, user_code: bytes, *, browser: bytes, user_id: str, now: int
) -> bool:
    """Deny a code; return False when nothing waits for this person's decision."""
    decided = await tx.one(_DECIDE, "denied", None, user_code, browser, user_id, now)
    if decided is None:
        return False
    await tx.record("device_code.denied", actor=user_id, target=decided["client_id"], at=now)
    return True


async def note_poll(tx: Transaction, digest: bytes, client_id: str, now: int) -> OAuthError | None:
    """Record a poll of a code that was not yet approved when read; return its error, or None when it has been approved since."""
    _, poll = await _poll(tx, digest, client_id, now)
    return poll.error


async def redeem_device_code(
    tx: Transaction, digest: bytes, client_id: str, bought: Bought, now: int
) -> OAuthError | None:
    """Redeem an approved code and store the tokens it buys, both or neither; a replay ends the grant. Return the error, if any."""
    code, poll = await _poll(tx, digest, client_id, now)
    if code is None or code.grant_id is None:
        return poll.error or _ended()
    if code.status == "redeemed" and code.client_id == client_id:
        await tx.record("device_code.replayed", actor=client_id, target=code.grant_id, at=now)
        await grants.end_grant(tx, code.grant_id, reason="device code replayed", actor="system", now=now)
    if poll.error is not None:
        return poll.error
    if not await redemption.store_bought(tx, code.grant_id, bought):
        return _ended()
    await tx.run(
        "UPDATE device_codes SET status = 'redeemed', expires_at = $1 WHERE digest = $2",
        now + REPLAY_MEMORY,
        digest,
    )
    return None


def _ended() -> OAuthError:
    return OAuthError("invalid_grant", "The grant has ended.")


async def _poll(tx: Transaction, digest: bytes, client_id: str, now: int) -> tuple[DeviceCode | None, Poll]:
    # The write takes the row's lock before the decision reads it: concurrent polls decide one after the other.
    row = await tx.one(
        f"UPDATE device_codes SET digest = digest WHERE digest = $1 RETURNING {_COLUMNS}",  # noqa: S608 - literals
        digest,
    )
    code = _code(row) if row else None
    poll = device.decide_poll(code.facts if code else None, client_id, now)
    if code is not None and code.client_id == client_id:
        await tx.run(
            "UPDATE device_codes SET last_polled_at = $1, poll_interval = $2 WHERE digest = $3",
            now,
            poll.interval,
            digest,
        )
    return code, poll
