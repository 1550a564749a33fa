"""Clients that registered themselves (RFC 7591), their registration access tokens (RFC 7592), and the purge of unused ones."""

from watchword.oauth.clients import Client
from watchword.store import client_secrets, clients, unreadable
from watchword.store.database import StorageUnavailable, Transaction
from watchword.telemetry import log

# A client with a live grant or an API token of its own is in use.
_IS_UNUSED = (
    "FROM clients c WHERE c.origin IN ('dynamic', 'document') AND c.disabled_at IS NULL "
    "AND c.created_at < $1 AND (c.last_used_at IS NULL OR c.last_used_at < $1) "
    "AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.client_id = c.client_id AND g.ended_at IS NULL) "
    "AND NOT EXISTS (SELECT 1 FROM api_tokens t WHERE t.owner_kind = 'client' AND t.owner_id = c.client_id "
    "AND t.revoked_at IS NULL)"
)
_UNUSED = f"SELECT c.client_id {_IS_UNUSED} ORDER BY c.created_at, c.client_id LIMIT $2 OFFSET $3"
_IS_STILL = f"SELECT c.origin, c.document {_IS_UNUSED} AND c.client_id = $2"
_HOLD = "SELECT client_id FROM clients WHERE client_id = $1 FOR UPDATE"


async def register_client(
    tx: Transaction,
    client: Client,
    *,
    registration_digest: bytes,
    secret: tuple[str, bytes] | None,
    actor: str,
    now: int,
) -> bool:
    """Store a client with the digests of its registration access token and of its secret; return False when its identifier is taken."""
    if not await clients.create_client(tx, client, secret=secret, actor=actor, now=now):
        return False
    await tx.run(
        "UPDATE clients SET registration_digest = $1 WHERE client_id = $2",
        registration_digest,
        client.client_id,
    )
    return True


async def registration_digest_of(tx: Transaction, client_id: str) -> bytes | None:
    """Return the digest of a client's registration access token, or None."""
    row = await tx.one(
        "SELECT registration_digest FROM clients WHERE client_id = $1 AND origin = 'dynamic' "
        "AND disabled_at IS NULL",
        client_id,
    )
    digest = row["registration_digest"] if row is not None else None
    return bytes(digest) if digest is not None else None


async def replace_registration(
    tx: Transaction,
    client: Client,
    *,
    expected_version: int,
    secret: tuple[str, bytes] | None,
    keeps_consents: bool,
    now: int,
) -> Client | None:
    """Replace a client's own metadata as `update_client` does, and add a secret; return None when the client changed meanwhile.

    People who agreed to it are asked again unless it `keeps_consents`.
    """
    if not keeps_consents:  # whoever grants by consents has locked the client before them
        await tx.one(_HOLD, client.client_id)
    changed = await clients.update_client(
        tx,
        client,
        expected_version=expected_version,
        disabled_at=None,
        kill=False,
        actor=client.client_id,
        now=now,
    )
    if changed is None:
        return None
    if not keeps_consents:
        await tx.run(clients.FORGET_CONSENTS, client.client_id)
    if secret is not None:
        await client_secrets.add_first_secret(tx, client.client_id, secret, actor=client.client_id, now=now)
    return changed


async def purge_unused_clients(tx: Transaction, before: int, *, now: int, limit: int = 100) -> int:
    """Delete self-registered clients created and last used before a moment that have no live grant; return how many.

    One that an administrator disabled stays, and one with a document that an operator said something of, such as whom it is for: it could
    otherwise return with its next request, and as anybody's.
    """
    deleted = passed = 0
    while not deleted and (kept := await tx.all_as_kept(_UNUSED, before, limit, passed)):
        passed += len(kept)
        for row in unreadable.sound(kept, {"client_id": str}, "clients"):
            # Checked again under the lock: it may have been used, granted something, changed or disabled since.
            await tx.one(_HOLD, row["client_id"])
            try:
                found = await tx.one(_IS_STILL, before, row["client_id"])
            except StorageUnavailable as error:
                log.error("row.unreadable", table="clients", client=row["client_id"], reason=error.reason)
                continue
            returns = found is not None and found["origin"] == "document"
            if found is not None and not (returns and clients.is_spoken_of(found["document"])):
                deleted += await clients.delete_client(tx, row["client_id"], actor="system", now=now)
    return deleted
