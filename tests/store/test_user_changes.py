"""Changes to accounts that race: on both databases, over two nodes."""

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
