"""Clients identified by a metadata document: the last good reading of each document, shared by all nodes, and its freshness."""

import msgspec

from watchword.oauth.clients import Client
from watchword.store.audit.recorded import fingerprint
from watchword.store.clients import begin_after_ends, document_of, find_client
from watchword.store.database import Transaction


class Reading(msgspec.Struct, frozen=True):
    """A client as its document described it, and until when the document need not be fetched again (Unix seconds)."""

    client: Client
    fresh_until: int


async def find_reading(tx: Transaction, client_id: str) -> Reading | None:
    """Return the last good reading of a document, or None; a disabled client is returned as such."""
    row = await tx.one(
        "SELECT fresh_until FROM clients WHERE client_id = $1 AND origin = 'document'", client_id
    )
    facts = await find_client(tx, client_id) if row is not None else None
    return Reading(facts.client, row["fresh_until"] or 0) if row is not None and facts is not None else None


async def keep_reading(
    tx: Transaction, client: Client, *, known: Client | None = None, fresh_until: int, now: int
) -> Reading | None:
    """Store a reading and return it with the client's stored state; None when another kind of client has the identifier.

    An event is recorded only when the document has changed, and a disabled client stays disabled. Where the client is no
    more as it was `known` when its document was read, what an operator said of it meanwhile stays: the reading is not stored.
    """
    document = document_of(client)
    added = await tx.run(
        "INSERT INTO clients (client_id, document, name, origin, created_at, updated_at, fresh_until) "
        "VALUES ($1, $2, $3, 'document', $4, $4, $5) ON CONFLICT (client_id) DO NOTHING",
        client.client_id,
        document,
        client.name,
        now,
        fresh_until,
    )
    if added:
        await begin_after_ends(tx, client.client_id, is_new=True)
        await _record(tx, "client.created", client, document, now)
        return await find_reading(tx, client.client_id)
    held = (
        "SELECT document, version FROM clients WHERE client_id = $1 AND origin = 'document' FOR NO KEY UPDATE"
    )
    row = await tx.one(held, client.client_id)
    if row is None:
        return None
    if known is None or row["version"] != known.version:
        return await find_reading(tx, client.client_id)
    document = document_of(client, row["document"])
    changed = await tx.run(
        "UPDATE clients SET document = $1, name = $2, updated_at = $3, version = version + 1 "
        "WHERE client_id = $4 AND origin = 'document' AND document <> $1",
        document,
        client.name,
        now,
        client.client_id,
    )
    if changed:
        await _record(tx, "client.updated", client, document, now)
    await tx.run(
        "UPDATE clients SET fresh_until = $1 WHERE client_id = $2 AND origin = 'document'",
        fresh_until,
        client.client_id,
    )
    return await find_reading(tx, client.client_id)


async def withdraw_reading(tx: Transaction, client_id: str) -> None:
    """Expire a reading at once, so that it is not used even while its document cannot be reached."""
    await tx.run("UPDATE clients SET fresh_until = 0 WHERE client_id = $1 AND origin = 'document'", client_id)


async def _record(tx: Transaction, event: str, client: Client, document: str, now: int) -> None:
    await tx.record(
        event, actor=client.client_id, target=client.client_id, at=now,
        name=client.name, origin="document", document=fingerprint(document),
    )  # fmt: skip
