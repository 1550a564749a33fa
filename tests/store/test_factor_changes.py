"""Second factors and known browsers of accounts to which something else happens at the same time: on both databases, over two nodes."""

from typing import Any

import pytest
from tests.fixtures.postgres import race

from watchword.store import browsers, factors, sessions, user_changes, users
from watchword.store.database import Database
from watchword.store.sessions import Session
from watchword.store.users import User

NOW = 1_900_000_000
CODES = 10


async def make_person(database: Database) -> str:
    """Make somebody without anything set up."""
    user = User(id="user_1", username="ada", created_at=NOW)
    forms = {"canonical_username": "ada", "skeleton": "ada", "canonical_email": None}
    assert await database.write(users.create_user, user, password_hash=None, actor="a", **forms)
    return user.id


def a_set(name: str) -> list[bytes]:
    """Return the digests of a set of recovery codes."""
    return [f"{name} {number}".encode() for number in range(CODES)]


@pytest.mark.parametrize("turn", range(4))
async def test_of_two_sets_of_recovery_codes_that_are_made_at_once_one_is_good(
    nodes: tuple[Database, Database], turn: int
) -> None:
    person = await make_person(nodes[0])
    for sets in (["old"], [f"first {turn}", f"second {turn}"]):
        await race(
            *(
                nodes[at % 2].write(
                    factors.replace_recovery_codes, person, a_set(name), actor=person, now=NOW
                )
                for at, name in enumerate(sets)
            )
        )
        assert (await nodes[0].read(factors.enrolled, person)).recovery_codes == CODES


@pytest.mark.parametrize("turn", range(4))
async def test_no_trust_in_a_browser_outlives_the_end_of_all_sessions(
    nodes: tuple[Database, Database], turn: int
) -> None:
    person = await make_person(nodes[0])
    limits = {"last_seen_at": NOW, "idle_expires_at": NOW + 60, "expires_at": NOW + 60}
    session = Session(
        id="s", user_id=person, created_at=NOW, authenticated_at=NOW, acr="", amr=(), user_agent="", address="", **limits
    )  # fmt: skip
    assert await nodes[0].write(sessions.create_session, session, b"s", limit=9, actor="a")
    await nodes[0].write(browsers.note_browser, person, b"laptop", NOW)
    trust: dict[str, Any] = {"proof_epoch": 0, "until": NOW + 9, "now": NOW}
    assert await nodes[0].write(browsers.trust_browser, person, b"laptop", "s", **trust), "honest"
    await race(
        nodes[turn % 2].write(browsers.trust_browser, person, b"laptop", "s", **trust),
        nodes[1].write(sessions.end_sessions_of, person, actor="a", now=NOW),
    )
    assert not await nodes[0].read(browsers.find_trust, person, b"laptop", NOW)


async def test_a_browser_is_noted_unless_its_persons_account_was_deleted_meanwhile(
    database: Database,
) -> None:
    person = await make_person(database)
    for known in (False, True):
        seen = await database.write(browsers.note_browser, person, b"laptop", NOW)
        assert (seen.known, seen.others) == (known, False)
    assert await database.read(browsers.is_known, person, b"laptop"), "the honest variant"
    assert await database.write(user_changes.delete_user, person, actor="a", now=NOW) == "changed"
    seen = await database.write(browsers.note_browser, person, b"laptop", NOW)
    assert not seen.known


@pytest.mark.parametrize("turn", range(4))
async def test_no_code_by_mail_outlives_the_address_that_it_was_sent_to(
    nodes: tuple[Database, Database], turn: int
) -> None:
    person = await make_person(nodes[0])
    old, new = (f"{name}@example.com" for name in ("old", "new"))
    given: dict[str, Any] = {"verified": True, "actor": "a", "now": NOW}
    await nodes[0].write(user_changes.set_email, person, old, old, **given)
    kept: dict[str, Any] = {"email": old, "expires_at": NOW + 600}
    assert await nodes[0].write(factors.keep_email_code, person, "sign-in", b"1", **kept), "honest"
    await race(
        nodes[turn % 2].write(factors.keep_email_code, person, "sign-in", b"2", **kept),
        nodes[1].write(user_changes.set_email, person, new, new, **given),
    )
    assert not await nodes[0].read(factors.has_live_email_code, person, "sign-in", NOW)
