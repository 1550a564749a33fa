"""The hash chain of the audit trail: one chain per writer, linked to the others.

Theory of operation. Every writer (a process on SQLite, a connection on PostgreSQL) owns a chain with a random name, so that
auditing never serialises writers. An event's hash is an HMAC over its content and its predecessor's hash, under a key that
lives outside the database: who can write to the database cannot forge an event. The first event of a chain and every
`LINK_EVERY`-th after it carries a link to the newest event of another chain, looked for once a second at most, so that cutting the
end off one chain shows in another. Removing, reordering or editing an event breaks its chain. A writer never goes on with a chain that
was idle for long, so that the last trace of a chain can be forgotten once all its events are.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from watchword.store import ended, faults, unreadable
from watchword.store.database import AuditEntry, Transaction

LINK_EVERY = 16
RENEW_AFTER = 86_400  # seconds without an event after which a writer begins a new chain
GENESIS = bytes(32)

_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass(slots=True)
class Chain:
    """The head of one writer's chain; when a transaction is rolled back, a copy made before takes its place."""

    name: str = field(default_factory=lambda: secrets.token_hex(8))
    seq: int = 0
    head: bytes = GENESIS
    at: int = 0
    link: str = ""  # the newest event of another chain as of the last look-up, which was at `linked_at`
    linked_at: int = 0

    def copy(self) -> "Chain":
        """Return the same chain at the same head, to be advanced apart."""
        return Chain(self.name, self.seq, self.head, self.at, self.link, self.linked_at)

    def renew(self) -> None:
        """Begin a new chain."""
        self.name, self.seq, self.head = secrets.token_hex(8), 0, GENESIS
        self.link, self.linked_at = "", 0


def encode_data(data: dict[str, object]) -> str:
    """Write an event's data as deterministic JSON."""
    return _encode(data).decode()


def event_hash(key: bytes, previous: bytes, fields: tuple[object, ...]) -> bytes:
    """Return the keyed hash of an event given its fields in the order of the table."""
    keyed = _keyed(key).copy()
    keyed.update(previous)
    keyed.update(_encode(fields))
    return keyed.digest()


@lru_cache(maxsize=4)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod=hashlib.sha256)


INSERT_EVENT = (
    "INSERT INTO events (chain, seq, at, name, actor, target, data, link, previous, hash) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
)


async def next_event(tx: Transaction, chain: Chain, key: bytes, entry: AuditEntry) -> tuple[object, ...]:
    """Return an event as the next row of a chain, advance the chain's head, and record what the event says has ended."""
    if not key:
        raise RuntimeError("nothing is recorded before the key of the audit trail is known")
    at = entry.at
    faults.reach("audit.begun", entry.name)
    await ended.note(tx, key, entry)
    if at - chain.at > RENEW_AFTER:
        chain.renew()
    link = await _link(tx, chain, at) if chain.seq % LINK_EVERY == 0 else ""
    seq = chain.seq + 1
    fields = (chain.name, seq, at, entry.name, entry.actor, entry.target, encode_data(entry.data), link)
    digest = event_hash(key, chain.head, fields)
    row = (*fields, chain.head, digest)
    chain.seq, chain.head, chain.at = seq, digest, at
    return row


def written(rows: Iterable[tuple[object, ...]]) -> None:
    """Pass the fail-point that comes after events were written."""
    for row in rows:
        faults.reach("audit.written", row[3])


async def _link(tx: Transaction, chain: Chain, at: int) -> str:
    if chain.seq and at == chain.linked_at:
        return chain.link
    # Nothing older than the last look-up is newer than what that found. Without this bound, a busy chain of our own would be scanned to
    # its start.
    rows = await tx.all_as_kept(
        "SELECT chain, seq, hash FROM events WHERE at >= $1 AND chain <> $2 ORDER BY at DESC, chain, seq DESC LIMIT 1",
        chain.linked_at,
        chain.name,
    )
    # An unreadable event must not stop a writer; verifying the trail reports it.
    for row in (row for row in rows if not unreadable.columns(row, ("chain", "seq", "hash"))):
        chain.link = f"{row['chain']}:{row['seq']}:{row['hash'].hex()}"
    chain.linked_at = at
    return chain.link
