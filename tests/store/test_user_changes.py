"""Changes to accounts that race: on both databases, over two nodes."""

from typing import Any

import pytest
from tests.fixtures.postgres import race
from tests.store.made import count

from watchword.credentials.passkey import Passkey
from watchword.store import (
    factors,
    identities,
    links,
    logout_notices,
    new_accounts,
    passkeys,
    profile_changes,
    sessions,
    trust,
    upstream_accounts,
    user_changes,
    users,
    ways_in,
)
from watchword.store.audit import events
from watchword.store.conditions import Ended, in_session
from watchword.store.database import Database
from watchword.store.identities import RegisteredIdentity
from watchword.store.passkeys import MadePasskey, StoredPasskey
from watchword.store.sessions import Session
from watchword.store.upstream_accounts import UpstreamAccount
from watchword.store.users import User
from watchword.store.ways_in import Accepted

NOW = 1_900_000_000
MANY = 12


async def _signed_in(database: Database, expires_at: int) -> None:
    """Make the account user_1 with one session, s, which is remembered."""
    user = User(id="user_1", username="ada", created_at=NOW)
    names = {"canonical_username": "ada", "skeleton": "ada", "canonical_email": None}
    await database.write(users.create_user, user, **names, password_hash=None, actor="test")
    session = Session(
        id="s", user_id="user_1", created_at=NOW, authenticated_at=NOW, last_seen_at=NOW, idle_expires_at=expires_at,
        expires_at=expires_at, acr="", amr=(), user_agent="", address="", remembered=True,
    )  # fmt: skip
    await database.write(sessions.create_session, session, b"s" * 32, limit=9, actor="user_1")


async def test_a_session_ends_with_all_that_ends_with_it_though_its_limits_shrink_while_it_is_in_use(
    database: Database,
) -> None:
    await _signed_in(database, NOW + 9000)
    # Signed in again without being remembered, while a request of another tab has read how long the session was to last.
    shorter = {
        "acr": "",
        "amr": (),
        "authenticated_at": NOW,
        "confirmed_at": NOW,
        "limits": (False, NOW + 60, NOW + 60),
    }
    assert await database.write(
        sessions.elevate_session, "s", b"t" * 32, **shorter, actor="user_1", now=NOW
    )  # fmt: skip
    await database.write(sessions.touch_session, "s", idle_expires_at=NOW + 9000, now=NOW, address="::1")
    found = await database.read(sessions.get_session, "s", NOW)
    assert found is not None
    assert (found.idle_expires_at, found.expires_at, found.address) == (NOW + 60, NOW + 60, "::1")
    assert await database.write(sessions.end_expired, NOW + 60) == 1


async def test_what_is_under_way_for_an_account_that_is_deleted_meanwhile_comes_to_nothing(
    database: Database,
) -> None:
    await _signed_in(database, NOW + 60)

    async def assertion(number: int) -> str:
        link = trust.Link(issuer="https://idp.example", subject="ada", user_id="user_1")
        use = trust.Use(
            used=(bytes([number]) * 32, NOW + 60, NOW), row=None, link=link, client_id="c", subject="user_1", rule_id="r", details={}
        )  # fmt: skip
        return await database.write(trust.use_assertion, use, NOW)

    assert await assertion(1) == "accepted"
    await logout_notices.note_client(database, "s", "c", NOW)
    assert (await count(database, "session_clients"), await count(database, "asserted_people")) == (1, 1)
    await database.write(user_changes.delete_user, "user_1", actor="test", now=NOW)
    assert await assertion(2) == "linked"
    await logout_notices.note_client(database, "s", "c", NOW)
    assert (await count(database, "session_clients"), await count(database, "asserted_people")) == (0, 0)


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


def unique_forms(name: str, **more: str) -> Any:
    """Return the forms of a name as they are unique."""
    return {
        "canonical_username": name,
        "skeleton": name,
        "canonical_email": None,
        "password_hash": None,
    } | more


async def test_lg_24_of_many_owners_by_one_link_at_once_one_is_made(nodes: tuple[Database, Database]) -> None:
    link = b"setup" * 6
    await nodes[0].write(
        links.create_link, link, purpose="setup", subject="owner", data={}, expires_at=NOW + 600, now=NOW
    )
    outcomes = await race(
        *(
            nodes[number % 2].write(
                new_accounts.create_owner,
                link,
                User(id=f"user_{number}", username=f"owner{number}", is_admin=True, created_at=NOW),
                unique_forms(f"owner{number}", password_hash="x"),
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


async def test_the_last_administrator_changes_in_all_but_that(database: Database) -> None:
    only = await make_admin(database, 0)
    kept: dict[str, Any] = {"display_name": "Ada", "attributes": None, "actor": only, "now": NOW}
    outcomes = [
        await database.write(profile_changes.update_profile, only, is_admin=is_admin, **kept)
        for is_admin in (None, True, False)
    ]
    assert outcomes == ["changed", "changed", "last"]
    unknown = await database.write(profile_changes.update_profile, "user_none", is_admin=None, **kept)
    assert unknown == "unknown"


@pytest.mark.parametrize("turn", range(5))
async def test_of_administrators_who_remove_each_other_at_once_one_stays(
    nodes: tuple[Database, Database], turn: int
) -> None:
    one, two, three = [await make_admin(nodes[0], number) for number in range(3)]
    demoted: dict[str, Any] = {"display_name": None, "attributes": {}, "is_admin": False}
    outcomes = await race(
        nodes[0].write(user_changes.delete_user, one, actor=two, now=NOW),
        nodes[1].write(profile_changes.update_profile, two, actor=three, now=NOW, **demoted),
        nodes[turn % 2].write(user_changes.set_disabled, three, True, actor=one, now=NOW),
    )
    assert sorted(map(str, outcomes)) == ["changed", "changed", "last"]
    assert await nodes[0].read(users.count_admins) == 1


async def begin_session(database: Database, person: str) -> str:
    times = {"last_seen_at": NOW, "idle_expires_at": NOW + 60, "expires_at": NOW + 60}
    session = Session(
        id=f"session of {person}", user_id=person, created_at=NOW, authenticated_at=NOW, acr="", amr=(), user_agent="", address="", **times
    )  # fmt: skip
    assert await database.write(sessions.create_session, session, person.encode(), limit=9, actor="a")
    return session.id


@pytest.mark.parametrize("turn", range(4))
async def test_of_administrators_who_all_delete_themselves_at_once_one_stays(
    nodes: tuple[Database, Database], turn: int
) -> None:
    admins = [await make_admin(nodes[0], number) for number in range(3)]
    held = [(await begin_session(nodes[0], one), one, NOW) for one in admins]
    outcomes = await race(
        *(
            nodes[(at + turn) % 2].write(
                in_session, *asks, user_changes.delete_user, asks[1], actor=asks[1], now=NOW
            )
            for at, asks in enumerate(held)
        )
    )
    assert sorted(map(str, outcomes)) == ["changed", "changed", "last"]
    assert await nodes[0].read(users.count_admins) == 1


@pytest.mark.parametrize("turn", range(4))
async def test_what_a_session_asks_for_comes_before_its_end_or_not_at_all(
    nodes: tuple[Database, Database], turn: int
) -> None:
    person = await make_admin(nodes[0], 0)
    session = await begin_session(nodes[0], person)
    asked = (session, person, NOW, factors.add_totp, person, b"sealed")
    done, ended = await race(
        nodes[turn % 2].write(in_session, *asked, step=1, actor=person, now=NOW),
        nodes[1].write(sessions.end_session, session, actor=person, now=NOW),
    )
    assert ended is True
    assert (await nodes[0].read(factors.enrolled, person)).totp is (done is True)
    assert await nodes[0].write(in_session, *asked, step=1, actor=person, now=NOW) == Ended()


async def test_a_change_that_says_nothing_of_power_gives_none_back(database: Database) -> None:
    one, _ = await make_admin(database, 0), await make_admin(database, 1)
    said: dict[str, Any] = {"attributes": {}, "actor": "a", "now": NOW}
    assert (
        await database.write(profile_changes.update_profile, one, display_name=None, is_admin=False, **said)
        == "changed"
    )
    assert (
        await database.write(profile_changes.update_profile, one, display_name="x", is_admin=None, **said)
        == "changed"
    )
    changed = await database.read(users.get_user, one)
    assert changed is not None
    assert (changed.display_name, changed.is_admin) == ("x", False)


ISSUERS = ("https://one.example", "https://two.example")


async def make_person(database: Database, *, ways: int, password: str | None = None) -> str:
    """Make a person with passkeys and linked accounts, as many of each."""
    user = User(id="user_ways", username="ways", created_at=NOW)
    unique: dict[str, Any] = {"canonical_username": "ways", "skeleton": "ways", "canonical_email": None}
    assert await database.write(users.create_user, user, password_hash=password, actor="a", **unique)
    for number in range(ways):
        key = Passkey(
            credential_id=f"credential {number}".encode(),
            user_handle=b"h",
            public_key=b"k",
            sign_count=0,
            backup_eligible=True,
            backed_up=True,
            user_verified=True,
            transports=(),
            aaguid="",
        )
        stored = StoredPasskey(
            id=f"passkey_{number}", user_id=user.id, name="x", created_at=NOW, last_used_at=None, passkey=key
        )
        made = MadePasskey(stored=stored, challenge=(f"challenge {number}".encode(), NOW + 60, NOW))
        assert await database.write(passkeys.add_passkey, made, actor="a")
        linked = UpstreamAccount(ISSUERS[number], "sub", user.id, "ways", NOW)
        assert await database.write(upstream_accounts.link_upstream, linked, actor="a")
    return user.id


async def make_identity(database: Database, person: str, expires_at: int = NOW + 60) -> RegisteredIdentity:
    """Register an identity of a person."""
    identity = RegisteredIdentity(
        id="zid_1", owner_kind="user", owner_id=person, name="x", document="{}",
        registered_at=NOW, expires_at=expires_at,
    )  # fmt: skip
    assert await database.write(identities.register_identity, identity, b"point", actor="a")
    return identity


@pytest.mark.parametrize(
    "expires_at", [NOW + 60, NOW], ids=["that is valid is a way", "that has expired is none"]
)
async def test_an_identity(database: Database, expires_at: int) -> None:
    person = await make_person(database, ways=1)
    await make_identity(database, person, expires_at)
    outcome = await database.write(
        ways_in.remove_passkey,
        "passkey_0",
        person,
        Accepted(True, True, True, frozenset()),
        actor=person,
        now=NOW,
    )
    assert outcome == ("removed" if expires_at > NOW else "last")


async def test_the_trail_tells_of_an_identity_that_ends_with_its_owner(database: Database) -> None:
    person = await make_person(database, ways=1)
    identity = await make_identity(database, person)
    assert await database.write(user_changes.delete_user, person, actor="b", now=NOW) == "changed"
    told = await database.read(events.list_events, target=identity.id, limit=1)
    assert [(event.name, event.actor) for event in told] == [("identity.revoked", "b")]


@pytest.mark.parametrize("turn", range(4))
async def test_of_ways_to_sign_in_that_are_all_removed_at_once_one_stays(
    nodes: tuple[Database, Database], turn: int
) -> None:
    person = await make_person(nodes[0], ways=2)
    accepted, by = Accepted(True, True, True, frozenset(ISSUERS)), {"actor": person, "now": NOW}
    identity = await make_identity(nodes[0], person)
    outcomes = await race(
        nodes[1].write(ways_in.revoke_own_identity, identity, b"point", accepted, now=NOW),
        nodes[0].write(ways_in.remove_passkey, "passkey_0", person, accepted, **by),
        nodes[1].write(ways_in.unlink_upstream, person, ISSUERS[0], accepted, **by),
        nodes[turn % 2].write(ways_in.remove_passkey, "passkey_1", person, accepted, **by),
        nodes[1 - turn % 2].write(ways_in.unlink_upstream, person, ISSUERS[1], accepted, **by),
    )
    assert sorted(map(str, outcomes)) == ["last", *["removed"] * 4]
    assert await nodes[0].read(ways_in.has_other_way, person, accepted, NOW)


@pytest.mark.parametrize(
    ("accepted", "outcome"),
    [
        pytest.param(
            Accepted(True, True, False, frozenset()), "removed", id="a password that signs people in is a way"
        ),
        pytest.param(
            Accepted(False, True, False, frozenset()), "last", id="a password that signs nobody in is none"
        ),
        pytest.param(
            Accepted(False, True, False, frozenset(ISSUERS)),
            "removed",
            id="an account at a provider is a way",
        ),
        pytest.param(
            Accepted(False, True, False, frozenset({"https://other.example"})),
            "last",
            id="an account at a provider that is not offered any more is none",
        ),
        pytest.param(
            Accepted(False, False, False, frozenset()),
            "removed",
            id="a passkey that signs nobody in takes no way along",
        ),
    ],
)
async def test_a_passkey_goes_only_when_another_way_to_sign_in_stays(
    database: Database, accepted: Accepted, outcome: str
) -> None:
    person = await make_person(database, ways=1, password="x")
    by: dict[str, Any] = {"actor": person, "now": NOW}
    assert await database.write(ways_in.remove_passkey, "passkey_0", person, accepted, **by) == outcome
    assert bool(await database.read(passkeys.list_passkeys, person)) is (outcome == "last")
    assert await database.write(ways_in.remove_passkey, "passkey_9", person, accepted, **by) in (
        "unknown",
        "last",
    )


async def register(database: Database, number: int, subject: str) -> bool:
    """Register by an account elsewhere, with an address of one's own."""
    name = f"new{number}@example.com"
    user = User(id=f"user_{number}", username=name, email=name, email_verified_at=NOW, created_at=NOW)
    linked = UpstreamAccount(ISSUERS[0], subject, user.id, "new", NOW)
    unique = unique_forms(name, canonical_email=name)
    return await database.write(new_accounts.create_with, user, unique, linked) == "created"


async def test_of_many_accounts_for_one_person_elsewhere_at_once_one_is_made(
    nodes: tuple[Database, Database],
) -> None:
    assert sorted(await race(*(register(nodes[n % 2], n, "one") for n in range(MANY)))) == [
        *[False] * (MANY - 1),
        True,
    ]
    made = await nodes[0].read(users.list_users, after="", limit=100)
    linked = await nodes[0].read(upstream_accounts.find_upstream, ISSUERS[0], "one")
    assert [user.id for user in made] == [linked.user_id if linked else None], "none without a way in"


async def test_an_address_that_is_taken_links_nothing(database: Database) -> None:
    assert await register(database, 1, "one")
    assert not await register(database, 1, "two")
    assert await database.read(upstream_accounts.find_upstream, ISSUERS[0], "two") is None
