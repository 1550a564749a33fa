"""Clients: one winner of every conflict, and nothing of a deleted client lives on (AD-09)."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.fixtures.postgres import Store, race
from tests.store.made import NOW, add_token, client, count, digest, select, user
from tests.store.test_postgres_ends import held_trail, until_waiting

from watchword.oauth.clients import AUTH_METHODS, SECRET_METHODS, Client, ExchangeRules
from watchword.store import (
    client_secrets,
    clients,
    consents,
    document_clients,
    identities,
    logout_notices,
    registrations,
    sessions,
    users,
)
from watchword.store import ended as endings
from watchword.store.audit import events
from watchword.store.database import Database
from watchword.store.identities import RegisteredIdentity
from watchword.store.sessions import Session

Nodes = tuple[Database, Database]


async def create(database: Database, made: Client) -> bool:
    return await database.write(clients.create_client, made, actor="test", now=NOW)


async def update(database: Database, made: Client, version: int, *, kill: bool = False) -> Client | None:
    return await database.write(
        clients.update_client,
        made,
        expected_version=version,
        disabled_at=None,
        kill=kill,
        actor="test",
        now=NOW,
    )


async def add_secret(database: Database, id: str, overlap_until: int | None = None) -> bool:
    return await database.write(
        client_secrets.add_secret,
        "cl_1",
        id=id,
        digest=digest(id),
        expires_at=None,
        overlap_until=overlap_until,
        actor="test",
        now=NOW,
    )


async def live(database: Database, now: int) -> list[str]:
    return sorted(id for _, id, _ in await database.read(client_secrets.live_digests, "cl_1", now))


async def test_a_client_is_read_as_it_was_stored(database: Database) -> None:
    made = client(redirect_uris=("https://app.example/callback",), scope=("a", "b"), groups=("staff",))
    assert await create(database, made)
    found = await database.read(clients.find_client, "cl_1")
    assert found is not None
    assert found.client == msgspec.structs.replace(made, created_at=NOW)
    assert (found.valid_from, found.last_used_at) == (0, None)
    assert await database.read(clients.find_client, "cl_2") is None


async def test_of_several_nodes_that_create_one_client_one_succeeds(nodes: Nodes) -> None:
    outcomes = await race(*(create(nodes[n % 2], client(name=f"n{n}")) for n in range(8)))
    assert sorted(outcomes) == [False] * 7 + [True]
    found = await nodes[0].read(clients.find_client, "cl_1")
    assert found is not None
    assert found.client.name == f"n{outcomes.index(True)}"


async def test_of_two_administrators_who_edit_at_once_one_is_told_so(nodes: Nodes) -> None:
    await create(nodes[0], client())
    outcomes = await race(*(update(nodes[n % 2], client(name=f"n{n}"), 1) for n in range(6)))
    winners = [outcome for outcome in outcomes if outcome is not None]
    assert len(winners) == 1
    assert (winners[0].version, await update(nodes[0], client(), 1)) == (2, None)
    assert await update(nodes[0], client(), 2) is not None


async def test_what_a_later_release_keeps_of_a_client_survives_a_change_by_this_one(
    database: Database,
) -> None:
    """Nodes of both serve during an update: a limit that only one of them knows must not end because the other one renamed the client."""
    exchange = ExchangeRules(serves=("https://a.example",))
    await create(database, client(token_exchange=exchange))
    later = await database.read(select, "SELECT document FROM clients")
    document = later[0]["document"].replace('"groups":[]', '"groups":[],"hours":{"from":8},"floor":null')
    document = document.replace('"serves":', '"most":3,"serves":')
    assert "hours" in document
    assert "most" in document
    await database.write(lambda tx: tx.run("UPDATE clients SET document = $1", document))
    changed = await update(database, client(name="renamed", token_exchange=exchange), 1)
    assert changed is not None
    assert (changed.name, changed.token_exchange) == ("renamed", exchange), "the honest part"
    (row,) = await database.read(select, "SELECT document FROM clients")
    assert msgspec.json.decode(row["document"]) == msgspec.json.decode(document) | {"name": "renamed"}


async def test_a_client_with_a_document_does_not_come_back_without_what_an_operator_said_of_it(
    database: Database,
) -> None:
    """Its document is read again with its next request, and by then its row would be forgotten."""
    said = {"a": {"groups": ("staff",)}, "b": {"security_profile": "fapi2"}, "c": {}, "d": {}}
    for origin in ("document", "dynamic"):
        for name, more in said.items():
            await create(database, client(f"{origin} {name}", origin=origin, **more))
    await database.write(
        lambda tx: tx.run("UPDATE clients SET document = 'x' WHERE client_id = 'document d'")
    )
    purged = [
        await database.write(registrations.purge_unused_clients, NOW + 1, now=NOW + 1, limit=1)
        for _ in range(6)
    ]
    assert purged == [1, 1, 1, 1, 1, 0]
    rows = await database.read(select, "SELECT client_id FROM clients ORDER BY client_id")
    assert [row["client_id"] for row in rows] == ["document a", "document b", "document d"]


async def test_a_kill_ends_the_tokens_issued_before_and_an_edit_does_not(database: Database) -> None:
    await create(database, client())
    for kill, valid_from in ((False, 0), (True, NOW + endings.LATE)):
        found = await database.read(clients.find_client, "cl_1")
        assert found is not None
        await update(database, client(), found.client.version, kill=kill)
        after = await database.read(clients.find_client, "cl_1")
        assert after is not None
        assert after.valid_from == valid_from


async def test_the_trail_tells_of_every_token_and_identity_that_ends_with_its_client(
    database: Database,
) -> None:
    await create(database, client())
    for kind in ("client", "application"):
        identity = RegisteredIdentity(
            id=f"zid_{kind}", owner_kind=kind, owner_id="cl_1", name="x", document="{}", registered_at=NOW, expires_at=NOW,
        )  # fmt: skip
        assert await database.write(identities.register_identity, identity, kind.encode(), actor="a")
    await add_token(database, owner_kind="client", owner_id="cl_1")
    await add_token(database, "tok_2", owner_kind="client", owner_id="cl_1", parent_id="tok_1", depth=1)
    await add_token(database, "tok_3", owner_kind="application", owner_id="cl_1")
    assert await database.write(clients.delete_client, "cl_1", actor="test", now=NOW)
    revoked = await database.read(events.list_events, name="identity.revoked", limit=9)
    assert [(event.actor, event.target) for event in revoked] == [("test", "zid_client")]
    ended = {}
    for one in ("tok_1", "tok_2", "tok_3"):
        found = await database.read(events.list_events, target=one, name="token.revoked", limit=9)
        ended[one] = [(event.actor, event.data["reason"]) for event in found]
    assert ended == {"tok_1": [("test", "owner deleted")], "tok_2": [("test", "owner deleted")], "tok_3": []}


async def test_deleting_a_client_ends_its_secrets_and_leaves_its_namesake_nothing(database: Database) -> None:
    await create(database, client())
    await add_secret(database, "s1")
    first = await database.read(clients.find_client, "cl_1")
    assert first is not None
    assert first.valid_from == 0
    assert await database.write(clients.delete_client, "cl_1", actor="test", now=NOW)
    assert await live(database, NOW) == []
    assert await count(database, "client_secrets") == 0
    assert await database.write(clients.delete_client, "cl_1", actor="test", now=NOW) is False
    assert await add_secret(database, "s2") is False
    await create(database, client())
    second = await database.read(clients.find_client, "cl_1")
    assert second is not None
    assert second.valid_from > NOW, "what was issued to the first one was issued before"


async def test_ap_09_a_namesake_inherits_nothing_that_a_clock_which_is_ahead_has_dated(
    database: Database,
) -> None:
    await create(database, client())
    given = {"session_id": "s", "scope": ("a",), "now": NOW + 2}
    await database.write(consents.remember_consent, "u", "cl_1", "b", **given)
    names = {"canonical_username": "u", "skeleton": "u", "canonical_email": None}
    await database.write(users.create_user, user("u"), **names, password_hash=None, actor="test")
    session = Session(
        id="s", user_id="u", created_at=NOW, authenticated_at=NOW, last_seen_at=NOW, idle_expires_at=NOW + 60,
        expires_at=NOW + 60, acr="", amr=(), user_agent="", address="",
    )  # fmt: skip
    await database.write(sessions.create_session, session, digest("s"), limit=9, actor="u")
    await logout_notices.note_client(database, "s", "cl_1", NOW + 2)
    await database.write(
        lambda tx: tx.run(
            "INSERT INTO logout_notices (session_id, client_id, user_id, created_at, next_at, expires_at) "
            "VALUES ('s', 'cl_1', 'u', $1, $1, $1)",
            NOW + 2,
        )
    )
    tables = ("consents", "session_clients", "logout_notices")
    assert [await count(database, table) for table in tables] == [1, 1, 1]
    await database.write(clients.delete_client, "cl_1", actor="test", now=NOW)
    assert [await count(database, table) for table in tables] == [0, 0, 0]


async def read(database: Database, made: Client) -> bool:
    return await database.write(document_clients.keep_reading, made, fresh_until=NOW, now=NOW) is not None


@pytest.mark.postgres
@pytest.mark.parametrize("make", [create, read])
async def test_ap_09_a_namesake_that_is_made_while_the_first_one_is_being_deleted_inherits_nothing(
    postgres_store: Store, make: Callable[[Database, Client], Awaitable[bool]]
) -> None:
    nodes = [await postgres_store.node() for _ in range(2)]
    await create(nodes[0], client())
    async with held_trail(postgres_store):
        deleting = asyncio.ensure_future(nodes[0].write(clients.delete_client, "cl_1", actor="test", now=NOW))
        await until_waiting(postgres_store, 1)
        making = asyncio.ensure_future(make(nodes[1], client()))
        await until_waiting(postgres_store, 2)
    assert (await deleting, await making) == (True, True)
    second = await nodes[0].read(clients.find_client, "cl_1")
    assert second is not None
    assert second.valid_from > NOW, "what was issued to the first one was issued before"


async def test_a_secret_and_the_deletion_of_its_client_do_not_meet_in_an_error(nodes: Nodes) -> None:
    await create(nodes[0], client())
    outcomes = await race(
        *(add_secret(nodes[n % 2], f"s{n}") for n in range(4)),
        nodes[1].write(clients.delete_client, "cl_1", actor="test", now=NOW),
        *(add_secret(nodes[n % 2], f"t{n}") for n in range(4)),
    )
    assert all(isinstance(outcome, bool) for outcome in outcomes)
    assert await count(nodes[0], "client_secrets") == 0


async def test_the_older_secret_lives_until_the_overlap_ends(database: Database) -> None:
    await create(database, client())
    await add_secret(database, "old")
    assert await add_secret(database, "new", overlap_until=NOW + 60)
    assert await live(database, NOW + 59) == ["new", "old"]
    assert await live(database, NOW + 60) == ["new"]
    listed = await database.read(client_secrets.list_secrets, "cl_1")
    assert {secret.id: secret.expires_at for secret in listed} == {"old": NOW + 60, "new": None}


async def test_of_several_rotations_at_once_one_secret_survives_the_overlap(nodes: Nodes) -> None:
    await create(nodes[0], client())
    assert all(await race(*(add_secret(nodes[n % 2], f"s{n}", NOW + 60) for n in range(8))))
    assert len(await live(nodes[0], NOW)) == 8
    assert len(await live(nodes[0], NOW + 60)) == 1


async def test_a_deleted_secret_ends_at_once(database: Database) -> None:
    await create(database, client())
    await add_secret(database, "s1")
    assert await database.write(client_secrets.delete_secret, "cl_1", "s1", actor="test", now=NOW)
    assert await live(database, NOW) == []
    assert await database.write(client_secrets.delete_secret, "cl_1", "s1", actor="test", now=NOW) is False


@pytest.mark.parametrize("method", [name for name in AUTH_METHODS if name not in SECRET_METHODS])
async def test_secrets_end_when_a_client_authenticates_in_another_way(
    database: Database, method: str
) -> None:
    await create(database, client())
    assert all([await add_secret(database, id) for id in ("s1", "s2")])
    await update(database, client(token_endpoint_auth_method="client_secret_post"), 1)
    assert await live(database, NOW) == ["s1", "s2"]
    await update(database, client(token_endpoint_auth_method=method), 2)
    trail = await database.read(events.list_events, limit=9)
    ended = [event.data["secret"] for event in trail if event.name == "client.secret_removed"]
    assert sorted(ended) == ["s1", "s2"]
    assert await add_secret(database, "s3") is False, "asked for just before"
    await update(database, client(), 3)
    assert await live(database, NOW) == []


async def test_clients_are_listed_in_pages_ordered_byte_by_byte(database: Database) -> None:
    names = ["A", "B", "Z", "_", "a", "b"]
    for name in reversed(names):
        await create(database, client(name))
    found: list[str] = []
    while page := await database.read(clients.list_clients, after=found[-1] if found else "", limit=2):
        found += [facts.client.client_id for facts in page]
    assert found == names


async def test_scopes_are_those_of_the_newest_clients_however_many_registered_themselves(
    database: Database,
) -> None:
    for number, origin in enumerate(("registered", *("self_registered",) * 3, "registered", "registered")):
        made = client(f"c{number}", origin=origin, scope=("shared", f"{origin}:{number}"))
        await database.write(clients.create_client, made, actor="test", now=NOW + number)
    everything = ["registered:0", "registered:4", "registered:5", "shared"]
    assert await database.read(clients.list_scopes) == everything
    assert await database.read(clients.list_scopes, clients=2) == everything[1:]


async def test_a_search_is_how_a_name_or_an_identifier_begins_and_takes_no_wildcards(
    database: Database,
) -> None:
    for id, name in (("1", "100% Sure"), ("2", "100 percent"), ("3", "under_score"), ("4", "Ärger")):
        await create(database, client(id, name=name))
    await create(database, client("https://Agent.example.com/x", name="Agent of others"))
    for search, expected in (
        ("100%", ["1"]),
        ("100 PER", ["2"]),
        ("_", []),
        ("sure", []),
        ("ÄR", ["4"]),
        ("är", []),
        ("100", ["2", "1"]),
        ("https://agent.ex", ["https://Agent.example.com/x"]),
    ):
        page = await database.read(clients.search_clients, after="", limit=10, search=search)
        assert [facts.client.client_id for facts, _ in page] == expected, search


async def test_the_latest_use_stays_whatever_order_nodes_report_in(database: Database) -> None:
    await create(database, client())
    await add_secret(database, "s1")
    for at in (NOW + 5, NOW + 2):
        await database.write(
            clients.flush_client_usage, [("s1", at, f"address at {at}")], [("cl_1", at), ("gone", at)]
        )
    secret = (await database.read(client_secrets.list_secrets, "cl_1"))[0]
    assert (secret.last_used_at, secret.last_address) == (NOW + 5, f"address at {NOW + 5}")
    found = await database.read(clients.find_client, "cl_1")
    assert found is not None
    assert found.last_used_at == NOW + 5


async def test_a_change_of_nothing_leaves_no_trace(database: Database) -> None:
    made = client(scope=("a",), groups=("staff",))
    await create(database, made)

    async def disable(version: int) -> Client | None:
        given = {"disabled_at": NOW, "kill": True, "actor": "test", "now": NOW + version}
        return await database.write(clients.update_client, made, expected_version=version, **given)

    async def traces() -> list[str]:
        return [row["name"] for row in await database.read(select, "SELECT name FROM events ORDER BY seq")]

    same = await update(database, made, 1)
    assert same is not None
    assert (same.version, await traces()) == (1, ["client.created"])
    disabled = await disable(1)
    assert disabled is not None
    assert (disabled.version, await traces()) == (2, ["client.created", "client.updated"])
    again = await disable(2)
    assert again is not None
    assert (again.version, await traces()) == (2, ["client.created", "client.updated"])
    assert await disable(1) is None, "whoever has an older version is told so all the same"
    row = (await database.read(select, "SELECT updated_at FROM clients"))[0]
    assert row["updated_at"] == NOW + 1
