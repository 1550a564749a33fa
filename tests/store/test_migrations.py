"""Migrations: applied once by whoever comes first, and a schema from the future is refused (F-19)."""

import pytest
from tests.fixtures.postgres import Cluster, Store, race
from tests.store.made import execute, select

from watchword.credentials import look_alikes
from watchword.store import migrate
from watchword.store.database import StorageUnavailable, Transaction
from watchword.store.migrate import schema_version

NEWEST = migrate.migrations()[-1][0]


@pytest.fixture
def has_tables() -> bool:
    """Databases begin with nothing at all."""
    return False


async def test_opening_again_changes_nothing(store: Store) -> None:
    applied: list[list[tuple[object, ...]]] = []
    for _ in range(2):
        database = await store.node()
        rows = await database.read(select, "SELECT * FROM schema_versions ORDER BY version")
        applied.append([(row["version"], row["name"], row["applied_at"]) for row in rows])
        assert await database.read(schema_version) == NEWEST
        await store.close()
    assert applied[0] == applied[1]
    assert len(applied[0]) == len(migrate.migrations())


async def test_nodes_that_start_at_once_on_a_new_database_migrate_it_once(store: Store) -> None:
    outcomes = await race(*(store.node() for _ in range(6)))
    assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    rows = await store.opened[0].read(select, "SELECT version FROM schema_versions")
    assert len(rows) == len(migrate.migrations())
    await store.close()


async def test_a_schema_newer_than_the_program_is_refused_and_left_alone(store: Store) -> None:
    database = await store.node()
    await database.write(execute, "INSERT INTO schema_versions VALUES ($1, 'from the future', 1)", NEWEST + 1)
    await store.close()
    with pytest.raises(StorageUnavailable, match=f"schema version {NEWEST + 1}, newer than this release"):
        await store.make().open()


async def test_a_migration_that_was_interrupted_is_done_wholly_the_next_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = migrate.migrations()
    broken = [
        *sound,
        (NEWEST + 1, "broken", ["CREATE TABLE half (a BIGINT)", "INSERT INTO nowhere VALUES (1)"]),
    ]
    await store.node()
    await store.close()
    monkeypatch.setattr(migrate, "migrations", lambda: broken)
    with pytest.raises(StorageUnavailable):
        await store.make().open()
    monkeypatch.setattr(migrate, "migrations", lambda: [*sound, (NEWEST + 1, "mended", broken[-1][2][:1])])
    database = await store.node()
    assert await database.read(schema_version) == NEWEST + 1
    assert await database.read(select, "SELECT a FROM half") == []
    await store.close()


async def test_a_name_that_is_an_address_is_kept_by_the_looks_of_its_domain_only(store: Store) -> None:
    looks = {  # and the old and the new form of each, in an order in which some new ones are still another's old one
        "amie": ("amie", "amie"),
        "arnie": ("amie2", "amie2"),
        "arnie@exarnple.com": ("amie@example.com", "arnie@example.com"),
        "l@b": ("l@b", "l@b"),
        "ivo.miller@example.com": (look_alikes.skeleton("Ivo.Miller@example.com"), "ivo.miller@example.com"),
        "ivo.rniller@example.com": ("ivo.miller@example.com", "ivo.rniller@example.com"),
        # Two that have the same form only now, in either order
        "ian@example.com": (look_alikes.skeleton("Ian@example.com"), "ian@example.com"),
        "ian@exarnple.com": ("ian@example.com", "ian@exarnple.com"),
        "ida@exarnple.com": ("ida@example.com", "ida@exarnple.com"),
        "ida@example.com": (look_alikes.skeleton("Ida@example.com"), "ida@example.com"),
    }
    row = "INSERT INTO users (id, username, canonical_username, skeleton, created_at) VALUES ($1, $1, $1, $2, 0)"

    async def fill(tx: Transaction) -> None:
        for name, (before, _) in looks.items():
            await tx.run(row, name, before)

    with pytest.MonkeyPatch.context() as patch:
        before = [one for one in migrate.migrations() if one[0] < 25]
        patch.setattr(migrate, "migrations", lambda: before)
        await (await store.node()).write(fill)
        await store.close()
    rows = await (await store.node()).read(select, "SELECT canonical_username, skeleton FROM users")
    kept = {name: after for name, (_, after) in looks.items()}
    assert {row["canonical_username"]: row["skeleton"] for row in rows} == kept
    await store.close()


@pytest.mark.postgres
async def test_a_database_that_does_not_keep_unicode_is_refused(postgres_cluster: Cluster) -> None:
    # Before PostgreSQL 15 there is one provider, and no word for it.
    provider = "LOCALE_PROVIDER libc" if postgres_cluster.version >= 15 else ""
    postgres_cluster.sql(f"CREATE DATABASE latin ENCODING 'LATIN1' {provider} LOCALE 'C' TEMPLATE template0")
    with pytest.raises(StorageUnavailable, match="encoding is LATIN1: create it anew"):
        await Store("postgres", postgres_cluster.address("latin")).make().open()
    postgres_cluster.sql("DROP DATABASE latin")


@pytest.mark.postgres
async def test_a_node_needs_no_right_to_create_tables_once_they_are_there(postgres_store: Store) -> None:
    await postgres_store.node()
    await postgres_store.close()
    cluster = postgres_store.cluster
    assert cluster is not None
    name = postgres_store.address.rpartition("/")[2]
    cluster.sql(f"CREATE ROLE {name}_node LOGIN PASSWORD 'node'")
    cluster.sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}_node", name)
    address = f"postgresql://{name}_node:node@127.0.0.1:{cluster.port}/{name}"
    limited = Store("postgres", address)
    assert await (await limited.node()).read(schema_version) == NEWEST
    await limited.close()
    cluster.sql(f"DROP OWNED BY {name}_node", name)
    cluster.sql(f"DROP ROLE {name}_node")
