"""Clients that registered themselves (RFC 7591), what they manage themselves with (RFC 7592), and the end of those nobody uses."""

from watchword.oauth.clients import Client
from watchword.store import clients
from watchword.store.database import Transaction

# Whoever is here for a reason stays: a grant that has not ended and can still be used, or an API token of its own.
_IS_UNUSED = (
    "FROM clients c WHERE c.origin IN ('dynamic', 'document') AND c.disabled_at IS NULL "
    "AND c.created_at < $1 AND (c.last_used_at IS NULL OR c.last_used_at < $1) "
    "AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.client_id = c.client_id AND g.ended_at IS NULL) "
    "AND NOT EXISTS (SELECT 1 FROM api_tokens t WHERE t.owner_kind = 'client' AND t.owner_id = c.client_id "
    "AND t.revoked_at IS NULL)"
)
_UNUSED = f"SELECT c.client_id {_IS_UNUSED} ORDER BY c.created_at LIMIT $2"
_IS_STILL = f"SELECT c.client_id {_IS_UNUSED} AND c.client_id = $2"
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
    """Store a client with the digests of its registration access token and of its secret; False when the name is taken."""
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
    keeps_secrets: bool,
    keeps_consents: bool,
    now: int,
) -> Client | None:
    """Replace what a client says of itself, give it a secret or take its secrets; None when it changed meanwhile.

    People who agreed to it are asked again unless it `keeps_consents`.
    """
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
        await tx.run("DELETE FROM consents WHERE client_id = $1", client.client_id)
    if not keeps_secrets:
        await tx.run("DELETE FROM client_secrets WHERE client_id = $1", client.client_id)
    if secret is not None:
        await clients.add_first_secret(tx, client.client_id, secret, actor=client.client_id, now=now)
    return changed


async def purge_unused_clients(tx: Transaction, before: int, *, now: int, limit: int = 100) -> int:
    """Delete clients that nobody registered by hand, made and last used before a moment, without a live grant; return how many.

    One that an administrator disabled stays, or it would be back at its next request.
    """
    deleted = 0
    for row in await tx.all(_UNUSED, before, limit):
        # Looked at again when it is held: it may have been used, granted something or disabled since.
        await tx.one(_HOLD, row["client_id"])
        if await tx.one(_IS_STILL, before, row["client_id"]) is not None:
            deleted += await clients.delete_client(tx, row["client_id"], actor="system", now=now)
    return deleted
