"""A restore has the PostgreSQL database alone: no node that starts meanwhile serves beside it, where the database has locks for that."""

from pathlib import Path

import pytest
from tests.fixtures.postgres import NUMBERS, Cluster, Store
from tests.fixtures.servers import open_server

from watchword.store.copying import opening
from watchword.store.database import StorageUnavailable

pytestmark = pytest.mark.postgres


async def test_a_node_that_starts_beside_a_restore_waits_for_its_end_or_is_refused(
    postgres_store: Store, tmp_path: Path
) -> None:
    """It would go on with keys, lists and a chain of events of the database that is about to be replaced."""
    home = postgres_store.address
    async with open_server(tmp_path, on=home) as server:
        assert (await server.token()).secret
    restoring = await opening.open_bulk(home, alone=True)
    try:
        with pytest.raises(StorageUnavailable, match="let it finish first"):
            async with open_server(tmp_path, on=home, database_timeout=1):
                pass
    finally:
        await restoring.close()
    async with open_server(tmp_path, on=home) as server:
        assert (await server.token()).secret


async def test_a_restore_in_one_schema_waits_for_no_node_of_another_and_holds_none_up(
    postgres_cluster: Cluster, tmp_path: Path
) -> None:
    name = f"schemas_{next(NUMBERS)}"
    postgres_cluster.sql(f"CREATE DATABASE {name}")
    postgres_cluster.sql("CREATE SCHEMA one; CREATE SCHEMA two", name)
    homes = {
        schema: f"{postgres_cluster.address(name)}?search_path={schema}"
        for schema in ("one", "two", "public")
    }
    for served, restored in (("one", "two"), ("two", "public"), ("public", "one")):
        (tmp_path / served).mkdir()
        async with open_server(tmp_path / served, on=homes[served]) as server:
            assert (await server.token()).secret
            restoring = await opening.open_bulk(homes[restored], alone=True)
            async with open_server(tmp_path / served, on=homes[served], database_timeout=1):
                assert (await server.token()).secret
            await restoring.close()
    postgres_cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_database_that_lacks_such_locks_is_served_all_the_same(
    postgres_cluster: Cluster, tmp_path: Path
) -> None:
    name = f"lacking_{next(NUMBERS)}"
    postgres_cluster.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    postgres_cluster.sql(f"CREATE DATABASE {name} OWNER {name}")
    revoke = "REVOKE EXECUTE ON FUNCTION pg_advisory_lock_shared(bigint) FROM PUBLIC"
    postgres_cluster.sql(revoke, name)
    home = f"postgresql://{name}:x@127.0.0.1:{postgres_cluster.port}/{name}"
    async with open_server(tmp_path, on=home) as server:
        assert (await server.token()).secret
    postgres_cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")
    postgres_cluster.sql(f"DROP ROLE {name}")
