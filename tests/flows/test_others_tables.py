"""A database that holds tables of another program, which are called like ours: they are left alone."""

from pathlib import Path

import pytest
from tests.fixtures.postgres import Store
from tests.fixtures.servers import open_server
from tests.flows.test_backup import NOW, settings_of, target

from watchword.flows.databases import backup, move
from watchword.flows.secrets.master_key import existing_master_keys
from watchword.oauth.errors import OAuthError
from watchword.store.copying import opening
from watchword.store.database import StorageUnavailable

__all__ = ["target"]


async def _users(target: Store, versions: str) -> int:
    """Return how many users a table of that name has, which is another program's, as is the table of `versions`."""
    bulk = await opening.open_bulk(target.address, create=True)
    try:
        await bulk.begin()
        if not await bulk.has_table("users"):
            await bulk.run("CREATE TABLE users (login TEXT)")
            await bulk.run("INSERT INTO users VALUES ('grace')")
            for statement in versions.split("; ") if versions else ():
                await bulk.run(f"{statement.format('schema_versions')}")
        found = await bulk.all("SELECT login FROM users")
        await bulk.commit()
        return len(found)
    finally:
        await bulk.close()


@pytest.mark.parametrize(
    "versions",
    [
        "",
        "CREATE TABLE {} (version TEXT PRIMARY KEY)",
        "CREATE TABLE {} (version BIGINT PRIMARY KEY, name TEXT, applied_at BIGINT); INSERT INTO {} VALUES (1, 'users', 0)",
    ],
    ids=["with no versions", "with versions of its own", "with versions as ours"],
)
async def test_the_tables_of_another_program_are_left_alone_even_when_asked(
    tmp_path: Path, target: Store, versions: str
) -> None:
    assert await _users(target, versions) == 1
    async with open_server(tmp_path) as server:
        masters, kept = existing_master_keys(server.settings), tmp_path / "b.gz"
        await backup.write_backup(server.settings, kept, NOW)
        into = settings_of(server, database=target.address, key_file=f"{server.settings.database}.key")
        for replace in (False, True):
            with pytest.raises(OAuthError, match="conflict") as refused:
                await backup.restore_backup(into, kept, NOW, replace=replace)
            assert "table users of something else" in refused.value.description
            with pytest.raises(OAuthError, match="conflict") as refused:
                await move.move(server.settings.database, target.address, masters, replace=replace)
            assert "table users of something else" in refused.value.description
        assert not await move.abandon(server.settings.database), "none had begun"
    if versions:
        with pytest.raises(StorageUnavailable, match="schema_versions of something else"):
            await target.node()
    assert await _users(target, versions) == 1
