"""What ended is kept for the revocation feed in the transaction that ends it, and numbered so that no reader misses anything."""

import asyncio

import pytest
from tests.fixtures.postgres import AUDIT_KEY
from tests.store.made import NOW, add_token, agree_and_grant, client, count

from watchword.oauth.ended import EVERYTHING, LONGEST, account_handle, mark
from watchword.store import (
    api_tokens,
    clients,
    ended,
    grants,
    keys,
    limits,
    redemption,
    sessions,
    tokens,
    user_changes,
    users,
)
from watchword.store.database import Database, Transaction
from watchword.store.grants import Grant
from watchword.store.redemption import Bought
from watchword.store.sessions import Session
from watchword.store.users import User

Nodes = tuple[Database, Database]


async def numbered(database: Database, after: int = 0) -> dict[str, int | None]:
    """Number what ended, and return the marks after a number with the moment before which they hold."""
    while await database.read(ended.has_unnumbered):
        await database.write(ended.number_next, "feed")
    found = await database.read(ended.after, after, 1000)
    return {entry.mark: entry.before for _, entry in found}


async def made(database: Database) -> None:
    """Make one of everything that can end."""
    await database.write(clients.create_client, client(), actor="a", now=NOW)
    user = User(id="u1", username="u1", created_at=NOW)
    names = {"canonical_username": "u1", "skeleton": "u1", "canonical_email": None}
    await database.write(users.create_user, user, **names, password_hash=None, actor="a")
    for number in range(3):
        session = Session(
            id=f"s{number}", user_id="u1", created_at=NOW + number, authenticated_at=NOW, last_seen_at=NOW + number,
            idle_expires_at=NOW + 600, expires_at=NOW + 600, acr="1", amr=("pwd",), user_agent="", address="",
        )  # fmt: skip
        await database.write(sessions.create_session, session, f"s{number}".encode(), limit=2, actor="u1")
    grant = Grant(
        id="g1", client_id="cl_1", user_id="u1", session_id="s1", scope="a", audience="b", claims="{}",
        created_at=NOW, started_at=NOW, last_used_at=NOW,
    )  # fmt: skip
    await agree_and_grant(database, grant, b"c")


async def test_everything_that_ends_is_kept(database: Database) -> None:
    await made(database)
    assert await numbered(database) == {}
    await add_token(database, "t1")
    await database.write(api_tokens.revoke_token, "t1", reason="revoked", actor="a", now=NOW)
    await database.write(tokens.revoke_jti, "j1", NOW + 300, client_id="cl_1", actor="a", now=NOW)
    await database.write(user_changes.set_disabled, "u1", True, actor="a", now=NOW)
    await database.write(
        clients.update_client, client(), expected_version=1, disabled_at=None, kill=True, actor="a", now=NOW
    )
    await database.write(keys.revoke_key, "no such key", actor="a", now=NOW)
    assert await numbered(database) == {
        mark("token", "t1"): None,
        mark("token", "j1"): None,
        mark("grant", "g1"): None,
        mark("account", account_handle(AUDIT_KEY, "u1")): NOW + ended.LATE,
        mark("client", "cl_1"): NOW + ended.LATE,
    }


async def test_a_session_takes_the_grants_with_it_that_live_in_it(database: Database) -> None:
    await made(database)
    lasting = Grant(
        id="g2", client_id="cl_1", user_id="u1", session_id="s1", scope="a offline_access b", audience="b", claims="{}",
        created_at=NOW, started_at=NOW, last_used_at=NOW,
    )  # fmt: skip
    await agree_and_grant(database, lasting, b"c2")
    # Offline access is one that was taken up
    await redemption.redeem_code(database, b"c2", lasting, Bought(), NOW)
    await database.write(sessions.end_session, "s2", actor="a", now=NOW)
    assert await numbered(database) == {}, "another session"
    await database.write(sessions.end_session, "s1", actor="a", now=NOW)
    assert await numbered(database) == {mark("grant", "g1"): None}
    assert await database.read(grants.is_grant_alive, "g2")


async def test_a_change_that_ends_nothing_is_not_kept(database: Database) -> None:
    await made(database)
    before = await count(database, "ended")
    await database.write(
        clients.update_client, client(), expected_version=1, disabled_at=None, kill=False, actor="a", now=NOW
    )
    await database.write(user_changes.set_disabled, "u1", False, actor="a", now=NOW)
    assert await count(database, "ended") == before


async def end(tx: Transaction, name: str, *, fail: bool = False) -> None:
    await tx.record("grant.ended", actor="a", target=name, at=NOW)
    if fail:
        raise RuntimeError(name)


async def test_what_was_rolled_back_has_not_ended(database: Database) -> None:
    with pytest.raises(RuntimeError):
        await database.write(end, "s1", fail=True)
    assert await numbered(database) == {}


async def test_a_reader_misses_nothing_that_other_nodes_end_meanwhile(nodes: Nodes) -> None:
    seen: list[tuple[int, str]] = []
    done = asyncio.Event()

    async def read(database: Database) -> None:
        last = 0
        while not done.is_set() or await database.read(ended.has_unnumbered) or await ahead(database, last):
            await database.write(ended.number_next, "feed")
            for number, entry in await database.read(ended.after, last, 7):
                seen.append((number, entry.mark))
                last = number
            await asyncio.sleep(0)

    reading = [asyncio.create_task(read(node)) for node in nodes]
    await asyncio.gather(*(nodes[n % 2].write(end, f"s{n}") for n in range(120)))
    done.set()
    await asyncio.gather(*reading)
    assert sorted(seen) == sorted(2 * [(n, m) for n, m in set(seen)]), "both readers saw the same, each once"
    assert {m for _, m in seen} == {mark("grant", f"s{n}") for n in range(120)}
    assert sorted({n for n, _ in seen}) == list(range(1, 121)), "numbers have no gaps"


async def ahead(database: Database, last: int) -> bool:
    """Whether the feed has come further than a reader."""
    return int((await database.read(ended.position)).partition(".")[2] or 0) > last


async def test_what_ended_again_is_told_again(database: Database) -> None:
    await database.write(end, "s1")
    assert list(await numbered(database)) == [mark("grant", "s1")]
    await database.write(end, "s1")
    assert list(await numbered(database, after=1)) == [mark("grant", "s1")]


async def test_a_restore_begins_the_feed_anew_and_ends_everything_before(database: Database) -> None:
    await database.write(end, "s1")
    await numbered(database)
    before = await database.read(ended.position)
    await database.write(ended.note_everything, NOW + 5)
    assert (await numbered(database))[mark(*EVERYTHING)] == NOW + 5 + ended.LATE
    await database.write(end, "s2")
    assert await database.read(ended.position) != before


async def test_what_no_token_can_depend_on_any_more_is_forgotten(database: Database) -> None:
    await database.write(end, "s1")
    assert await database.write(limits.purge, "ended", NOW + LONGEST) == 0
    assert await database.write(limits.purge, "ended", NOW + LONGEST + 1) == 1
    assert await count(database, "ended") == 0
