"""Changes to accounts that race: on both databases, over two nodes."""

from typing import Any

import pytest
from tests.fixtures.postgres import race

from watchword.store import links, user_changes, users
from watchword.store.database import Database
from watchword.store.users import User

NOW = 1_900_000_000
MANY = 12


async def test_of_many_who_confirm_one_address_at_once_one_gets_it(nodes: tuple[Database, Database]) -> None:
    for number in range(MANY):
        user = User(id=f"user_{number}", username=f"person{number}", created_at=NOW)
        assert await nodes[0].write(
            users.create_user,
            user,
            canonical_username=user.username,
            skeleton=user.username,
            canonical_email=None,
            password_hash=None,
            actor="test",
        )
    outcomes = await race(
        *(
            nodes[number % 2].write(
                user_changes.set_email,
                f"user_{number}",
                "shared@example.com",
                "shared@example.com",
                verified=True,
                actor="test",
                now=NOW,
            )
            for number in range(MANY)
        )
    )
    assert sorted(map(str, outcomes)) == ["changed", *["taken"] * (MANY - 1)]


async def test_lg_24_of_many_owners_by_one_link_at_once_one_is_made(nodes: tuple[Database, Database]) -> None:
    link = b"setup" * 6
    await nodes[0].write(
        links.create_link, link, purpose="setup", subject="owner", data={}, expires_at=NOW + 600, now=NOW
    )
    outcomes = await race(
        *(
            nodes[number % 2].write(
                users.create_owner,
                link,
                User(id=f"user_{number}", username=f"owner{number}", is_admin=True, created_at=NOW),
                canonical_username=f"owner{number}",
                skeleton=f"owner{number}",
                canonical_email=None,
                password_hash="x",
            )
            for number in range(MANY)
        )
    )
    assert sorted(map(str, outcomes)) == ["created", *["link"] * (MANY - 1)]
    assert await nodes[0].read(users.count_admins) == 1


async def make_admin(database: Database, number: int) -> str:
    user = User(id=f"user_{number}", username=f"admin{number}", is_admin=True, created_at=NOW)
    await database.write(
        users.create_user,
        user,
        canonical_username=user.username,
        skeleton=user.username,
        canonical_email=None,
        password_hash=None,
        actor="a",
    )
    return user.id


@pytest.mark.parametrize("turn", range(5))
async def test_of_administrators_who_remove_each_other_at_once_one_stays(
    nodes: tuple[Database, Database], turn: int
) -> None:
    one, two, three = [await make_admin(nodes[0], number) for number in range(3)]
    demoted: dict[str, Any] = {"display_name": None, "attributes": {}, "is_admin": False}
    outcomes = await race(
        nodes[0].write(user_changes.delete_user, one, actor=two, now=NOW),
        nodes[1].write(user_changes.update_profile, two, actor=three, now=NOW, **demoted),
        nodes[turn % 2].write(user_changes.set_disabled, three, True, actor=one, now=NOW),
    )
    assert sorted(map(str, outcomes)) == ["changed", "changed", "last"]
    assert await nodes[0].read(users.count_admins) == 1


async def test_a_change_that_says_nothing_of_power_gives_none_back(database: Database) -> None:
    one, _ = await make_admin(database, 0), await make_admin(database, 1)
    said: dict[str, Any] = {"attributes": {}, "actor": "a", "now": NOW}
    assert (
        await database.write(user_changes.update_profile, one, display_name=None, is_admin=False, **said)
        == "changed"
    )
    assert (
        await database.write(user_changes.update_profile, one, display_name="x", is_admin=None, **said)
        == "changed"
    )
    changed = await database.read(users.get_user, one)
    assert changed is not None
    assert (changed.display_name, changed.is_admin) == ("x", False)
