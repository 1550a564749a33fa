"""Connecting to PostgreSQL: TLS that is verified, and failures that name what was looked for."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from tests.fixtures.certificates import make
from tests.fixtures.postgres import AUDIT_KEY, Cluster, Store, give
from tests.store.backends import cluster_of, until
from tests.store.made import select

from watchword.store.copying import opening
from watchword.store.database import StorageUnavailable

pytestmark = pytest.mark.postgres
ENCRYPTED = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture
def authorities(postgres_cluster: Cluster, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The authority of the cluster, which speaks TLS meanwhile, as `localhost` alone; and one of somebody else."""
    right, wrong = make(tmp_path, "right", is_authority=True), make(tmp_path, "wrong", is_authority=True)
    served = make(tmp_path, "localhost", issuer=right, names=(x509.DNSName("localhost"),))
    held = postgres_cluster.folder / "tls.pem"
    held.write_bytes(served.path.read_bytes())
    held.chmod(0o600)
    give(held)
    for setting in (f"ssl_cert_file = '{held}'", f"ssl_key_file = '{held}'", "ssl = on"):
        postgres_cluster.sql(f"ALTER SYSTEM SET {setting}")
    postgres_cluster.sql("SELECT pg_reload_conf()")
    yield right.path, wrong.path
    for name in ("ssl_cert_file", "ssl_key_file", "ssl"):
        postgres_cluster.sql(f"ALTER SYSTEM RESET {name}")
    postgres_cluster.sql("SELECT pg_reload_conf()")


def verified(store: Store, authority: Path, host: str = "localhost") -> Store:
    """Return the database, reached over TLS under a name and verified by an authority."""
    address = store.address.replace("127.0.0.1", host)
    return Store(store.kind, f"{address}?sslmode=verify-full&sslrootcert={authority}", store.cluster)


async def test_a_server_is_verified_by_the_authority_that_the_address_names(
    postgres_store: Store, authorities: tuple[Path, Path]
) -> None:
    right, wrong = authorities
    cluster = cluster_of(postgres_store)
    await until(lambda: cluster.sql("SHOW ssl").strip() == "on")
    trusted = verified(postgres_store, right)
    database = await trusted.node()
    assert [row["ssl"] for row in await database.read(select, ENCRYPTED)] == [True]
    await trusted.close()
    for untrusted in (verified(postgres_store, wrong), verified(postgres_store, right, "127.0.0.1")):
        with pytest.raises(StorageUnavailable, match="certificate verify failed"):
            await untrusted.make().open()
        with pytest.raises(StorageUnavailable, match="certificate verify failed"):
            await opening.open_bulk(untrusted.address, AUDIT_KEY)


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("sslmode=verify-full&sslrootcert=/nowhere/ca.crt", "No such file or directory: '/nowhere/ca.crt'"),
        ("sslmode=require&sslcert=/nowhere/us.crt", "No such file or directory: '/nowhere/us.crt'"),
        ("sslmode=verify-ca&sslrootcert=/", "Is a directory: '/'"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named(postgres_store: Store, option: str, named: str) -> None:
    address = f"{postgres_store.address}?{option}"
    with pytest.raises(StorageUnavailable, match=re.escape(named)) as refused:
        await Store("postgres", address).make().open()
    assert cluster_of(postgres_store).password not in refused.value.reason
    with pytest.raises(StorageUnavailable, match=re.escape(named)):
        await opening.open_bulk(address, AUDIT_KEY)


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("postgresql://u:XQZJ@db.invalid:5433/ww", "'db.invalid:5433'"),
        ("postgresql://u:XQZJ@/ww?host=/nowhere", "No such file or directory: '/nowhere'"),
        ("postgresql://u:XQZJ@%2Fnowhere/ww", "No such file or directory: '/nowhere'"),
    ],
    ids=["a host without an address", "a folder without a socket", "such a folder as the host"],
)
async def test_a_place_that_is_not_there_is_named_without_the_password(address: str, named: str) -> None:
    with pytest.raises(StorageUnavailable, match=re.escape(named)) as refused:
        await Store("postgres", address).make().open()
    assert "XQZJ" not in refused.value.reason


async def test_a_file_that_the_environment_names_is_named(
    postgres_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await postgres_store.node()
    monkeypatch.setenv("PGSSLROOTCERT", "/nowhere/ca.crt")
    with pytest.raises(StorageUnavailable, match=re.escape("'/nowhere/ca.crt'")):
        await Store("postgres", f"{postgres_store.address}?sslmode=verify-full").make().open()
