"""`watchword doctor --data`: what does not fit together is named, on both databases, and what does is not."""

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import Store
from tests.store.made import NOW, access_token, add_token, client, digest, execute, select, user
from tests.store.test_purge import work

from watchword.oauth import token_format
from watchword.store import (
    api_tokens,
    clients,
    grants,
    keys,
    kinds,
    schema,
    soundness,
    tokens,
    user_changes,
    users,
)
from watchword.store.database import Database, drive
from watchword.store.keys import StoredKey
from watchword.store.sqlite.transaction import SqliteTransaction

SECRET = token_format.make("ww", "a", bytes(range(32)))
GRANT = (
    "INSERT INTO grants (id, client_id, user_id, session_id, scope, audience, claims, created_at, started_at, last_used_at, generation) "
    "VALUES ('{}', 'c', 'u', '', '', '', '{{}}', 1, 1, 1, 0)"
)


def family(newest: str = "a", *, id: str = "g", **more: str) -> list[str]:
    """Return the statements that make a grant with a family of refresh tokens."""
    digests = {"family": newest, "refresh_digest": newest} | more
    changes = ", ".join(
        f"{name} = CAST('{digest(one).hex()[:32]}' AS BYTEA)" for name, one in digests.items()
    )
    return [GRANT.format(id), f"UPDATE grants SET {changes} WHERE id = '{id}'"]


async def prepared(store: Store) -> Database:
    database = await store.node()
    await database.write(clients.create_client, client(), actor="a", now=NOW)
    await add_token(database, "lasting", expires_at=None)
    made = [StoredKey("key 0", "ES256", "{}", bytes(100), NOW, None)]
    await database.write(keys.create_keys, "ES256", made, actor="a", now=NOW)
    return database


async def flaws(database: Database) -> set[str]:
    return {flaw.check for flaw in await database.read(soundness.find_flaws, "ww")}


async def test_what_operations_leave_behind_fits_together(store: Store) -> None:
    database = await prepared(store)
    await work(database, 0)
    found = await flaws(database)
    assert found <= {"a signing key is stored in the clear"}, "the tests' own keys are no real ones"
    assert await holding_json(database) <= kinds.DOCUMENTS, "a column of documents is looked at as one"
    await store.close()


def test_a_digest_of_something_secret_is_looked_at_as_one() -> None:
    digests = {
        f"{table.name}.{column}"
        for table in schema.tables(schema.newest())
        for column in table.columns
        if column.endswith("digest")
    }
    # What ended, and what a token with a place in a status list depends on, is no secret.
    assert digests - {"ended.digest", "status_marks.digest"} == set(soundness.DIGESTS)


async def holding_json(database: Database) -> set[str]:
    """Return the columns that hold an object or an array, apart from those of the audit trail, which is read whatever is in it."""
    texts = [
        (table.name, column)
        for table in schema.tables(schema.newest())
        for n, column in enumerate(table.columns)
        if table.kind(n) is str and table.name != "events"
    ]
    sql = "SELECT 1 AS found FROM {0} WHERE {1} LIKE '{{%}}' OR {1} LIKE '[%]' LIMIT 1"
    return {
        f"{table}.{column}"
        for table, column in texts
        if await database.read(select, sql.format(table, column))
    }


async def test_what_is_changed_while_it_is_looked_at_is_no_flaw(store: Store) -> None:
    database, other = await prepared(store), await store.node()
    begun = await flaws(database)
    looking = True

    async def change() -> int:
        version = 1
        while looking:
            one = client(name=f"named {version}")
            more = {"disabled_at": None, "kill": False, "actor": "a", "now": NOW}
            changed = await other.write(clients.update_client, one, expected_version=version, **more)
            assert changed is not None
            version = changed.version
        return version

    changing = asyncio.create_task(change())
    found = [await flaws(database) for _ in range(20)]
    looking = False
    await changing
    assert found == [begun] * 20
    await store.close()


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        pytest.param(
            [*family("a"), *family("a", id="h")],
            "two families share a refresh token",
            id="two families with one refresh token",
        ),
        pytest.param(
            [*family("a"), "UPDATE grants SET generation = 1"],
            "a family has moved on without its superseded token",
            id="a rotation that was done by half",
        ),
        pytest.param(
            [*family("a"), "UPDATE grants SET refresh_digest = NULL"],
            "the newest refresh token of a family is missing",
            id="a family without a token",
        ),
        pytest.param(
            family("a", code_digest="c"),
            "a code that was never used has given a refresh token",
            id="a redemption that was done by half",
        ),
        pytest.param(
            [*family("a"), "UPDATE grants SET refresh_digest = CAST('short' AS BYTEA)"],
            "what is kept of a secret in grants.refresh_digest is no digest",
            id="a secret that is kept as something else",
        ),
        pytest.param(
            [f"UPDATE api_tokens SET name = 'see {SECRET}'"],
            "a credential is stored in the clear",
            id="a credential in a text",
        ),
        pytest.param(
            ["UPDATE api_tokens SET expires_at = NULL", "DELETE FROM api_token_secrets"],
            "a live API token has no secret",
            id="a token that nobody can present",
        ),
        pytest.param(
            ["UPDATE users SET password_hash = 'hunter2'"],
            "a password is not hashed",
            id="a password in the clear",
        ),
    ],
)
async def test_what_does_not_fit_together_is_named(
    store: Store, statements: list[str], expected: str
) -> None:
    database = await prepared(store)
    names = {"canonical_username": "u", "skeleton": "u", "canonical_email": None}
    await database.write(users.create_user, user("u"), **names, password_hash=None, actor="a")
    assert expected not in await flaws(database)
    for statement in statements:
        await database.write(execute, statement)
    assert expected in await flaws(database)
    await store.close()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE api_tokens SET revoked_at = NULL", "an API token lives although it was revoked"),
        ("UPDATE access_tokens SET revoked_at = NULL", "an access token lives although it was revoked"),
        ("UPDATE grants SET ended_at = NULL", "a grant lives although it was ended"),
    ],
)
async def test_what_lives_after_its_end_was_recorded_is_named(
    store: Store, statement: str, expected: str
) -> None:
    database = await prepared(store)
    for made in family():
        await database.write(execute, made)
    await tokens.insert_access_token(database, digest("t"), access_token())
    ended_by = {"actor": "a", "now": NOW}
    await database.write(api_tokens.revoke_token, "lasting", reason="x", **ended_by)
    await database.write(tokens.revoke_access_token, digest("t"), "cl_1", **ended_by)
    await database.write(grants.end_grant, "g", reason="x", **ended_by)
    assert expected not in await flaws(database)
    await database.write(execute, statement)
    assert expected in await flaws(database)
    await store.close()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE api_tokens SET scope = 'orders:write'", "the scope of this API token is not what was recorded"),
        ("UPDATE api_tokens SET expires_at = NULL", "the expires_at of this API token is not what was recorded"),
        ("UPDATE api_tokens SET owner_id = 'ada'", "the owner of this API token is not what was recorded"),
        ("UPDATE api_tokens SET addresses = '[]'", "the addresses of this API token is not what was recorded"),
        ("UPDATE api_tokens SET jkt = NULL", "the jkt of this API token is not what was recorded"),
        ("UPDATE users SET is_admin = 1", "the admin of this account is not what was recorded"),
        ("UPDATE users SET disabled_at = NULL", "the disabled of this account is not what was recorded"),
        ("UPDATE clients SET document = REPLACE(document, 'basic', 'post')", "the document of this client is not what was recorded"),
        ("UPDATE access_tokens SET expires_at = expires_at + 90000", "an access token lives longer than any setting allows"),
        ("UPDATE access_tokens SET scope = 'orders:read orders:write', grant_id = 'g'", "an access token may do more than its grant"),
    ],
)  # fmt: skip
async def test_a_right_that_is_not_what_was_given_is_named(
    store: Store, statement: str, expected: str
) -> None:
    database = await prepared(store)
    for made in family():
        await database.write(execute, made)
    await add_token(database, "narrow", addresses=("10.0.0.0/8",), jkt="thumbprint")
    await tokens.insert_access_token(database, digest("t"), access_token())
    for name in ("u", "v"):
        names = {"canonical_username": name, "skeleton": name, "canonical_email": None}
        await database.write(users.create_user, user(name), **names, password_hash=None, actor="a")
    await database.write(user_changes.set_disabled, "v", disabled=True, actor="a", now=NOW)
    assert expected not in await flaws(database)
    await database.write(execute, statement)
    assert expected in await flaws(database)
    await store.close()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE api_tokens SET expires_at = 'soon'", "api_tokens.expires_at holds no integer in the row lasting"),
        ("UPDATE api_tokens SET scope = x'6f'", "api_tokens.scope holds no text in the row lasting"),
        ("UPDATE api_tokens SET name = CAST(x'61ff' AS TEXT)", "api_tokens.name holds no UTF-8 in the row lasting"),
        ("UPDATE api_tokens SET metadata = '{'", "api_tokens.metadata holds no JSON in the row lasting"),
        ("UPDATE signing_keys SET public_jwk = '{'", "signing_keys.public_jwk holds no JSON in the row key 0"),
        ("UPDATE grants SET wishes = '{'", "grants.wishes holds no JSON in the row g"),
        ("UPDATE grants SET claims = ''", "grants.claims holds no JSON in the row g"),
        ("UPDATE api_tokens SET quota = 0", "api_tokens.quota holds no limit in the row lasting"),
        ("UPDATE api_tokens SET rate_limit = 0", "api_tokens.rate_limit holds no limit in the row lasting"),
        ("UPDATE signing_keys SET sealed_private = 'key'", "signing_keys.sealed_private holds no bytes in the row key 0"),
    ],
)  # fmt: skip
async def test_a_value_that_its_column_cannot_hold_is_named(
    tmp_path: Path, statement: str, expected: str
) -> None:
    store = Store("sqlite", str(tmp_path / "watchword.db"))
    database = await prepared(store)
    await database.write(execute, "UPDATE clients SET name = 'Bücherei'")
    await database.write(execute, GRANT.format("g"))
    assert await database.read(soundness.find_damage) == []
    await database.write(execute, statement)
    assert any(expected in found for found in await database.read(soundness.find_damage))
    await store.close()


async def test_an_index_that_lacks_rows_is_named(tmp_path: Path) -> None:
    store = Store("sqlite", str(tmp_path / "watchword.db"))
    assert await (await prepared(store)).read(soundness.find_damage) == []
    await store.close()
    with contextlib.closing(sqlite3.connect(store.address, isolation_level=None)) as connection:
        connection.execute("CREATE INDEX odd ON facts (name) WHERE name = 'nothing'")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = 'CREATE INDEX odd ON facts (name)' WHERE name = 'odd'"
        )
    # The start does not look at so much, unless its SQLite is a new one (3.53), which refuses it.
    with contextlib.closing(sqlite3.connect(store.address, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        found = drive(soundness.find_damage(SqliteTransaction(connection, None, b"")))
    assert "row 1 missing from index odd" in found


async def test_an_access_token_without_its_grant_is_named(store: Store) -> None:
    database = await prepared(store)
    await tokens.insert_access_token(database, digest("t"), access_token())
    assert await flaws(database) == set()
    await database.write(execute, "UPDATE access_tokens SET grant_id = 'gone'")
    assert await flaws(database) == {"an access token has lost its grant"}
    await store.close()


@pytest.mark.postgres
async def test_it_only_reads(postgres_store: Store) -> None:
    """An operator may run it with a role that can change nothing."""
    await prepared(postgres_store)
    connection = await asyncpg.connect(postgres_store.address)
    await connection.execute(
        f"ALTER DATABASE {postgres_store.address.rpartition('/')[2]} SET default_transaction_read_only = on"
    )
    await connection.close()
    await postgres_store.close()
    reader = await postgres_store.node()
    assert await flaws(reader) == set()
    await postgres_store.close()
