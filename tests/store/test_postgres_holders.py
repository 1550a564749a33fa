"""AP-04: calls of the admin API on PostgreSQL beside one another, and beside what ends their token: neither is held up for good."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import Store
from tests.store.backends import cluster_of
from tests.store.made import NOW, access_token, add_token, digest, note, select
from tests.store.test_postgres_ends import delete_account, disable_account, held_trail, prepare, until_waiting

from watchword.store import tokens
from watchword.store.database import Database
from watchword.store.holders import Holder, TokenEnded, as_holder

pytestmark = pytest.mark.postgres

API_TOKEN = Holder("tok_1", "sec_tok_1")
SELF_CONTAINED = Holder("jti", client_id="cl_1", issued_at=NOW)
OPAQUE = Holder("opaque", digest=digest("opaque"), client_id="cl_1", issued_at=NOW)
END_TOKENS = f"UPDATE api_tokens SET revoked_at = {NOW}"
# Of each kind of holder: the owner's row, and what ends the token once that is locked
KINDS = [
    pytest.param("application", API_TOKEN, "", END_TOKENS, id="of an application"),
    pytest.param("user", API_TOKEN, "users WHERE id = 'u'", END_TOKENS, id="of a person"),
    pytest.param("client", API_TOKEN, "clients", END_TOKENS, id="of a client"),
    pytest.param("", OPAQUE, "clients", f"UPDATE access_tokens SET revoked_at = {NOW}", id="opaque"),
    pytest.param("", SELF_CONTAINED, "clients", "INSERT INTO revoked_tokens VALUES ('jti', 0)", id="self-contained"),
]  # fmt: skip


async def fill(database: Database, owner_kind: str) -> None:
    await prepare(database)
    if owner_kind:
        owner = {"application": "reports", "user": "u", "client": "cl_1"}[owner_kind]
        await add_token(database, owner_kind=owner_kind, owner_id=owner)
    await tokens.insert_access_token(database, digest("opaque"), access_token())


async def at_the_trail(store: Store) -> Sequence[object]:
    """Return the transactions that have done all but write their event."""
    other = await asyncpg.connect(store.address)
    try:
        return list(await other.fetch("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'"))
    finally:
        await other.close()


@pytest.mark.parametrize(("owner_kind", "holder", "row", "end"), KINDS)
async def test_calls_by_one_token_come_one_after_another(
    postgres_store: Store, owner_kind: str, holder: Holder, row: str, end: str
) -> None:
    nodes = [await postgres_store.node() for _ in range(2)]
    await fill(nodes[0], owner_kind)
    async with held_trail(postgres_store):
        calls = [
            asyncio.ensure_future(node.write(as_holder, holder, NOW, note, f"call {number}"))
            for number, node in enumerate(nodes)
        ]
        await until_waiting(postgres_store, 2)
        assert len(await at_the_trail(postgres_store)) == 1
    assert await asyncio.gather(*calls) == [None, None]
    noted = await nodes[0].read(select, "SELECT target FROM events WHERE name = 'test.noted'")
    assert {one["target"] for one in noted} == {"call 0", "call 1"}


@pytest.mark.parametrize(("owner_kind", "holder", "row", "end"), KINDS)
async def test_a_call_and_the_end_of_its_token_wait_for_one_another_in_one_order(
    postgres_store: Store, owner_kind: str, holder: Holder, row: str, end: str
) -> None:
    node = await postgres_store.node()
    await fill(node, owner_kind)
    log = cluster_of(postgres_store).folder / "log"
    before = log.read_text().count("deadlock detected")
    other = await asyncpg.connect(postgres_store.address)
    try:
        await other.execute(f"BEGIN; SELECT 1 FROM {row} FOR NO KEY UPDATE" if row else f"BEGIN; {end}")
        call = asyncio.ensure_future(node.write(as_holder, holder, NOW, note, "late"))
        await until_waiting(postgres_store, 1)
        await other.execute(f"{end if row else ''}; COMMIT")
    finally:
        await other.close()
    assert isinstance(await call, TokenEnded)
    assert log.read_text().count("deadlock detected") == before


@pytest.mark.parametrize("end", [disable_account, delete_account])
async def test_whoever_ends_an_ordinary_account_waits_for_no_administrator(
    postgres_store: Store, end: Callable[[Database], Awaitable[object]]
) -> None:
    node = await postgres_store.node()
    await prepare(node)
    other = await asyncpg.connect(postgres_store.address)
    try:
        await other.execute("BEGIN; SELECT 1 FROM users WHERE id = 'root' FOR NO KEY UPDATE")
        assert await asyncio.wait_for(end(node), 5) == "changed"
    finally:
        await other.close()
