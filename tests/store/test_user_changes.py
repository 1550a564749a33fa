"""Changes to accounts that race: on both databases, over two nodes."""

from tests.fixtures.postgres import race

from watchword.store import user_changes, users
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
