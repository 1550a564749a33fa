"""Connections for copying whole tables: what fails is said, and what changes meanwhile is carried over as fast as nodes change it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.fixtures.postgres import AUDIT_KEY, Store
from tests.store.made import NOW, digest, note

from watchword.store import schema, tokens, users
from watchword.store.copying import bulk, capture, transfer
from watchword.store.copying.opening import open_bulk
from watchword.store.database import Database, StorageUnavailable, Transaction
from watchword.store.users import User

TABLES = schema.tables(schema.newest())


class Counted:
    """A connection for copying that counts how often the database is asked."""

    def __init__(self, bulk: Any) -> None:
        self.bulk, self.asked = bulk, 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        self.asked += name in ("one", "all", "run", "many")
        return getattr(self.bulk, name)  # type: ignore[no-any-return]  # whatever it has


@pytest_asyncio.fixture
async def moving(store: Store, tmp_path: Path) -> AsyncIterator[tuple[Database, Any, Any]]:
    """A database whose changes are noted, the connection that reads them, and the one to an empty target."""
    database = await store.node()
    source = Counted(await open_bulk(store.address))
    target = Counted(await open_bulk(f"sqlite:///{tmp_path}/target.db", AUDIT_KEY, create=True))
    await source.begin()
    await capture.begin_capture(source.bulk, TABLES, "the move")
    await source.commit()
    await target.begin()
    await transfer.prepare(target.bulk, schema.newest(), "the move", NOW)
    await target.commit()
    yield database, source, target
    await target.close()
    await source.begin()
    await capture.end_capture(source.bulk, TABLES)
    await source.commit()
    await source.close()


async def test_changes_are_carried_over_many_at_a_time(moving: tuple[Database, Any, Any]) -> None:
    database, source, target = moving
    for n in range(250):
        await database.write(tokens.use_identifier, digest(f"proof {n}"), NOW + n)
    source.asked = target.asked = 0
    assert await transfer.catch_up(source, target, TABLES) >= 250
    assert source.asked + target.asked < 100, "fewer than there are rows"
    found = await target.all("SELECT digest, expires_at FROM used_identifiers ORDER BY expires_at")
    assert [(row["digest"], row["expires_at"]) for row in found] == [
        (digest(f"proof {n}"), NOW + n) for n in range(250)
    ]


async def test_what_changes_during_a_comparison_is_carried_over_meanwhile(
    moving: tuple[Database, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    database, source, target = moving
    compared = next(table for table in TABLES if table.name == "used_identifiers")
    for n in range(60):
        await database.write(tokens.use_identifier, digest(f"proof {n}"), NOW)
    await transfer.catch_up(source, target, TABLES)
    monkeypatch.setattr(bulk, "BATCH", 20)
    for n in range(60, 90):
        await database.write(tokens.use_identifier, digest(f"proof {n}"), NOW)
    assert (await transfer.compare(source, target, TABLES, compared))[0] > 60
    assert len(await capture.changes(source, TABLES)) <= 20, "each batch reads all that is noted"


async def test_a_value_that_another_row_still_holds_is_carried_over_after_it(
    moving: tuple[Database, Any, Any],
) -> None:
    database, source, target = moving
    for name in ("ada", "bob", "eve"):
        user, forms = User(id=f"user_{name}", username=name), {"canonical_username": name, "skeleton": name}
        await database.write(
            users.create_user, user, canonical_email=None, password_hash=None, actor="test", **forms
        )
    await transfer.catch_up(source, target, TABLES)

    async def rename(tx: Transaction) -> None:
        for name, new in (("eve", "eva"), ("bob", "eve"), ("ada", "bob")):
            await tx.run(
                "UPDATE users SET canonical_username = $1, skeleton = $1 WHERE id = $2", new, f"user_{name}"
            )

    await database.write(rename)
    await transfer.catch_up(source, target, TABLES)
    found = await target.all("SELECT skeleton FROM users ORDER BY id")
    assert [row["skeleton"] for row in found] == ["bob", "eve", "eva"]


async def test_a_copy_that_fails_while_it_is_recorded_says_so(store: Store) -> None:
    await store.node()
    for is_open in (True, False):
        bulk = await open_bulk(store.address, AUDIT_KEY)
        await bulk.begin()
        if is_open:
            await note(bulk, "copied")
            await bulk.commit()
        await bulk.close()
    with pytest.raises(StorageUnavailable):
        await note(bulk, "copied")
