"""Authorization requests under way: kept here while a person signs in and consents, bound to one browser; and pushed requests."""

import msgspec

from watchword.store import documents
from watchword.store.database import Transaction


class Interaction(msgspec.Struct, frozen=True, kw_only=True):
    """A request under way; `request` is JSON, `done` the steps taken for it, `shown_to` who was shown a consent page, and for what."""

    id: str
    client_id: str
    request: str
    done: tuple[str, ...] = ()
    shown_to: str | None = None
    expires_at: int


_decode_done = documents.reader(tuple[str, ...])


async def create_interaction(tx: Transaction, interaction: Interaction, browser: bytes) -> None:
    """Keep a request for one browser."""
    await tx.run(
        "INSERT INTO interactions (id, browser, client_id, request, done, shown_to, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        interaction.id,
        browser,
        interaction.client_id,
        interaction.request,
        msgspec.json.encode(interaction.done).decode(),
        interaction.shown_to,
        interaction.expires_at,
    )


async def find_interaction(
    tx: Transaction, interaction_id: str, browser: bytes, now: int
) -> Interaction | None:
    """Return a request under way, for the browser that began it (SE-11)."""
    row = await tx.one(
        "SELECT id, client_id, request, done, shown_to, expires_at FROM interactions "
        "WHERE id = $1 AND browser = $2 AND used_at IS NULL AND expires_at > $3",
        interaction_id,
        browser,
        now,
    )
    if row is None:
        return None
    return Interaction(
        id=row["id"],
        client_id=row["client_id"],
        request=row["request"],
        done=_decode_done(row["done"]),
        shown_to=row["shown_to"],
        expires_at=row["expires_at"],
    )


async def note_interaction(
    tx: Transaction, interaction_id: str, done: tuple[str, ...], shown_to: str | None
) -> None:
    """Note the steps taken for a request and whose consent page was shown."""
    await tx.run(
        "UPDATE interactions SET done = $1, shown_to = $2 WHERE id = $3",
        msgspec.json.encode(done).decode(),
        shown_to,
        interaction_id,
    )


async def note_step(tx: Transaction, interaction_id: str, browser: bytes, step: str, now: int) -> None:
    """Note a step that the person took for a request, in the browser that began it."""
    found = await find_interaction(tx, interaction_id, browser, now)
    if found is not None and step not in found.done:
        await note_interaction(tx, found.id, (*found.done, step), found.shown_to)


async def finish_interaction(tx: Transaction, interaction_id: str, now: int) -> bool:
    """Use up a request; return False when it was answered before."""
    row = await tx.one(
        "UPDATE interactions SET used_at = $1 WHERE id = $2 AND used_at IS NULL RETURNING id",
        now,
        interaction_id,
    )
    return row is not None


async def push_request(tx: Transaction, digest: bytes, client_id: str, request: str, expires_at: int) -> None:
    """Keep a pushed authorization request (RFC 9126)."""
    await tx.run(
        "INSERT INTO pushed_requests (digest, client_id, request, expires_at) VALUES ($1, $2, $3, $4)",
        digest,
        client_id,
        request,
        expires_at,
    )


async def find_pushed_request(tx: Transaction, digest: bytes, client_id: str, now: int) -> str | None:
    """Return a live pushed request of a client; None when there is none (RFC 9126 §4, §7.3)."""
    row = await tx.one(
        "SELECT request FROM pushed_requests WHERE digest = $1 AND client_id = $2 AND used_at IS NULL AND expires_at > $3",
        digest,
        client_id,
        now,
    )
    return str(row["request"]) if row else None


async def use_pushed_request(tx: Transaction, digest: bytes, now: int) -> bool:
    """Use up a live pushed request; of two concurrent uses one gets False (RFC 9126 §4, §7.3)."""
    row = await tx.one(
        "UPDATE pushed_requests SET used_at = $1 WHERE digest = $2 AND used_at IS NULL AND expires_at > $1 RETURNING digest",
        now,
        digest,
    )
    return row is not None


async def begin_pushed_request(
    tx: Transaction, digest: bytes, interaction: Interaction, browser: bytes, now: int
) -> bool:
    """Use up a pushed request and store it as under way in a browser, both or neither; return False when it was used before."""
    if not await use_pushed_request(tx, digest, now):
        return False
    await create_interaction(tx, interaction, browser)
    return True
