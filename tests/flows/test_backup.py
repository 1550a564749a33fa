"""Backup and restore: while serving, on and between both databases, wholly or not at all (F-18)."""

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.fixtures.postgres import Cluster, Store, fresh_postgres, impatience
from tests.fixtures.rows import in_turn
from tests.fixtures.servers import ISSUER, Server, open_server

from watchword.flows.databases import backup, schema_state, start
from watchword.flows.secrets.master_key import existing_master_keys
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store import outbox, schema
from watchword.store.audit import events
from watchword.store.copying import opening, restoring
from watchword.store.database import StorageUnavailable

NOW = 1_900_000_000


def settings_of(server: Server, **changed: object) -> Settings:
    return Settings(
        **{"issuer": ISSUER, "database": server.settings.database, "key_file": server.settings.key_file}
        | changed
    )


@pytest_asyncio.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty database to restore to."""
    if request.param == "sqlite":
        yield Store("sqlite", str(tmp_path / "restored.db"))
        return
    cluster: Cluster = request.getfixturevalue("postgres_cluster")
    async with fresh_postgres(cluster, has_tables=False) as made:
        yield made


def reopened(server: Server) -> contextlib.AbstractAsyncContextManager[Server]:
    """Open a server that was closed once more."""
    same = {"database": server.settings.database, "key_file": server.settings.key_file}
    return open_server(Path(server.settings.database).parent, **same)


async def fill(server: Server) -> tuple[str, str]:
    """Make a token that lives and one that is revoked."""
    alive, dead = await server.token(owner="ä€😀"), await server.token()
    client = await server.client(access_token_format="opaque")
    for _ in range(3):
        await server.grant(client)
    await server.runtime.database.write(_revoke, dead.token.id)
    return alive.secret, dead.secret


async def _revoke(tx, token_id: str) -> None:
    await tx.run("UPDATE api_tokens SET revoked_at = 1 WHERE id = $1", token_id)


def content(path: Path) -> bytes:
    """Return what a backup holds."""
    return gzip.decompress(path.read_bytes())


async def active(server: Server, token: str) -> bool:
    headers = {"authorization": f"Bearer {token}"}
    return (await server.http.get("/api/v1/tokens/self", headers=headers)).status_code == 200


async def test_a_restored_database_knows_the_same_tokens_keys_and_trail(
    server: Server, target: Store, tmp_path: Path
) -> None:
    alive, dead = await fill(server)
    kids = {key.kid for key in await server.runtime.keyring.verification_keys()}
    made = await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    restored = await backup.restore_backup(
        settings_of(server, database=target.address), tmp_path / "b.gz", NOW
    )
    assert restored.tables == made.tables
    key_file = str(server.settings.key_file)
    async with open_server(tmp_path, database=target.address, key_file=key_file) as again:
        assert await active(again, alive)
        assert not await active(again, dead)
        assert {key.kid for key in await again.runtime.keyring.verification_keys()} == kids
    again_made = await backup.write_backup(
        settings_of(server, database=target.address), tmp_path / "c.gz", NOW
    )
    grown = {name for name, n in again_made.tables.items() if n != made.tables[name]}
    assert grown <= {"ended", "events", "facts", "token_usage"}, "what the restore itself adds"


async def test_a_backup_is_one_state_while_others_write(server: Server, tmp_path: Path) -> None:
    """Every event of the audit trail has the token that it tells of, whenever the snapshot was taken."""
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            await server.token()

    writing = asyncio.create_task(write())
    for n in range(3):
        await asyncio.sleep(0)
        await backup.write_backup(settings_of(server), tmp_path / f"{n}.gz", NOW)
        lines = [json.loads(line) for line in content(tmp_path / f"{n}.gz").splitlines()]
        tables = schema.tables(schema.newest())
        counts = {line["table"]: line["rows"] for line in lines if isinstance(line, dict) and "table" in line}
        assert counts.keys() == {table.name for table in tables}
        told = sum("token.created" in line for line in lines if isinstance(line, list))
        assert told == counts["api_tokens"]
    stop.set()
    await writing


async def test_no_secret_of_the_keys_is_in_the_file(server: Server, tmp_path: Path) -> None:
    alive, _ = await fill(server)
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    text = content(tmp_path / "b.gz")
    assert b"api_tokens" in text
    assert alive.encode() not in text
    assert Path(str(server.settings.key_file)).read_bytes().strip() not in text
    assert (tmp_path / "b.gz").stat().st_mode & 0o077 == 0


def _cut(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data)[:-200])


def _change(data: bytes) -> bytes:
    return gzip.compress(gzip.decompress(data).replace(b"orders:read", b"watchword:a"))


def _forge(data: bytes) -> bytes:
    """Change a row and the checksum of its table, as who does not have the master key can."""
    import hashlib

    lines = gzip.decompress(data).replace(b"orders:read", b"watchword:a").splitlines()
    digest = hashlib.sha256()
    for n, line in enumerate(lines):
        if line.startswith(b"["):
            digest.update(line + b"\n")
        elif b'"table"' in line:
            lines[n] = json.dumps(json.loads(line) | {"sha256": digest.hexdigest()}).encode()
            digest = hashlib.sha256()
        else:
            digest = hashlib.sha256()
    return gzip.compress(b"\n".join(lines) + b"\n")


@pytest_asyncio.fixture
async def filled(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with something to back up."""
    async with open_server(tmp_path, key_file=str(tmp_path / "key")) as server:
        await fill(server)
        yield server


@in_turn(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="cut in half"),
        pytest.param(_cut, id="without its end"),
        pytest.param(lambda data: data[:-20] + bytes(20), id="overwritten at its end"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"hello", id="something else"),
        pytest.param(lambda data: gzip.compress(b"[]\n{}\n"), id="other lines"),
        pytest.param(_change, id="with a changed row"),
        pytest.param(_forge, id="with a changed row and its checksum"),
        pytest.param(
            lambda data: gzip.compress(gzip.decompress(data) + b"[]\n"), id="with something behind its end"
        ),
    ],
)
async def test_a_damaged_backup_is_refused_and_nothing_is_made(
    filled: Server, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    file, other = tmp_path / "b.gz", settings_of(filled, database=str(tmp_path / "new.db"))
    file.unlink(missing_ok=True)
    await backup.write_backup(settings_of(filled), file, NOW)
    backup.read_backup(file, existing_master_keys(filled.settings))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(OAuthError, match="invalid_request") as refused:
        await backup.restore_backup(other, file, NOW)
    assert "cannot be used" in refused.value.description
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "b.gz cannot be read: No such file or directory."),
        (b"hello", "it is damaged, or no file of `watchword backup`."),
        (gzip.compress(b"{}\n")[:12], "it is cut off."),
    ],
    ids=["absent", "another file", "cut off"],
)
async def test_what_is_wrong_with_a_file_is_said_in_words(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    async with open_server(tmp_path, key_file=str(tmp_path / "key")) as server:
        file = tmp_path / "b.gz"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(OAuthError) as refused:
            await backup.restore_backup(settings_of(server, database=str(tmp_path / "new.db")), file, NOW)
        assert words in refused.value.description


async def test_a_backup_that_changes_between_its_check_and_its_use_is_refused(
    server: Server, target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.token(scope="orders:read")
    path, settings = tmp_path / "b.gz", settings_of(server, database=target.address)
    await backup.write_backup(settings_of(server), path, NOW)
    honest, open_bulk = path.read_bytes(), opening.open_bulk

    async def swapped(*args: Any, **more: Any) -> Any:
        path.write_bytes(gzip.compress(gzip.decompress(honest).replace(b"orders:read", b"watchword:a")))
        return await open_bulk(*args, **more)

    monkeypatch.setattr(opening, "open_bulk", swapped)
    with pytest.raises(OAuthError) as refused:
        await backup.restore_backup(settings, path, NOW)
    assert "changed" in refused.value.description
    monkeypatch.undo()
    path.write_bytes(honest)
    await backup.restore_backup(settings, path, NOW)


async def test_nothing_is_backed_up_under_a_key_that_does_not_belong_to_the_database(
    server: Server, tmp_path: Path
) -> None:
    await backup.write_backup(settings_of(server), tmp_path / "honest.gz", NOW)
    (tmp_path / "other key").write_text("ab" * 32)
    (tmp_path / "other key").chmod(0o600)
    with pytest.raises(SettingsError, match="does not belong to this database"):
        await backup.write_backup(
            settings_of(server, key_file=str(tmp_path / "other key")), tmp_path / "b.gz", NOW
        )
    assert not (tmp_path / "b.gz").exists()


async def test_another_master_key_is_refused_and_none_is_made(server: Server, tmp_path: Path) -> None:
    made = await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    elsewhere = settings_of(server, database=str(tmp_path / "new.db"), key_file=str(tmp_path / "other key"))
    with pytest.raises(SettingsError, match=rf"master key is {made.master_key}\) to \S*/other key first"):
        await backup.restore_backup(elsewhere, tmp_path / "b.gz", NOW)
    (tmp_path / "other key").write_text("ab" * 32)
    (tmp_path / "other key").chmod(0o600)
    with pytest.raises(OAuthError) as refused:
        await backup.restore_backup(elsewhere, tmp_path / "b.gz", NOW)
    assert "master key" in refused.value.description
    assert not (tmp_path / "new.db").exists()


async def test_a_database_with_something_in_it_is_left_alone_unless_asked(
    server: Server, tmp_path: Path
) -> None:
    alive, _ = await fill(server)
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    later = await server.token()
    before = server.runtime.database.version()
    await server.app.close()
    with pytest.raises(OAuthError, match="conflict"):
        await backup.restore_backup(settings_of(server), tmp_path / "b.gz", NOW)
    async with reopened(server) as again:
        assert await active(again, later.secret)
    await backup.restore_backup(settings_of(server), tmp_path / "b.gz", NOW, replace=True)
    async with reopened(server) as again:
        assert await active(again, alive)
        assert not await active(again, later.secret)
        if not server.settings.is_postgres:
            assert again.runtime.database.version() > before


async def test_a_database_that_is_served_is_not_restored(server: Server, tmp_path: Path) -> None:
    """A node goes on with the chain of events that it has in memory, and the trail would tell of tampering ever after."""
    alive, _ = await fill(server)
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    await server.token()
    with impatience(), pytest.raises(StorageUnavailable, match=r"stop .*then call this again"):
        await backup.restore_backup(settings_of(server), tmp_path / "b.gz", NOW, replace=True)
    await server.token()
    await server.app.close()
    await backup.restore_backup(settings_of(server), tmp_path / "b.gz", NOW, replace=True)
    async with reopened(server) as again:
        assert await active(again, alive)
        await again.token()
        found = await again.runtime.database.read(events.verify_trail, again.runtime.root.derive("audit"))
        assert found.breaks == []


async def test_a_restore_that_fails_half_way_leaves_what_was_there(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(server)
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    later = await server.token()

    async def fail(*_: object, **__: object) -> None:
        raise StorageUnavailable("the disk is full")

    await server.app.close()
    elsewhere = settings_of(server, database=str(tmp_path / "n.db"))
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "end_the_uncertain", fail)
        with pytest.raises(StorageUnavailable):
            await backup.restore_backup(settings_of(server), tmp_path / "b.gz", NOW, replace=True)
        with pytest.raises(StorageUnavailable):
            await backup.restore_backup(elsewhere, tmp_path / "b.gz", NOW)
    async with reopened(server) as again:
        assert await active(again, later.secret)
    with pytest.raises(StorageUnavailable, match="is empty"):
        await start.open_runtime(elsewhere)
    await backup.restore_backup(elsewhere, tmp_path / "b.gz", NOW)


@pytest.mark.parametrize("exact", [False, True], ids=["by default it ends", "exactly as it was it lives"])
async def test_what_may_have_been_revoked_since_is_ended(server: Server, tmp_path: Path, exact: bool) -> None:
    """F-18, I2: a token revoked after the backup must not live again."""
    client = await server.client(access_token_format="opaque", scope="introspect")
    token = (await server.grant(client)).json()["access_token"]
    assert (await server.post("/introspect", client, token=token)).json()["active"]
    now = server.runtime.now()
    await server.runtime.database.write(outbox.add_mail, outbox.Sealed("mail_1", b"sealed", now, now + 60))
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", now)
    await server.post("/revoke", client, token=token)
    assert not (await server.post("/introspect", client, token=token)).json()["active"]
    await server.app.close()
    await backup.restore_backup(settings_of(server), tmp_path / "b.gz", now, replace=True, exact=exact)
    async with reopened(server) as again:
        assert (await again.post("/introspect", client, token=token)).json()["active"] is exact
        assert await again.runtime.database.read(outbox.is_mail_due, now) is exact, (
            "it may have been sent since"
        )


async def test_api_tokens_are_ended_when_asked(server: Server, tmp_path: Path) -> None:
    alive, _ = await fill(server)
    await backup.write_backup(settings_of(server), tmp_path / "b.gz", NOW)
    await server.app.close()
    await backup.restore_backup(
        settings_of(server), tmp_path / "b.gz", NOW, replace=True, end_api_tokens=True
    )
    async with reopened(server) as again:
        assert not await active(again, alive)


async def test_a_backup_of_an_older_schema_is_brought_up_to_date(
    server: Server, target: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(server)
    file, old = tmp_path / "b.gz", schema.newest()
    made = await backup.write_backup(settings_of(server), file, NOW)
    from watchword.store import migrate

    known = migrate.migrations()
    column = "ALTER TABLE users ADD COLUMN colour TEXT"
    monkeypatch.setattr(migrate, "migrations", lambda: [*known, (old + 1, "colour", [column])])
    elsewhere = settings_of(server, database=target.address)
    await backup.restore_backup(elsewhere, file, NOW)
    state = await schema_state.status(elsewhere)
    assert (made.schema_version, state.version, state.pending) == (old, old + 1, ())
    assert (await schema_state.status(settings_of(server))).pending == (f"{old + 1:04}_colour",)
    monkeypatch.setattr(migrate, "migrations", lambda: known[:-1])
    with pytest.raises(OAuthError) as refused:
        await backup.restore_backup(settings_of(server, database=str(tmp_path / "n.db")), file, NOW)
    assert "newer than this release knows" in refused.value.description
