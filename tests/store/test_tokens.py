"""OAuth access tokens: durable when acknowledged, revoked for good, and identifiers used once (CO-08, RC-01)."""

import asyncio

import pytest
from tests.fixtures.postgres import Store, race
from tests.store.made import NOW, access_token, count, digest

from watchword.store import tokens
from watchword.store.database import Database

Nodes = tuple[Database, Database]


async def test_an_access_token_is_read_as_it_was_stored(database: Database) -> None:
    made = tokens.AccessToken("cl", "sub", "a b", "aud", NOW, NOW + 60, "grant", '{"cnf":{}}')
    await tokens.insert_access_token(database, digest("t"), made)
    assert await database.read(tokens.find_access_token, digest("t")) == made
    assert await database.read(tokens.find_access_token, digest("u")) is None


async def test_access_tokens_issued_at_once_are_all_there_and_seen_by_the_other_node(nodes: Nodes) -> None:
    issued = [digest(f"t{n}") for n in range(600)]
    await asyncio.gather(*(tokens.insert_access_token(nodes[0], one, access_token()) for one in issued))
    assert await count(nodes[1], "access_tokens") == 600


async def test_one_row_that_cannot_be_stored_takes_no_other_with_it(database: Database) -> None:
    await tokens.insert_access_token(database, digest("t0"), access_token())
    outcomes = await race(
        *(tokens.insert_access_token(database, digest(f"t{n}"), access_token()) for n in range(5))
    )
    assert [outcome is None for outcome in outcomes] == [False, True, True, True, True]
    assert await count(database, "access_tokens") == 5


async def test_what_was_acknowledged_is_there_after_closing_and_opening(store: Store) -> None:
    database = await store.node()
    waiting = [
        asyncio.ensure_future(tokens.insert_access_token(database, digest(f"t{n}"), access_token()))
        for n in range(50)
    ]
    await asyncio.gather(*waiting)
    await store.close()
    assert await count(await store.node(), "access_tokens") == 50
    await store.close()


@pytest.mark.parametrize(
    ("client_id", "revoked"),
    [
        pytest.param("cl_1", True, id="a client revokes its own token"),
        pytest.param("cl_2", False, id="a client does not revoke another's token"),
    ],
)
async def test_revoking_an_access_token(database: Database, client_id: str, revoked: bool) -> None:
    await tokens.insert_access_token(database, digest("t"), access_token())
    done = await database.write(tokens.revoke_access_token, digest("t"), client_id, actor="test", now=NOW)
    found = await database.read(tokens.find_access_token, digest("t"))
    assert found is not None
    assert (done, found.revoked_at == NOW) == (revoked, revoked)


async def test_of_several_revocations_of_one_token_one_is_recorded(nodes: Nodes) -> None:
    await tokens.insert_access_token(nodes[0], digest("t"), access_token())
    by_digest = [
        nodes[n % 2].write(tokens.revoke_access_token, digest("t"), "cl_1", actor="test", now=NOW)
        for n in range(8)
    ]
    by_jti = [
        nodes[n % 2].write(tokens.revoke_jti, "jti", NOW + 60, client_id="cl_1", actor="test", now=NOW)
        for n in range(8)
    ]
    for calls in (by_digest, by_jti):
        assert sorted(await race(*calls)) == [False] * 7 + [True]
    assert await count(nodes[0], "events") == 2


async def test_a_revoked_jti_is_known_to_every_node(nodes: Nodes) -> None:
    assert await nodes[1].read(tokens.is_jti_revoked, "jti") is False
    await nodes[0].write(tokens.revoke_jti, "jti", NOW + 60, client_id="c", actor="test", now=NOW)
    assert [await node.read(tokens.is_jti_revoked, "jti") for node in nodes] == [True, True]
    assert await nodes[0].read(tokens.is_jti_revoked, "other") is False


async def test_of_many_uses_of_one_identifier_exactly_one_wins(nodes: Nodes) -> None:
    for number in range(5):
        used = digest(f"proof {number}")
        outcomes = await race(*(nodes[n % 2].write(tokens.use_identifier, used, NOW + 60) for n in range(20)))
        assert sorted(outcomes) == [False] * 19 + [True]


async def test_different_identifiers_do_not_disturb_each_other(nodes: Nodes) -> None:
    outcomes = await race(
        *(nodes[n % 2].write(tokens.use_identifier, digest(f"p{n}"), NOW + 60) for n in range(40))
    )
    assert outcomes == [True] * 40
