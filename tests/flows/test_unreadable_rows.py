"""A row that a broken disk has left unreadable: a fault of the store, said as such; neither a failure nor the fault of who asks."""

import contextlib
import sqlite3
from pathlib import Path

import httpx
import pytest
from tests.fixtures.servers import Server, open_server
from tests.store.made import execute

from watchword.store import documents, fitting
from watchword.store.database import StorageUnavailable


async def introspect(server: Server) -> httpx.Response:
    """Ask about an opaque access token, of a client that may ask."""
    client = await server.client(
        grant_types=["client_credentials"], scope="orders:read introspect", access_token_format="opaque"
    )
    token = (await server.grant(client)).json()["access_token"]
    await server.runtime.database.write(execute, server.extra["statement"])
    return await server.post("/introspect", client, token=token)


async def show_own(server: Server) -> httpx.Response:
    """Ask with an API token about itself."""
    secret = (await server.token(addresses=["127.0.0.0/8"])).secret
    await server.runtime.database.write(execute, server.extra["statement"])
    return await server.http.get("/api/v1/tokens/self", headers={"authorization": f"Bearer {secret}"})


@pytest.mark.parametrize(
    ("statement", "ask", "status"),
    [
        ("UPDATE facts SET value = value", introspect, 200),
        ("UPDATE access_tokens SET claims = '{'", introspect, 503),
        ("UPDATE clients SET document = '{'", introspect, 503),
        ("UPDATE clients SET document = REPLACE(document, 'client_secret_basic', 'client_secret_music')", introspect, 503),
        ("UPDATE facts SET value = value", show_own, 200),
        ("UPDATE api_tokens SET metadata = '{'", show_own, 503),
        ("UPDATE api_tokens SET addresses = '[1]'", show_own, 503),
        ("UPDATE api_tokens SET addresses = '[\"127.0.0.0/33\"]'", show_own, 401),
    ],
)  # fmt: skip
async def test_an_unreadable_row_is_a_fault_of_the_store(
    server: Server, statement: str, ask: object, status: int
) -> None:
    server.extra["statement"] = statement
    answer = await ask(server)  # type: ignore[operator]  # one of the two above
    assert answer.status_code == status, answer.text
    assert ("retry-after" in answer.headers) is (status == 503)


async def refresh_grant(server: Server) -> httpx.Response:
    """Have a token signed."""
    client = await server.client(grant_types=["client_credentials"])
    await server.runtime.database.write(execute, server.extra["statement"])
    await server.runtime.keyring.reload()
    return await server.grant(client)


@pytest.mark.parametrize(
    ("statement", "ask", "status"),
    [
        ("UPDATE facts SET value = value", show_own, 200),
        ("UPDATE api_tokens SET expires_at = 'later'", show_own, 503),
        ("UPDATE api_tokens SET quota = x'00'", show_own, 503),
        ("UPDATE api_tokens SET path = x'00'", show_own, 503),
        ("UPDATE api_tokens SET quota = 0", show_own, 503),
        ("UPDATE api_tokens SET rate_limit = 0", show_own, 503),
        ("UPDATE api_token_secrets SET expires_at = 'later'", show_own, 503),
        ("UPDATE api_tokens SET owner_kind = 'uses'", show_own, 503),
        ("UPDATE facts SET value = value", introspect, 200),
        ("UPDATE access_tokens SET issued_at = x'00'", introspect, 503),
        ("UPDATE access_tokens SET expires_at = 'later'", introspect, 503),
        ("UPDATE client_secrets SET digest = 'text'", introspect, 503),
        ("UPDATE client_secrets SET expires_at = 'later'", introspect, 503),
        ("UPDATE clients SET valid_from = 'later'", introspect, 503),
        ("UPDATE facts SET value = value", refresh_grant, 200),
        ("UPDATE signing_keys SET activates_at = NULL", refresh_grant, 503),
        ("UPDATE signing_keys SET revoked_at = 5", refresh_grant, 503),
    ],
)
async def test_what_is_of_another_kind_than_its_column_is_a_fault_of_the_store(
    tmp_path: Path, statement: str, ask: object, status: int
) -> None:
    """As SQLite keeps it after a broken disk, and PostgreSQL never."""
    async with open_server(tmp_path) as server:
        server.extra["statement"] = statement
        answer = await ask(server)  # type: ignore[operator]  # one of the three above
        assert answer.status_code == status, answer.text
        assert ("retry-after" in answer.headers) is (status == 503)


async def test_a_text_that_is_no_utf_8_is_told_of_without_what_is_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_server(tmp_path) as server:
        # "orders:read" with a byte that is none
        server.extra["statement"] = "UPDATE api_tokens SET name = CAST(x'6f7264657273ff' AS TEXT)"
        answer = await show_own(server)
    logged = capsys.readouterr()
    assert answer.status_code == 503
    assert "UTF-8 column 'name'" in logged.out + logged.err, "what is wrong is said"
    assert "orders" not in (logged.out + logged.err + answer.text).replace("orders:read", "")


OF_A_KEY = "UPDATE signing_keys SET {} WHERE algorithm = 'ES256' AND activates_at > 0"


@pytest.mark.parametrize(
    "statement",
    [
        OF_A_KEY.format("algorithm = 'later'"),
        OF_A_KEY.format("algorithm = x'00'"),
        OF_A_KEY.format("kid = x'00'"),
        OF_A_KEY.format("public_jwk = x'00'"),
        OF_A_KEY.format("sealed_private = x'00'"),
        "UPDATE secrets SET sealed = x'00' WHERE name = 'dpop nonces'",
    ],
)
async def test_a_key_that_cannot_be_read_stops_the_start_with_the_reason(
    tmp_path: Path, statement: str
) -> None:
    async with open_server(tmp_path) as server:
        await server.runtime.database.write(execute, statement)
    with pytest.raises(StorageUnavailable, match="a row cannot be read"):
        async with open_server(tmp_path):
            pass


async def test_a_former_key_that_cannot_be_read_is_a_fault_of_the_store(tmp_path: Path) -> None:
    async with open_server(tmp_path) as server:
        keyring, settings = server.runtime.keyring, server.settings
        await keyring.rotate("ES256", actor="test")
        server.clock.advance(settings.signing_key_lifetime + settings.signing_key_overlap)
        assert await keyring.former_keys()
        for damaged in ("{", "[]", "{}"):
            await server.runtime.database.write(execute, "UPDATE signing_keys SET public_jwk = $1", damaged)
            with pytest.raises(StorageUnavailable, match="a row cannot be read"):
                await keyring.former_keys()


def test_what_is_read_is_of_its_kind_whatever_it_is_called_in_a_statement() -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row

        def read(sql: str) -> None:
            fitting.check(sql, connection.execute(sql).fetchone())

        read("SELECT 5 AS expires_at")
        read("SELECT 'later' AS expires_at")  # computed: it is none of ours
        read("SELECT a.expires_at AS until FROM (SELECT 5 AS expires_at) a")
        read(
            "SELECT expires_at, id FROM (SELECT 5 AS other, 6 AS expires_at, 'x' AS id) LEFT JOIN (SELECT 1)"
        )
        for wrong in ("x''", "'5'", "5.0"):
            inner = "(SELECT 5 AS other) a JOIN t b"
            connection.execute("CREATE TEMP TABLE IF NOT EXISTS t (expires_at)")
            connection.execute("DELETE FROM t")
            connection.execute(f"INSERT INTO t VALUES ({wrong})")
            for sql in ("SELECT expires_at FROM t", "SELECT b.expires_at AS until FROM " + inner):
                with pytest.raises(StorageUnavailable, match="expires_at"):
                    read(sql)


@pytest.mark.parametrize("kept", ["later", b"\x00", None, 1.5], ids=repr)
def test_what_is_no_integer_where_one_was_kept_is_a_fault_of_the_store(kept: object) -> None:
    documents.check_whole({"issued_at": 1, "expires_at": 2}, "issued_at", "expires_at")  # type: ignore[arg-type]  # as a row
    with pytest.raises(StorageUnavailable, match="expires_at"):
        documents.check_whole({"issued_at": 1, "expires_at": kept}, "issued_at", "expires_at")  # type: ignore[arg-type]  # as a row
