"""The hash chain of the audit trail: one chain per writer, linked to the others.

Theory of operation. Every writer (a process on SQLite, a connection on PostgreSQL) owns a chain with a random name, so that
auditing never serialises writers. An event's hash is an HMAC over its content and its predecessor's hash, under a key that
lives outside the database: who can write to the database cannot forge an event. The first event of a chain and every
`LINK_EVERY`-th after it carries a link to the newest event of another chain, so that cutting the end off one chain shows in
another. Removing, reordering or editing an event breaks its chain. A writer never goes on with a chain that was idle for long, so
that the last trace of a chain can be forgotten once all its events are.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace

import msgspec

from watchword.store import ended, faults
from watchword.store.database import Transaction

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

    def copy(self) -> "Chain":
        """Return the same chain at the same head, to be advanced apart."""
        return replace(self)

    def renew(self) -> None:
        """Begin a new chain."""
        self.name, self.seq, self.head = secrets.token_hex(8), 0, GENESIS


def encode_data(data: dict[str, object]) -> str:
    """Write an event's data as deterministic JSON."""
    return _encode(data).decode()


def event_hash(key: bytes, previous: bytes, fields: tuple[object, ...]) -> bytes:
    """Return the keyed hash of an event given its fields in the order of the table."""
    return hmac.new(key, previous + _encode(fields), hashlib.sha256).digest()


async def append_event(
    tx: Transaction,
    chain: Chain,
    key: bytes,
    name: str,
    actor: str,
    target: str,
    at: int,
    data: dict[str, object],
) -> None:
    """Write an event as the next of a chain, advance the chain's head, and keep what the event says has ended."""
    faults.reach("audit.begun", name)
    await ended.note(tx, key, name, target, at, data)
    if at - chain.at > RENEW_AFTER:
        chain.renew()
    link = await _newest_elsewhere(tx, chain.name) if chain.seq % LINK_EVERY == 0 else ""
    seq = chain.seq + 1
    fields = (chain.name, seq, at, name, actor, target, encode_data(data), link)
    digest = event_hash(key, chain.head, fields)
    await tx.run(
        "INSERT INTO events (chain, seq, at, name, actor, target, data, link, previous, hash) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        *fields,
        chain.head,
        digest,
    )
    faults.reach("audit.written", name)
    chain.seq, chain.head, chain.at = seq, digest, at


async def _newest_elsewhere(tx: Transaction, chain: str) -> str:
    row = await tx.one(
        "SELECT chain, seq, hash FROM events WHERE chain <> $1 ORDER BY at DESC, chain, seq DESC LIMIT 1",
        chain,
    )
    return f"{row['chain']}:{row['seq']}:{row['hash'].hex()}" if row else ""
