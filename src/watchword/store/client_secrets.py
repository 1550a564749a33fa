"""Secrets of clients: added with overlap, removed, listed without their values; the store keeps digests only."""

import msgspec

from watchword.oauth.clients import SECRET_METHODS, Client
from watchword.store import documents
from watchword.store.database import Transaction
from watchword.store.liveness import unexpired

_decode = documents.reader(Client)


class ClientSecret(msgspec.Struct, frozen=True):
    """One live or expired secret of a client, without the secret."""

    id: str
    created_at: int
    expires_at: int | None
    last_used_at: int | None
    last_address: str | None


async def add_secret(
    tx: Transaction,
    client_id: str,
    *,
    id: str,
    digest: bytes,
    expires_at: int | None,
    overlap_until: int | None,
    actor: str,
    now: int,
) -> bool:
    """Add a secret; with `overlap_until` every older one ends then. Return False when the client is gone, or uses no secret."""
    # The touch makes rotations of one client, its changes and its deletion, wait for one another.
    row = await tx.one(
        "UPDATE clients SET updated_at = updated_at WHERE client_id = $1 RETURNING document", client_id
    )
    if row is None or _decode(row["document"]).token_endpoint_auth_method not in SECRET_METHODS:
        return False
    if overlap_until is not None:
        await tx.run(
            f"UPDATE client_secrets SET expires_at = $1 WHERE client_id = $2 AND {unexpired('$1')}",  # noqa: S608 - literals
            overlap_until,
            client_id,
        )
    await tx.run(
        "INSERT INTO client_secrets (digest, id, client_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
        digest,
        id,
        client_id,
        now,
        expires_at,
    )
    await tx.record(
        "client.secret_added", actor=actor, target=client_id, at=now, secret=id, overlap_until=overlap_until
    )
    return True


async def add_first_secret(
    tx: Transaction, client_id: str, secret: tuple[str, bytes], *, actor: str, now: int
) -> None:
    """Add the secret, by identifier and digest, of a client that has none."""
    await add_secret(
        tx,
        client_id,
        id=secret[0],
        digest=secret[1],
        expires_at=None,
        overlap_until=None,
        actor=actor,
        now=now,
    )


async def list_secrets(tx: Transaction, client_id: str) -> list[ClientSecret]:
    """Return a client's secrets, newest first, without the secrets themselves."""
    rows = await tx.all(
        "SELECT id, created_at, expires_at, last_used_at, last_address FROM client_secrets WHERE client_id = $1 "
        "ORDER BY created_at DESC, id DESC",
        client_id,
    )
    return [
        ClientSecret(
            row["id"], row["created_at"], row["expires_at"], row["last_used_at"], row["last_address"]
        )
        for row in rows
    ]


async def delete_secret(tx: Transaction, client_id: str, secret_id: str, *, actor: str, now: int) -> bool:
    """End one secret at once."""
    row = await tx.one(
        "DELETE FROM client_secrets WHERE client_id = $1 AND id = $2 RETURNING id", client_id, secret_id
    )
    if row is None:
        return False
    await tx.record("client.secret_removed", actor=actor, target=client_id, at=now, secret=secret_id)
    return True


async def live_digests(tx: Transaction, client_id: str, now: int) -> list[tuple[bytes, str, int | None]]:
    """Return digest, identifier and end of every secret of a client that is valid now."""
    rows = await tx.all(
        f"SELECT digest, id, expires_at FROM client_secrets WHERE client_id = $1 AND {unexpired('$2')}",  # noqa: S608 - literals
        client_id,
        now,
    )
    return [(bytes(row["digest"]), row["id"], row["expires_at"]) for row in rows]
