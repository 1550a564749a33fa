"""Stored rights compared with the audit events that granted them: the trail is chained under a key outside the database.

Owns which columns are rights, and which events record them. Somebody who alters a row would have to forge an event too. An event of
an earlier release records less, and a purged one nothing; what no event records cannot be checked.
"""

import hashlib
from collections.abc import Iterator, Mapping

import msgspec

from watchword.store import unreadable
from watchword.store.database import Row, Transaction

SLACK = 120  # seconds by which nodes' clocks may differ: of two events so close either may be the last
Facts = Mapping[str, object]
# The last events, as (time, facts), by the event names of a right and a row's identifier.
Told = dict[tuple[tuple[str, ...], str], list[tuple[int, Facts]]]


class Right(msgspec.Struct, frozen=True):
    """A table whose rows are rights: its columns by the names that events give them, and the events, each of which records all or some."""

    kind: str
    table: str
    worth: Mapping[str, str]
    events: tuple[str, ...]
    id: str = "id"


RIGHTS = (
    Right(
        "API token",
        "api_tokens",
        {"owner": "owner_id", "parent": "parent_id"}
        | {name: name for name in ("owner_kind", "scope", "resource", "expires_at", "addresses", "path", "jkt", "rate_limit", "quota")},
        ("token.created",),
    ),
    Right("account", "users", {"admin": "is_admin"}, ("user.created", "user.updated")),
    Right("account", "users", {"groups": "groups"}, ("user.created", "user.groups_changed")),
    Right("account", "users", {"disabled": "disabled_at IS NOT NULL"}, ("user.disabled", "user.enabled")),
    Right(
        "client",
        "clients",
        {"document": "document", "disabled": "disabled_at IS NOT NULL"},
        ("client.created", "client.updated"),
        id="client_id",
    ),
    Right("grant", "grants", {"client": "client_id", "person": "user_id", "scope": "scope"}, ("grant.created",)),
    Right("session", "sessions", {"user": "user_id"}, ("session.created",)),
    Right("session", "sessions", {"ended": "ended_at IS NOT NULL"}, ("session.ended",)),
    Right("trust rule", "trust_rules", {"document": "document"}, ("trust.created",)),
)  # fmt: skip
_STREAMS = {
    name: {right.events for right in RIGHTS if name in right.events} for one in RIGHTS for name in one.events
}
_decode = msgspec.json.Decoder(dict[str, object]).decode


def fingerprint(document: str) -> str:
    """Return the digest that an event records in place of a long document."""
    return hashlib.sha256(document.encode("utf-8", "surrogateescape")).hexdigest()[:32]


async def find_changed(tx: Transaction) -> list[tuple[str, str]]:
    """Return every right that differs from what was recorded: what is wrong, and the identifier of the row."""
    suspects: list[tuple[Right, Row]] = []
    told = await _told(tx)
    for right in RIGHTS:
        columns = ", ".join(f"{column} AS {name}" for name, column in right.worth.items())
        rows = await tx.all_as_kept(f"SELECT {right.id} AS id, {columns} FROM {right.table}")  # noqa: S608 - literals above
        suspects += [(right, row) for row in rows if any(_wrong(right, row, told))]
    if not suspects:
        return []
    told = await _told(tx)  # now includes what was changed while the rows were read
    return [
        (wrong, unreadable.text(row["id"])) for right, row in suspects for wrong in _wrong(right, row, told)
    ]


async def _told(tx: Transaction) -> Told:
    told: Told = {}
    for row in await tx.all_as_kept("SELECT at, name, actor, target, data FROM events ORDER BY at"):
        if row["name"] in _STREAMS and not unreadable.columns(row, ("at", "actor", "target", "data")):
            for stream in _STREAMS[row["name"]]:
                key = stream, row["target"]
                last = [one for one in told.get(key, ()) if one[0] >= row["at"] - SLACK]
                told[key] = [*last, (row["at"], _facts(row))]
    return told


def _facts(row: Row) -> Facts:
    by_name: Mapping[str, dict[str, object]] = {
        "user.disabled": {"disabled": True},
        "user.enabled": {"disabled": False},
        "session.ended": {"ended": True},
        "grant.created": {"person": row["actor"]},
    }
    try:
        return _decode(row["data"]) | by_name.get(row["name"], {})
    except msgspec.DecodeError:  # the trail itself is checked elsewhere
        return {}


def _wrong(right: Right, row: Row, told: Told) -> Iterator[str]:
    """Describe each value of a row that differs from all of its last events; a value that no event records passes."""
    said = [facts for _, facts in told.get((right.events, unreadable.text(row["id"])), ())]
    for name in right.worth:
        kept = fingerprint(str(row[name])) if name == "document" else row[name]
        allowed = [facts[name] for facts in said if name in facts]
        if allowed and kept not in allowed:
            yield f"the {name} of this {right.kind} is not what was recorded"
