"""One-time links: one use, one purpose, one live link."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # the driver ships no types
import pytest
from tests.fixtures.postgres import Store, race
from tests.store.made import NOW, count, digest
from tests.store.test_postgres_ends import prepare, until_waiting

from watchword.store import links, new_accounts, user_changes, users
from watchword.store.audit import events
from watchword.store.database import Database
from watchword.store.links import Link
from watchword.store.users import User

Nodes = tuple[Database, Database]
MADE = Link("invitation", "ada@example", {"admin": True}, NOW + 60)


async def create(database: Database, secret: str, subject: str = MADE.subject) -> None:
    await database.write(
        links.create_link,
        digest(secret),
        purpose=MADE.purpose,
        subject=subject,
        data=dict(MADE.data),
        expires_at=MADE.expires_at,
        now=NOW,
    )


async def use(database: Database, secret: str, purpose: str = MADE.purpose, now: int = NOW) -> Link | None:
    return await database.write(links.use_link, digest(secret), purpose, now)


async def peek(database: Database, secret: str, purpose: str = MADE.purpose, now: int = NOW) -> Link | None:
    return await database.read(links.peek_link, digest(secret), purpose, now)


async def test_a_link_may_be_looked_at_often_and_used_once(database: Database) -> None:
    await create(database, "link")
    assert [await peek(database, "link"), await peek(database, "link"), await use(database, "link")] == [
        MADE
    ] * 3
    assert [await use(database, "link"), await peek(database, "link")] == [None, None]


@pytest.mark.parametrize(
    ("secret", "purpose", "now"),
    [
        pytest.param("other", "invitation", NOW, id="not by another secret"),
        pytest.param("link", "reset", NOW, id="not for another purpose"),
        pytest.param("link", "invitation", NOW + 60, id="not from the moment of its end"),
    ],
)
async def test_a_link_is_refused(database: Database, secret: str, purpose: str, now: int) -> None:
    await create(database, "link")
    assert await database.write(links.hold_link, digest("link"), MADE.purpose, NOW + 59)
    assert await peek(database, secret, purpose, now) is None
    assert not await database.write(links.hold_link, digest(secret), purpose, now)
    assert await use(database, secret, purpose, now) is None
    assert await use(database, "link", now=NOW + 59) == MADE


async def test_a_new_link_ends_the_older_one_of_the_same_subject_only(database: Database) -> None:
    await create(database, "other", "grace@example")
    await create(database, "old")
    await create(database, "new")
    assert await use(database, "old") is None
    assert await use(database, "new") == MADE
    assert await use(database, "other") is not None


async def test_a_link_that_is_handed_over_is_in_the_audit_trail(database: Database) -> None:
    told: Any = {"actor": "operator", "target": "user_1", "facts": {"address": "ada@example"}}
    made: Any = {"purpose": MADE.purpose, "subject": MADE.subject, "data": MADE.data}
    await database.write(links.hand_over_link, digest("link"), **made, expires_at=NOW + 60, now=NOW, **told)
    (event,) = await database.read(events.list_events, limit=9)
    assert (event.name, event.actor, event.target, event.at) == ("link.made", "operator", "user_1", NOW)
    assert event.data == {"purpose": MADE.purpose, "address": "ada@example"}
    assert await use(database, "link") == MADE


async def find(
    database: Database, now: int, subject: str = MADE.subject, purpose: str = MADE.purpose
) -> bool:
    return await database.read(links.find_live_link, subject, purpose, now) is not None


async def test_a_live_link_is_found_by_its_subject_and_purpose(database: Database) -> None:
    await create(database, "link")
    assert await find(database, NOW + 59)
    assert not await find(database, NOW + 60)
    assert not await find(database, NOW, subject="grace@example")
    assert not await find(database, NOW, purpose="reset")
    for subject, purpose in (("grace@example", MADE.purpose), (MADE.subject, "reset")):
        await database.write(links.forget_links, subject, purpose)
    assert await find(database, NOW), "another's was forgotten, or one for something else"
    assert await use(database, "link") == MADE
    assert not await find(database, NOW)
    await database.write(links.forget_links, MADE.subject, MADE.purpose)
    assert await count(database, "one_time_links") == 1, "that a link was used stays known"
    assert not await database.write(links.hold_link, digest("link"), MADE.purpose, NOW)
    await create(database, "next")
    await database.write(links.forget_links, MADE.subject, MADE.purpose)
    assert (await find(database, NOW), await count(database, "one_time_links")) == (False, 1)


async def test_of_many_uses_of_one_link_exactly_one_wins(nodes: Nodes) -> None:
    for number in range(5):
        await create(nodes[0], f"link {number}")
        outcomes = await race(*(use(nodes[n % 2], f"link {number}") for n in range(20)))
        assert [outcome for outcome in outcomes if outcome is not None] == [MADE]


async def test_of_links_made_at_once_for_one_subject_exactly_one_is_used(nodes: Nodes) -> None:
    for number in range(5):
        names = [f"{number} {n}" for n in range(8)]
        await race(*(create(nodes[n % 2], name) for n, name in enumerate(names)))
        outcomes = await race(*(use(nodes[n % 2], name) for n, name in enumerate(names * 2)))
        assert [outcome for outcome in outcomes if outcome is not None] == [MADE]


async def reset(database: Database, secret: str) -> object:
    return await database.write(user_changes.reset_password, digest(secret), "hash", end_all=True, now=NOW)


async def confirm(database: Database, secret: str) -> object:
    return await database.write(user_changes.verify_email, digest(secret), "u", "u@example", "u@example", NOW)


async def accept(database: Database, secret: str) -> object:
    unique: Any = {
        "canonical_username": "new",
        "skeleton": "new",
        "canonical_email": None,
        "password_hash": None,
    }
    invited = User(id="user_2", username="new", created_at=NOW)
    return await database.write(new_accounts.create_by_link, digest(secret), "invite", invited, unique)


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("purpose", "use_by", "done"),
    [
        *((purpose, reset, "u") for purpose in user_changes.RESETS),
        ("verify_email", confirm, "changed"),
        ("invite", accept, "created"),
    ],
)
async def test_the_account_is_locked_before_its_link(
    postgres_store: Store, purpose: str, use_by: Callable[[Database, str], Awaitable[object]], done: str
) -> None:
    """Whatever ends links of an account has locked that: a mailed link and one that was handed over, used at once, are no deadlock. So has
    whoever invites, whose account an invitation depends on."""
    database = await postgres_store.node()
    await prepare(database)
    names: Any = {"canonical_username": "inviter", "skeleton": "inviter", "canonical_email": None}
    inviter = User(id="user_1", username="inviter", created_at=NOW)
    await database.write(users.create_user, inviter, **names, password_hash=None, actor="a")
    made = {"purpose": purpose, "subject": "u", "data": {"by": "user_1"}, "expires_at": NOW + 60, "now": NOW}
    await database.write(links.create_link, digest("link"), **made)
    other = await asyncpg.connect(postgres_store.address)
    try:
        await other.execute("BEGIN; SELECT 1 FROM users WHERE id IN ('u', 'user_1') FOR UPDATE")
        using = asyncio.ensure_future(use_by(database, "link"))
        await until_waiting(postgres_store, 1)
        await other.execute("SELECT 1 FROM one_time_links FOR UPDATE NOWAIT; COMMIT")
    finally:
        await other.close()
    assert await using == done
