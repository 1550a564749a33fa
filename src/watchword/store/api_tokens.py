"""API tokens: what each may do, its secrets, and its narrower descendants. How they were used is in `token_usage`."""

import re
from typing import Any

import msgspec

from watchword.store import documents, searches, unreadable
from watchword.store.database import Row, StorageUnavailable, Transaction
from watchword.store.documents import UNREADABLE
from watchword.store.filters import where
from watchword.store.liveness import live_token, unexpired
from watchword.store.searches import Key
from watchword.store.users import NO_GROUPS, get_user, read_groups
from watchword.telemetry import log


class ApiToken(msgspec.Struct, frozen=True, kw_only=True):
    """An API token as it is stored, without any secret; times are Unix seconds, None means "never"."""

    id: str
    name: str
    owner_kind: str
    owner_id: str
    scope: str
    resource: str
    created_at: int
    created_by: str
    expires_at: int | None
    parent_id: str | None = None
    depth: int = 0
    revoked_at: int | None = None
    revoked_reason: str | None = None
    addresses: tuple[str, ...] = ()
    path: str | None = None
    rate_limit: int | None = None
    quota: int | None = None
    jkt: str | None = None
    metadata: dict[str, str] = {}


class FoundToken(msgspec.Struct, frozen=True):
    """An API token found by one of its secrets, with the facts that decide whether it is live, and the groups that a person is in who
    owns it."""

    token: ApiToken
    secret_id: str
    secret_expires_at: int | None
    owner_disabled: bool
    used: int
    owner_groups: tuple[str, ...] = ()


# Each touches the owner's row, so that disabling an owner and issuing it a token wait for each other.
OWNERS = {
    "user": "UPDATE users SET valid_from = valid_from WHERE id = $1 AND disabled_at IS NULL",
    "client": "UPDATE clients SET updated_at = updated_at WHERE client_id = $1 AND disabled_at IS NULL",
}
_KINDS = frozenset((*OWNERS, "application"))
COLUMNS = (
    "id, name, owner_kind, owner_id, scope, resource, created_at, created_by, expires_at, parent_id, depth, revoked_at, "
    "revoked_reason, addresses, path, rate_limit, quota, jkt, metadata"
)
STEP = 500
LIMITS = ("addresses", "path", "rate_limit", "quota", "jkt")
_NAMES = tuple(column.strip() for column in COLUMNS.split(","))
_IDENTIFIER = re.compile(r"token_[0-9a-z]{26,32}")
_TABLE = searches.Table("api_tokens", COLUMNS, "id")
_T_COLUMNS = ", ".join(f"t.{name}" for name in _NAMES)
_decode_addresses = documents.reader(tuple[str, ...])
_decode_metadata = documents.reader(dict[str, str])
_OWNER_DISABLED = (
    "CASE t.owner_kind "
    "WHEN 'user' THEN COALESCE((SELECT CASE WHEN u.disabled_at IS NULL THEN 0 ELSE 1 END FROM users u WHERE u.id = t.owner_id), 1) "
    "WHEN 'client' THEN COALESCE((SELECT CASE WHEN c.disabled_at IS NULL THEN 0 ELSE 1 END FROM clients c WHERE c.client_id = t.owner_id), 1) "
    "ELSE 0 END"
)
_FIND = (
    f"SELECT {_T_COLUMNS}, s.id AS secret_id, s.expires_at AS secret_expires_at, {_OWNER_DISABLED} AS owner_disabled, "  # noqa: S608 - literals
    "CASE WHEN t.quota IS NULL AND t.rate_limit IS NULL THEN 0 "
    "ELSE (SELECT COALESCE(SUM(count), 0) FROM token_usage x WHERE x.token_id = t.id AND x.outcome = 'active') END AS used, "
    "CASE t.owner_kind WHEN 'user' THEN (SELECT u.groups FROM users u WHERE u.id = t.owner_id) END AS owner_groups "
    "FROM api_token_secrets s JOIN api_tokens t ON t.id = s.token_id WHERE s.digest = $1"
)


def _token(row: Row) -> ApiToken:
    """Build a token from a row that begins with COLUMNS; raise StorageUnavailable when the row is damaged."""
    values: dict[str, Any] = dict(zip(_NAMES, row, strict=False))
    if values["owner_kind"] not in _KINDS:  # no owner would be found, so none would be disabled
        raise StorageUnavailable(UNREADABLE.format("owner_kind was kept"))
    if 0 in (values["rate_limit"], values["quota"]):  # never stored: damage
        raise StorageUnavailable(UNREADABLE.format("a limit was kept"))
    values["addresses"] = _decode_addresses(values["addresses"]) if values["addresses"] != "[]" else ()
    values["metadata"] = _decode_metadata(values["metadata"]) if values["metadata"] != "{}" else {}
    return ApiToken(**values)


async def create_token(
    tx: Transaction,
    token: ApiToken,
    *,
    secret_id: str,
    digest: bytes,
    hint: str,
    actor: str,
    member_of: tuple[str, ...] | None = None,
) -> str:
    """Store a new token with its first secret; return "created", or why not: "owner" is gone, "groups" of the owner are others than
    `member_of`, or "parent" is dead."""
    if token.owner_kind in OWNERS and not await tx.run(OWNERS[token.owner_kind], token.owner_id):
        return "owner"
    if member_of is not None:
        owner = await get_user(tx, token.owner_id)  # held by the touch
        if owner is None or owner.groups != member_of:
            return "groups"
    if token.parent_id is not None:
        # The touch makes a concurrent revocation of the parent wait, so that no child outlives it (MN-04).
        parent = await tx.run(
            f"UPDATE api_tokens SET depth = depth WHERE id = $1 AND {live_token('$2')}",  # noqa: S608 - literals
            token.parent_id,
            token.created_at,
        )
        if not parent:
            return "parent"
    kept = msgspec.structs.asdict(token) | {"revoked_at": None, "revoked_reason": None}
    kept |= {name: msgspec.json.encode(kept[name]).decode() for name in ("addresses", "metadata")}
    await tx.run(
        f"INSERT INTO api_tokens ({COLUMNS}) "  # noqa: S608 - a literal list of columns
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)",
        *(kept[name] for name in _NAMES),
    )
    await _add_secret(tx, token.id, secret_id, digest, hint, token.created_at)
    await tx.record(
        "token.created",
        actor=actor,
        target=token.id,
        at=token.created_at,
        name=token.name,
        owner=token.owner_id,
        owner_kind=token.owner_kind,
        scope=token.scope,
        resource=token.resource,
        expires_at=token.expires_at,
        parent=token.parent_id,
        **_limits(kept),
    )
    return "created"


def _limits(kept: dict[str, Any]) -> dict[str, object]:
    """Return the limits of a token for its audit event, without those that are not set."""
    return {name: kept[name] for name in LIMITS if kept[name] not in (None, "[]")}


async def _add_secret(
    tx: Transaction, token_id: str, secret_id: str, digest: bytes, hint: str, now: int
) -> None:
    await tx.run(
        "INSERT INTO api_token_secrets (digest, id, token_id, hint, created_at) VALUES ($1, $2, $3, $4, $5)",
        digest,
        secret_id,
        token_id,
        hint,
        now,
    )


async def find_token_by_digest(tx: Transaction, digest: bytes) -> FoundToken | None:
    """Return the token that a secret belongs to, dead or alive, or None."""
    row = await tx.one(_FIND, digest)
    if row is None:
        return None
    secret_id, secret_expires_at, owner_disabled, used, groups = list(row)[len(_NAMES) :]
    token, owner_groups = _token(row), read_groups(groups or NO_GROUPS)
    return FoundToken(token, secret_id, secret_expires_at, bool(owner_disabled), int(used), owner_groups)


async def get_token(tx: Transaction, token_id: str) -> ApiToken | None:
    """Return a token by its identifier."""
    row = await tx.one(f"SELECT {COLUMNS} FROM api_tokens WHERE id = $1", token_id)  # noqa: S608 - literals
    return _token(row) if row else None


def _in_state(state: str, now: int) -> tuple[tuple[object, ...], ...]:
    if state == "active":
        return ((live_token("{}"), now),)
    if state == "expired":  # found through the index on the expiry, not by a scan of all tokens
        expired = "SELECT id FROM api_tokens WHERE revoked_at IS NULL AND expires_at <= {}"
        return ((f"id IN ({expired})", now),)
    return (("revoked_at IS NOT NULL",),) if state == "revoked" else ()


async def list_tokens(
    tx: Transaction,
    *,
    after: str,
    limit: int,
    owner: str = "",
    state: str = "all",
    now: int,
) -> list[ApiToken]:
    """Return a page of tokens, newest first; `after` is the last identifier of the page before."""
    which, values = where(("id < {}", after), ("owner_id = {}", owner), *_in_state(state, now))
    rows = await tx.all(
        f"SELECT {COLUMNS} FROM api_tokens{which} ORDER BY id DESC LIMIT ${len(values) + 1}",  # noqa: S608 - literals
        *values,
        limit,
    )
    return [_token(row) for row in rows]


async def search_tokens(
    tx: Transaction, *, search: str, after: str, limit: int, owner: str = "", state: str = "all", now: int
) -> list[tuple[ApiToken, str]]:
    """Return a page of the tokens whose name starts with `search`, ignoring case, ordered by name, each with its cursor.

    An identifier finds its one token; an empty `search` finds all, newest first.
    """
    if not search:
        found = await list_tokens(tx, after=after, limit=limit, owner=owner, state=state, now=now)
        return [(token, token.id) for token in found]
    is_one = _IDENTIFIER.fullmatch(search) is not None
    conditions = [("id = {}", search if is_one else ""), ("owner_id = {}", owner), *_in_state(state, now)]
    keys = [Key("lower(name)", "" if is_one else searches.fold(search))]
    rows = await searches.walk(tx, _TABLE, keys, *conditions, after=after, limit=limit)
    return [(_token(row), place) for row, place in rows]


async def list_chain(tx: Transaction, token_id: str) -> list[ApiToken]:
    """Return a token's ancestors, the first one made first, and then the token itself."""
    rows = await tx.all(
        "WITH RECURSIVE chain (id, parent_id) AS (SELECT id, parent_id FROM api_tokens WHERE id = $1 "  # noqa: S608 - literals
        "UNION ALL SELECT p.id, p.parent_id FROM api_tokens p JOIN chain c ON p.id = c.parent_id) "
        f"SELECT {_T_COLUMNS} FROM api_tokens t JOIN chain c ON c.id = t.id ORDER BY t.depth",
        token_id,
    )
    return [_token(row) for row in rows]


async def rotate_token(
    tx: Transaction,
    token_id: str,
    *,
    secret_id: str,
    digest: bytes,
    hint: str,
    overlap_until: int,
    actor: str,
    now: int,
) -> bool:
    """Give a live token a new secret; the older ones end at `overlap_until`. Return False when it is not alive."""
    alive = await tx.run(
        f"UPDATE api_tokens SET notified_at = NULL WHERE id = $1 AND {live_token('$2')}",  # noqa: S608 - literals
        token_id,
        now,
    )
    if not alive:
        return False
    await tx.run(
        f"UPDATE api_token_secrets SET expires_at = $1 WHERE token_id = $2 AND {unexpired('$1')}",  # noqa: S608 - literals
        overlap_until,
        token_id,
    )
    await _add_secret(tx, token_id, secret_id, digest, hint, now)
    await tx.record(
        "token.rotated", actor=actor, target=token_id, at=now, secret=secret_id, overlap_until=overlap_until
    )
    return True


_DESCENDANTS = (
    "WITH RECURSIVE line (id) AS (SELECT id FROM api_tokens WHERE {condition} "
    "UNION SELECT c.id FROM api_tokens c JOIN line l ON c.parent_id = l.id) "
    "UPDATE api_tokens SET revoked_at = $2, revoked_reason = $3 WHERE revoked_at IS NULL AND id IN (SELECT id FROM line) RETURNING id"
)


async def revoke_token(tx: Transaction, token_id: str, *, reason: str, actor: str, now: int) -> list[str]:
    """Revoke a token and everything narrowed from it; return the identifiers that this call revoked."""
    return await _revoke(tx, _DESCENDANTS.format(condition="id = $1"), token_id, reason, actor, now)


async def revoke_tokens_of(tx: Transaction, owner_id: str, *, reason: str, actor: str, now: int) -> list[str]:
    """Revoke every token of an owner, a user or a client, and everything narrowed from them."""
    return await _revoke(tx, _DESCENDANTS.format(condition="owner_id = $1"), owner_id, reason, actor, now)


async def revoke_tokens_of_client(tx: Transaction, client_id: str, *, actor: str, now: int) -> list[str]:
    """Revoke every token of a client that is deleted; an application of that identifier keeps its own."""
    condition = "owner_kind = 'client' AND owner_id = $1"
    return await _revoke(tx, _DESCENDANTS.format(condition=condition), client_id, "owner deleted", actor, now)


async def _revoke(tx: Transaction, sql: str, root: str, reason: str, actor: str, now: int) -> list[str]:
    # The statement may have waited for a child being created, which its snapshot does not show: repeat until none is left (MN-04).
    ended: list[str] = []
    while rows := await tx.all_as_kept(sql, root, now, reason):
        ended += [row["id"] for row in unreadable.sound(rows, {"id": str}, "api_tokens")]
    name = "token.compromised" if reason == "compromised" else "token.revoked"
    for token_id in ended:
        await tx.record(name, actor=actor, target=token_id, at=now, reason=reason)
    return ended


async def note_expiring(tx: Transaction, *, before: int, now: int) -> list[ApiToken]:
    """Mark at most STEP live tokens that end before a moment as announced, once each, and record the notice as an event.

    One whose row is damaged is left out, of which the log tells: it keeps no other from being announced.
    """
    due = "notified_at IS NULL AND revoked_at IS NULL AND expires_at > $1 AND expires_at <= $2"
    rows = await tx.all_as_kept(
        f"UPDATE api_tokens SET notified_at = $1 WHERE {due} AND id IN "  # noqa: S608 - literals
        f"(SELECT id FROM api_tokens WHERE {due} ORDER BY expires_at LIMIT {STEP}) RETURNING id",
        now,
        before,
    )
    found = []
    for row in unreadable.sound(rows, {"id": str}, "api_tokens"):
        try:
            token = await get_token(tx, row["id"])
        except StorageUnavailable as error:
            log.error("token.not_announced", token=row["id"], reason=error.reason)
            continue
        if token is not None:
            told = {"owner": token.owner_id, "name": token.name, "expires_at": token.expires_at}
            await tx.record("token.expiring", actor="system", target=token.id, at=now, **told)
            found.append(token)
    return found
