"""ST-01 to ST-05: when storage fails, nothing is promised that is not kept, nobody is told that a good token is bad, and it heals."""

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.accounts import another
from tests.fixtures.code_flow import obtain_code, redeem, refresh, register
from tests.fixtures.people import PASSWORD, Person
from tests.fixtures.postgres import Store
from tests.fixtures.served import server_with
from tests.fixtures.servers import Server, open_server, together
from tests.flows.test_first_sign_in import csrf_of

from watchword.flows.users import accounts
from watchword.store import faults, soundness
from watchword.store.database import Transaction
from watchword.telemetry import own_tally

FAST = 2.0  # seconds within which an outage is said; the wait for a connection is one

server = server_with(database_timeout=1)


@contextlib.contextmanager
def failing(specification: str) -> Iterator[None]:
    """Make steps fail as a disk or a connection does."""
    faults.arm(specification)
    try:
        yield
    finally:
        faults.arm(None)


def outages() -> int:
    """How many answers of this process were 503 because of the database, as its metrics tell."""
    return sum(count for name, _, _, count in own_tally().counts if name == "storage_unavailable")


@pytest.fixture
def unlimited(store: Store) -> Iterator[None]:
    """Whatever happens in a test, files may grow again after it."""
    yield
    make_writable(store)


def make_unwritable(store: Store) -> None:
    """Let the database refuse every write: as a full disk does, or as a standby."""
    if store.cluster is None:
        size = os.path.getsize(store.address + "-wal")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return
    name = store.address.rpartition("/")[2]
    store.cluster.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    store.cluster.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


def make_writable(store: Store) -> None:
    """Let the database take writes again."""
    if store.cluster is None:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        return
    name = store.address.rpartition("/")[2]
    store.cluster.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    store.cluster.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


async def flaws(server: Server) -> list[str]:
    found = await server.runtime.database.read(soundness.find_flaws, "ww")
    return [flaw.check for flaw in found]


@pytest.mark.parametrize(
    "step", ["change.made/redeem_code", "audit.written/code.redeemed", "commit.begun/redeem_code"]
)
async def test_st_01_a_code_whose_tokens_cannot_be_stored_is_not_lost(server: Server, step: str) -> None:
    client = await register(server, access_token_format="opaque")
    answer = await obtain_code(server, client)
    with failing(f"{step}=error"):
        refused = await redeem(server, client, answer["code"])
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert int(refused.headers["retry-after"]) >= 1
    assert await flaws(server) == []
    assert (await redeem(server, client, answer["code"])).status_code == 200, "the code was not used up"
    assert (await redeem(server, client, answer["code"])).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "step",
    [
        "change.made/rotate_refresh_token",
        "audit.begun/refresh_token.rotated",
        "audit.written/refresh_token.rotated",
        "commit.begun/rotate_refresh_token",
    ],
)
async def test_st_01_a_rotation_that_cannot_be_stored_leaves_the_old_token_good(
    server: Server, step: str
) -> None:
    client = await register(server, access_token_format="opaque")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    with failing(f"{step}=error"):
        refused = await refresh(server, client, tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    server.clock.advance(60)
    assert await flaws(server) == []
    assert (await refresh(server, client, tokens["refresh_token"])).status_code == 200


@pytest.mark.postgres
async def test_st_01_nothing_is_used_up_for_an_access_token_that_cannot_be_stored(
    postgres_store: Store, tmp_path: Path
) -> None:
    """On PostgreSQL the token is committed before what it is made for; on SQLite both share one commit."""
    key = str(tmp_path / "key")
    async with open_server(tmp_path, database=postgres_store.address, key_file=key) as server:
        client = await register(server, access_token_format="opaque")
        code = (await obtain_code(server, client))["code"]
        with failing("commit.begun/insert_rows=error"):
            assert (await redeem(server, client, code)).status_code == 503
        tokens = (await redeem(server, client, code)).json()
        with failing("commit.begun/insert_rows=error"):
            assert (await refresh(server, client, tokens["refresh_token"])).status_code == 503
        server.clock.advance(60)
        assert (await refresh(server, client, tokens["refresh_token"])).status_code == 200


@pytest.mark.parametrize("step", ["grant.ended", "token.revoked", "audit.begun", "commit.begun"])
async def test_st_02_a_revocation_that_cannot_be_stored_is_not_acknowledged(
    server: Server, step: str
) -> None:
    client = await register(server, access_token_format="opaque")
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    token = tokens["access_token" if step == "token.revoked" else "refresh_token"]
    with failing(f"{step}=error"):
        refused = await server.post("/revoke", client, token=token)
    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    asked = await server.post("/introspect", client, token=tokens["access_token"])
    assert asked.json()["active"] is True, "what was not acknowledged was not done"
    assert (await server.post("/revoke", client, token=token)).status_code == 200
    asked = await server.post("/introspect", client, token=tokens["access_token"])
    assert asked.json() == {"active": False}


@pytest.mark.usefixtures("unlimited")
async def test_st_03_a_database_that_takes_no_writes_serves_what_needs_none(
    server: Server, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await register(
        server,
        access_token_format="opaque",
        grant_types=["authorization_code", "refresh_token", "client_credentials"],
        scope="openid orders:read introspect",
    )
    tokens = (await redeem(server, client, (await obtain_code(server, client))["code"])).json()
    elsewhere = another(server)
    page = await elsewhere.get("/sign-in")
    assert (await server.http.get("/readyz")).status_code == 200, "in the same moment"
    make_unwritable(store)
    begun = time.monotonic()
    writes = {
        "token": await server.grant(client),
        "refresh": await refresh(server, client, tokens["refresh_token"]),
        "revoke": await server.post("/revoke", client, token=tokens["refresh_token"]),
        "sign-in": await elsewhere.post(
            "/sign-in", data={"csrf": csrf_of(page.text), "identifier": "ada", "password": PASSWORD}
        ),
    }
    assert time.monotonic() - begun < 4 * FAST
    for name, answer in writes.items():
        assert answer.status_code == 503, (name, answer.text[:300])
        assert int(answer.headers["retry-after"]) >= 1, name
        assert "set-cookie" not in answer.headers or name != "sign-in", "nobody is half signed in"
    capsys.readouterr()
    counted = outages()
    probed = await server.http.get("/readyz")
    assert (probed.status_code, probed.headers["retry-after"]) == (503, "2")
    assert '"event": "storage.unavailable"' in capsys.readouterr().err, "why is in the log"
    assert outages() == counted + 1, "a node that no balancer sends anything tells of its outage as well"
    for path in (
        "/healthz",
        "/livez",
        "/.well-known/jwks.json",
        "/.well-known/openid-configuration",
    ):
        assert (await server.http.get(path)).status_code == 200, path
    asked = await server.post("/introspect", client, token=tokens["access_token"])
    assert asked.json()["active"] is True, "reads go on, and nothing of the refused was done"
    make_writable(store)

    async def is_ready() -> bool:
        return (await server.http.get("/readyz")).status_code == 200

    await heals(is_ready)
    assert (await refresh(server, client, tokens["refresh_token"])).status_code == 200
    assert await flaws(server) == []


async def heals(is_ready: object, patience: float = 10.0) -> float:
    """Wait until something is so without anybody's help; return after how many seconds."""
    begun = time.monotonic()
    while not await is_ready():  # type: ignore[operator]  # a coroutine function
        assert time.monotonic() - begun < patience, "it did not heal by itself"
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


@pytest.mark.postgres
async def test_st_04_a_database_that_is_gone_is_said_fast_and_it_heals_without_losing_anything(
    postgres_store: Store, tmp_path: Path
) -> None:
    cluster = postgres_store.cluster
    assert cluster is not None
    async with open_server(
        tmp_path, database=postgres_store.address, key_file=str(tmp_path / "key"), database_timeout=1
    ) as server:
        client = await server.client(access_token_format="opaque", scope="introspect")
        kept = [(await server.grant(client)).json()["access_token"] for _ in range(5)]
        cluster.stop()
        try:
            begun = time.monotonic()
            answers = await together(*(server.grant(client) for _ in range(100)))
            assert time.monotonic() - begun < 3 * FAST, "a hundred at once wait no longer than a few"
            assert {answer.status_code for answer in answers} == {503}
            assert all("retry-after" in answer.headers for answer in answers)
            begun = time.monotonic()
            assert (await server.http.get("/livez")).status_code == 200
            assert time.monotonic() - begun < 0.5, "the life of the process does not hang on the database"
            asked = await server.post("/introspect", client, token=kept[0])
            assert asked.status_code == 503, "neither a yes nor a no"
        finally:
            cluster.start()

        async def is_ready() -> bool:
            return (await server.http.get("/readyz")).status_code == 200

        await heals(is_ready)
        for token in kept:
            assert (await server.post("/introspect", client, token=token)).json()["active"] is True


async def test_st_05_without_its_counters_the_sign_in_stays_shut(server: Server, store: Store) -> None:
    await register(server)
    await accounts.create(server.runtime, username="ada", password=PASSWORD, actor="test")
    person = Person(server, server.http)
    await person.open("/sign-in")
    form = dict(person.form())
    await server.runtime.database.write(rename, "buckets", "buckets_gone")
    answer = await server.http.post("/sign-in", data={**form, "identifier": "ada", "password": PASSWORD})
    assert answer.status_code >= 500
    assert (await server.http.get("/account")).status_code == 303, "nobody got in uncounted"
    await server.runtime.database.write(rename, "buckets_gone", "buckets")
    await person.sign_in()
    assert person.path == "/account", "the honest one works"


async def rename(tx: Transaction, table: str, name: str) -> None:
    await tx.run(f"ALTER TABLE {table} RENAME TO {name}")
