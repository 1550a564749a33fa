"""Clients: their metadata, who may be granted something through them, and what ends with them. Secrets are in `client_secrets`."""

import msgspec

from watchword.oauth.clients import OPERATORS, SECRET_METHODS, Client
from watchword.store import documents, ended, searches, unreadable
from watchword.store.api_tokens import revoke_tokens_of_client
from watchword.store.audit.recorded import fingerprint
from watchword.store.client_secrets import add_first_secret, delete_secret, list_secrets
from watchword.store.database import Row, StorageUnavailable, Transaction
from watchword.store.filters import where
from watchword.store.identities import revoke_identities_of
from watchword.store.searches import Key

_decode = documents.reader(Client)
_members = documents.reader(dict[str, object])
_encode = msgspec.json.Encoder(order="deterministic").encode


class ClientFacts(msgspec.Struct, frozen=True):
    """A client with what its tokens must be checked against."""

    client: Client
    valid_from: int
    last_used_at: int | None


_FACTS = "document, created_at, disabled_at, version, valid_from, last_used_at"
_TABLE = searches.Table("clients", _FACTS, "client_id")


def _facts(row: Row) -> ClientFacts:
    return ClientFacts(_client(row), row["valid_from"], row["last_used_at"])


def _client(row: Row) -> Client:
    return msgspec.structs.replace(
        _decode(row["document"]),
        disabled_at=row["disabled_at"],
        version=row["version"],
        created_at=row["created_at"],
    )


def document_of(client: Client, kept: str = "{}") -> str:
    """Write a client down in place of a document that was kept: what a later release, whose nodes serve beside this one, added to it stays."""
    return msgspec.json.encode(_over(_members(kept), _members(_encode(client).decode()))).decode()


def _over(kept: dict[str, object], said: dict[str, object]) -> dict[str, object]:
    found = dict(kept)
    for name, value in said.items():
        before = kept.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            found[name] = _over(before, value)
        else:
            found[name] = value
    return found


def is_spoken_of(document: str) -> bool:
    """Whether an operator has said anything of a client that it could not say itself, or may have, where the document is damaged."""
    itself = Client(client_id="", name="", token_endpoint_auth_method="none")
    try:
        kept = _decode(document)
    except StorageUnavailable:
        return True
    return any(getattr(kept, name) != getattr(itself, name) for name in OPERATORS)


async def create_client(
    tx: Transaction, client: Client, *, secret: tuple[str, bytes] | None = None, actor: str, now: int
) -> bool:
    """Store a new client, with the identifier and digest of its secret where it has one; return False when its own identifier is taken.

    It inherits nothing from a deleted client of the same identifier (AP-09).
    """
    document = document_of(client)
    row = await tx.one(
        "INSERT INTO clients (client_id, document, name, origin, created_at, updated_at, disabled_at) "
        "VALUES ($1, $2, $3, $4, $5, $5, $6) ON CONFLICT (client_id) DO NOTHING RETURNING client_id",
        client.client_id,
        document,
        client.name,
        client.origin,
        now,
        client.disabled_at,
    )
    if row is None:
        return False
    await begin_after_ends(tx, client.client_id, is_new=True)
    await tx.record(
        "client.created", actor=actor, target=client.client_id, at=now,
        name=client.name, origin=client.origin, document=fingerprint(document),
    )  # fmt: skip
    if secret is not None:
        await add_first_secret(tx, client.client_id, secret, actor=actor, now=now)
    return True


async def find_client(tx: Transaction, client_id: str) -> ClientFacts | None:
    """Return a client and its facts, or None; a disabled client is returned as such."""
    row = await tx.one(f"SELECT {_FACTS} FROM clients WHERE client_id = $1", client_id)  # noqa: S608 - literals
    return _facts(row) if row else None


async def list_clients(tx: Transaction, *, after: str, limit: int) -> list[ClientFacts]:
    """Return a page of clients ordered by identifier."""
    rows = await tx.all(
        f"SELECT {_FACTS} FROM clients WHERE client_id > $1 ORDER BY client_id LIMIT $2",  # noqa: S608 - literals
        after,
        limit,
    )
    return [_facts(row) for row in rows]


async def search_clients(
    tx: Transaction, *, search: str, after: str, limit: int
) -> list[tuple[ClientFacts, str]]:
    """Return a page of the clients whose name starts with `search`, ordered by name, then those whose identifier does, each with its cursor.

    Case is ignored. An empty `search` finds all, ordered by identifier.
    """
    if not search:
        found = await list_clients(tx, after=after, limit=limit)
        return [(facts, facts.client.client_id) for facts in found]
    prefix = searches.fold(search)
    keys = [Key("lower(name)", prefix), Key("lower(client_id)", prefix)]
    rows = await searches.walk(tx, _TABLE, keys, after=after, limit=limit)
    return [(_facts(row), place) for row, place in rows]


async def newest_clients(tx: Transaction, *, after: str, limit: int) -> list[tuple[ClientFacts, str]]:
    """Return a page of all clients, the newest first, each with its place."""
    moment, _, client_id = after.partition(" ")
    # Anything else is the cursor of another list, as in `searches`.
    since = int(moment) if moment.isdecimal() and len(moment) < 16 else None
    which, values = where(("(created_at, client_id) < ({}, {})", since, client_id))
    rows = await tx.all(
        f"SELECT {_FACTS}, client_id FROM clients{which} ORDER BY created_at DESC, client_id DESC LIMIT ${len(values) + 1}",  # noqa: S608 - literals
        *values,
        limit,
    )
    return [(_facts(row), f"{row['created_at']} {row['client_id']}") for row in rows]


async def clients_of_person(
    tx: Transaction, user_id: str, *, after: str, limit: int
) -> list[tuple[Client, str]]:
    """Return a page of the clients that a person consented to or that hold a live grant, by name, each with its place."""
    theirs = (
        "client_id IN (SELECT client_id FROM consents WHERE user_id = {} "
        "UNION SELECT client_id FROM grants WHERE user_id = {} AND ended_at IS NULL)"
    )
    keys = [Key("lower(name)", "")]
    rows = await searches.walk(tx, _TABLE, keys, (theirs, user_id, user_id), after=after, limit=limit)
    return [(_client(row), place) for row, place in rows]


async def list_scopes(tx: Transaction, *, clients: int = 1000) -> list[str]:
    """Return the scopes of so many clients, the newest that an administrator registered, in order."""
    rows = await tx.all(
        "SELECT document FROM clients WHERE origin = 'registered' ORDER BY created_at DESC LIMIT $1", clients
    )
    return sorted({scope for row in rows for scope in _decode(row["document"]).scope})


async def list_self_signed(tx: Transaction) -> list[Client]:
    """Return the clients that authenticate with certificates which they registered themselves (RFC 8705 §2.2)."""
    rows = await tx.all_as_kept(
        "SELECT document, created_at, disabled_at, version FROM clients "
        "WHERE disabled_at IS NULL AND document LIKE '%\"self_signed_tls_client_auth\"%'"
    )
    return unreadable.built(unreadable.sound(rows, {"document": str}, "clients"), _client, "clients")


async def update_client(
    tx: Transaction,
    client: Client,
    *,
    expected_version: int,
    disabled_at: int | None,
    kill: bool,
    actor: str,
    now: int,
) -> Client | None:
    """Replace a client's metadata; return None when it changed or vanished meanwhile (AD-09). What changes nothing leaves no trace.

    `kill` ends what the client was granted: every token, and every code that waits to be redeemed. With an authentication method that uses
    none, its secrets end: they would work again, unnoticed, once it is changed back. When consent to it begins to be remembered, what people
    agreed to before is forgotten: it was for that one time (DC-07). So is what nobody was asked, when a first-party client is none any more.
    """
    changed = (
        "SELECT document, created_at, disabled_at, version FROM clients WHERE client_id = $1 AND version = $2"
    )
    kept = await tx.one(changed, client.client_id, expected_version)
    if kept is None:
        return None
    before = _client(kept)
    ours = {"disabled_at": disabled_at, "version": before.version, "created_at": before.created_at}
    if msgspec.structs.replace(client, **ours) == before and (not kill or before.disabled_at is not None):
        return before
    forgets = (client.is_recognized and not before.is_recognized) or before.first_party > client.first_party
    if kill or forgets:
        # Grants under way are committed first, and ended below; see `hold_client`. So are grants by consent, which lock the client
        # before the consents.
        await tx.one("SELECT client_id FROM clients WHERE client_id = $1 FOR UPDATE", client.client_id)
    row = await tx.one(
        "UPDATE clients SET document = $1, name = $2, disabled_at = $3, updated_at = $4, version = version + 1 "
        "WHERE client_id = $5 AND version = $6 RETURNING document, created_at, disabled_at, version",
        document_of(client, kept["document"]),
        client.name,
        disabled_at,
        now,
        client.client_id,
        expected_version,
    )
    if row is None:
        return None
    if kill:
        for statement in ENDED_WITH_CLIENT:
            await tx.run(statement, now, client.client_id)
    await tx.record(
        "client.updated", actor=actor, target=client.client_id, at=now,
        disabled=disabled_at is not None, ended_tokens=kill, document=fingerprint(row["document"]),
    )  # fmt: skip
    if client.token_endpoint_auth_method not in SECRET_METHODS:
        for secret in await list_secrets(tx, client.client_id):
            await delete_secret(tx, client.client_id, secret.id, actor=actor, now=now)
    if forgets:
        await tx.run(FORGET_CONSENTS, client.client_id)
    if kill:  # exactly what the revocation feed says has ended
        await begin_after_ends(tx, client.client_id)
    return _client(row)


async def begin_after_ends(tx: Transaction, client_id: str, *, is_new: bool = False) -> None:
    """Let a client's tokens count that are issued after the last end of what had its identifier, and date a new one after that. Its row is
    held already: whoever was just ending that is done, as it is not before the row is inserted."""
    ends = await ended.ended_before(tx, "client", client_id)
    await tx.run("UPDATE clients SET valid_from = $1 WHERE client_id = $2", ends, client_id)
    if (
        is_new
    ):  # otherwise it could be as old as a former client of this identifier, and get that one's status list
        later = "UPDATE clients SET created_at = $1 WHERE client_id = $2 AND created_at < $1"
        await tx.run(later, ends, client_id)


async def hold_client(tx: Transaction, client_id: str) -> bool:
    """Lock a client against its end until this transaction is over; return False when it is gone or disabled.

    An end that came first leaves nothing to grant to; one that comes later ends what was granted. The lock is shared, and neither
    recording the client's use nor changing its metadata waits for it.
    """
    held = "SELECT client_id FROM clients WHERE client_id = $1 AND disabled_at IS NULL FOR KEY SHARE"
    return await tx.one(held, client_id) is not None


# Device codes end before grants: the order in which a code is redeemed.
ENDED_WITH_CLIENT = (
    "UPDATE device_codes SET expires_at = $1 WHERE client_id = $2 AND expires_at > $1",
    "UPDATE grants SET ended_at = $1 WHERE client_id = $2 AND ended_at IS NULL",
)
FORGET_CONSENTS = "DELETE FROM consents WHERE client_id = $1"
# Whatever their dates, which another node's clock may have set.
FORGOTTEN_WITH_CLIENT = (
    FORGET_CONSENTS,
    "DELETE FROM session_clients WHERE client_id = $1",
    "DELETE FROM logout_notices WHERE client_id = $1",
)


async def delete_client(tx: Transaction, client_id: str, *, actor: str, now: int) -> bool:
    """Delete a client, its secrets and everything that it was issued: no access token is valid without its client."""
    row = await tx.one("DELETE FROM clients WHERE client_id = $1 RETURNING client_id", client_id)
    if row is None:
        return False
    await revoke_tokens_of_client(tx, client_id, actor=actor, now=now)
    for statement in ENDED_WITH_CLIENT:
        await tx.run(statement, now, client_id)
    await revoke_identities_of(tx, ("client", client_id), actor=actor, now=now)
    for statement in FORGOTTEN_WITH_CLIENT:
        await tx.run(statement, client_id)
    await tx.record("client.deleted", actor=actor, target=client_id, at=now)
    return True


async def flush_client_usage(
    tx: Transaction, secrets: list[tuple[str, int, str]], clients: list[tuple[str, int]]
) -> None:
    """Note when and from where secrets and clients were last used; another node may have noted something later already."""
    # Rows are written in one order everywhere, clients before their secrets, so that nodes never deadlock.
    for client_id, at in sorted(clients):
        await tx.run(
            "UPDATE clients SET last_used_at = $1 WHERE client_id = $2 AND (last_used_at IS NULL OR last_used_at < $1)",
            at,
            client_id,
        )
    for secret_id, at, address in sorted(secrets):
        await tx.run(
            "UPDATE client_secrets SET last_used_at = $1, last_address = $2 "
            "WHERE id = $3 AND (last_used_at IS NULL OR last_used_at < $1)",
            at,
            address,
            secret_id,
        )
