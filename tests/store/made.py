"""Values that the tests of the store put into it, and the operations by which they look behind it."""

import hashlib
from typing import Any

from watchword.oauth.clients import Client
from watchword.store import api_tokens, consents, grants
from watchword.store.api_tokens import ApiToken
from watchword.store.audit import events
from watchword.store.database import Database, Row, Transaction
from watchword.store.grants import Code, Grant
from watchword.store.keys import StoredKey
from watchword.store.tokens import AccessToken
from watchword.store.users import User

NOW = 1_900_000_000
DAY = 86_400


def digest(text: str) -> bytes:
    """Return the digest of a secret."""
    return hashlib.sha256(text.encode()).digest()


def token(id: str = "tok_1", **changed: Any) -> ApiToken:
    """Return an API token of a program without an account."""
    given: dict[str, Any] = {
        "id": id,
        "name": f"token {id}",
        "owner_kind": "application",
        "owner_id": "reports",
        "scope": "orders:read",
        "resource": "https://api.example",
        "created_at": NOW,
        "created_by": "test",
        "expires_at": NOW + 90 * DAY,
    }
    return ApiToken(**given | changed)


async def add_token(database: Database, id: str = "tok_1", **changed: Any) -> str:
    """Create an API token whose secret is `secret of <id>`."""
    made = token(id, **changed)
    return await database.write(
        api_tokens.create_token,
        made,
        secret_id=f"sec_{id}",
        digest=digest(f"secret of {id}"),
        hint="…abcd",
        actor="test",
    )


def client(id: str = "cl_1", **changed: Any) -> Client:
    """Return a client."""
    return Client(
        **{
            "client_id": id,
            "name": f"client {id}",
            "token_endpoint_auth_method": "client_secret_basic",
            **changed,
        }
    )


def key(kid: str, activates_at: int | None = NOW) -> StoredKey:
    """Return a signing key as it is stored."""
    return StoredKey(kid, "ES256", "{}", b"sealed", NOW, activates_at)


def user(id: str = "u_1", **changed: Any) -> User:
    """Return an account."""
    return User(**{"id": id, "username": id, "created_at": NOW, **changed})


def access_token(client_id: str = "cl_1", expires_at: int = NOW + 600) -> AccessToken:
    """Return an opaque access token."""
    return AccessToken(client_id, client_id, "a b", "https://api.example", NOW, expires_at, None, "{}")


async def agree(database: Database, grant: Grant) -> None:
    """Remember that a person consented to what a grant gives."""
    whose, scope = (grant.user_id, grant.client_id, grant.audience), tuple(grant.scope.split())
    given = {"session_id": grant.session_id, "scope": scope, "now": grant.created_at}
    await database.write(consents.remember_consent, *whose, **given)


async def agree_and_grant(database: Database, grant: Grant, code: bytes) -> None:
    """Remember a consent, and store what is granted by it with a code for a minute."""
    await agree(database, grant)
    assert await grants.create_grant(database, grant, Code(code, grant.created_at + 60, "{}"))


async def execute(tx: Transaction, sql: str, *values: object) -> int:
    """Execute a statement, as somebody with access to the database would."""
    return await tx.run(sql, *values)


async def select(tx: Transaction, sql: str, *values: object) -> list[Row]:
    """Return the rows of a query."""
    return await tx.all(sql, *values)


async def count(database: Database, table: str) -> int:
    """Return how many rows a table has."""
    row = (await database.read(select, f"SELECT COUNT(*) AS n FROM {table}"))[0]
    return int(row["n"])


async def note(tx: Transaction, target: str, at: int = NOW) -> None:
    """Record an event and change nothing else."""
    await tx.record("test.noted", actor="test", target=target, at=at)


async def breaks(database: Database, audit_key: bytes) -> list[str]:
    """Return what is wrong with the audit trail."""
    return (await database.read(events.verify_trail, audit_key)).breaks
