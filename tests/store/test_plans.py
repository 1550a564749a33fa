"""Growth: what requests, lists and purges ask of the embedded database is found by an index, however many rows there are."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tests.fixtures.rows import in_turn

from watchword.store import (
    api_tokens,
    clients,
    consents,
    limits,
    migrate,
    overview,
    sessions,
    token_purge,
    users,
)
from watchword.store.audit import events
from watchword.store.database import drive
from watchword.store.sqlite.transaction import SqliteTransaction

NOW = 1_700_000_000
COUNTS = "how much there is of everything"
ASKED: dict[str, Callable[[SqliteTransaction], Awaitable[Any]]] = {
    "the sessions of a person": lambda tx: sessions.list_sessions(tx, user_id="u", now=NOW),
    "whose several sessions are": lambda tx: sessions.owners_of(tx, ["a", "b"]),
    "the tokens of an owner": lambda tx: api_tokens.list_tokens(tx, after="", limit=50, owner="o", now=NOW),
    "the next page of the tokens of an owner": lambda tx: api_tokens.list_tokens(
        tx, after="token_x", limit=50, owner="o", state="active", now=NOW
    ),
    "the events about something": lambda tx: events.list_events(tx, limit=50, target="x"),
    "the next page of all events": lambda tx: events.list_events(tx, limit=50, before=(NOW, "c", 1)),
    COUNTS: lambda tx: overview.count_everything(tx, NOW, NOW + 86_400),
    "the next page of people by name": lambda tx: users.list_by_name(
        tx, after='[0,"kim","user_x"]', limit=50
    ),
    "people by how their names and addresses begin": lambda tx: users.list_by_name(
        tx, after="", limit=50, search="kim"
    ),
    "the next page of them": lambda tx: users.list_by_name(
        tx, after='[0,"kim","user_x"]', limit=50, search="kim"
    ),
    "the next page of those found by their addresses": lambda tx: users.list_by_name(
        tx, after='[1,"kim@example.com","user_x"]', limit=50, search="kim"
    ),
    "a person by identifier": lambda tx: users.list_by_name(tx, after="", limit=50, search=f"user_{1:032x}"),
    "people through the API": lambda tx: users.search_users(tx, after="", limit=50, search="kim"),
    "administrators by how their names and addresses begin": lambda tx: users.list_by_name(
        tx, after="", limit=50, state="administrators", search="kim"
    ),
    "who is switched off": lambda tx: users.list_by_name(tx, after="", limit=50, state="disabled"),
    "who is switched off, by how their names and addresses begin": lambda tx: users.list_by_name(
        tx, after="", limit=50, state="disabled", search="kim"
    ),
    "the next page of who is in a group": lambda tx: users.search_users(
        tx, after="user_x", limit=50, search="", group="staff"
    ),
    "who is in a group, by name": lambda tx: users.list_by_name(tx, after="", limit=50, group="staff"),
    "who is in a group, by how their names and addresses begin": lambda tx: users.list_by_name(
        tx, after="", limit=50, group="staff", search="kim"
    ),
    "tokens by how their names begin": lambda tx: api_tokens.search_tokens(
        tx, after="", limit=50, search="ci", now=NOW
    ),
    "the next page of those tokens": lambda tx: api_tokens.search_tokens(
        tx, after='[0,"ci","token_x"]', limit=50, search="ci", now=NOW
    ),
    "an owner's tokens by how their names begin": lambda tx: api_tokens.search_tokens(
        tx, after="", limit=50, search="ci", owner="o", now=NOW
    ),
    "tokens of a state by how their names begin": lambda tx: api_tokens.search_tokens(
        tx, after="", limit=50, search="ci", state="active", now=NOW
    ),
    "a token by identifier": lambda tx: api_tokens.search_tokens(
        tx, after="", limit=50, search=f"token_{1:032x}", now=NOW
    ),
    "tokens that have expired": lambda tx: api_tokens.list_tokens(
        tx, after="", limit=50, state="expired", now=NOW
    ),
    "tokens that were revoked": lambda tx: api_tokens.list_tokens(
        tx, after="", limit=50, state="revoked", now=NOW
    ),
    "applications by how their names and identifiers begin": lambda tx: clients.search_clients(
        tx, after="", limit=50, search="shop"
    ),
    "the next page of those applications": lambda tx: clients.search_clients(
        tx, after='[0,"shop","client_x"]', limit=50, search="shop"
    ),
    "the newest applications": lambda tx: clients.newest_clients(tx, after="", limit=50),
    "the next page of the newest applications": lambda tx: clients.newest_clients(
        tx, after=f"{NOW} client_x", limit=50
    ),
    "the applications of a person": lambda tx: clients.clients_of_person(tx, "u", after="", limit=50),
    "the next page of the applications of a person": lambda tx: clients.clients_of_person(
        tx, "u", after='[0,"shop","client_x"]', limit=50
    ),
    "what these were granted": lambda tx: consents.list_granted(tx, "u", ["client_x", "client_y"]),
    "rare events by name and actor": lambda tx: events.look_back(tx, limit=50, name="n", actors=["a", "b"]),
    "rare events about something": lambda tx: events.look_back(tx, limit=50, name="n", target="t"),
    "the next look for rare events": lambda tx: events.look_back(
        tx, limit=50, name="n", before=(NOW, "c", 1)
    ),
    "the administrators by name": lambda tx: users.list_by_name(
        tx, after="", limit=50, state="administrators"
    ),
    "the names of the people of a page": lambda tx: users.names_of(tx, ["u", "v"]),
    "how many may administer": users.count_admins,
    "whether somebody is the last who may administer": lambda tx: users.is_last_admin(tx, "u"),
    "which tokens are to be announced": lambda tx: api_tokens.note_expiring(tx, before=NOW + 1, now=NOW),
    "which tokens and secrets are to be forgotten": lambda tx: token_purge.purge_dead_tokens(tx, NOW),
    **{
        f"which {table} are to be forgotten": partial(limits.purge, table=table, before=NOW)
        for table in limits.PURGED
        if table != "client_secrets"  # a few for each client
    },
}


# No table at all, and an index that holds nothing but the few rows that are wanted.
FINE = (
    "SCAN CONSTANT ROW",
    "SCAN users USING INDEX users_admins",
    "SCAN users USING INDEX users_disabled",
    "SCAN users USING INDEX users_in_groups",
    "SCAN users USING INDEX users_in_groups_name",
    "SCAN api_tokens USING INDEX api_tokens_ended",
)
# What is fine for one that stops after so many rows: next to every account and client counts, for few of them are switched off.
BOUNDED = {
    COUNTS: ("SCAN users", "SCAN clients", "SCAN found"),
    "the newest applications": ("SCAN clients USING INDEX clients_created",),
}


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    migrate.apply_sqlite(connection)
    yield connection
    connection.close()


def scans(connection: sqlite3.Connection, statement: str, fine: tuple[str, ...] = FINE) -> list[str]:
    """Return where a statement looks at every row of a table."""
    plan = [str(row["detail"]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    steps = [step.replace(" COVERING ", " ") for step in plan]
    return [step for step in steps if step.startswith("SCAN") and step not in fine]


def test_a_scan_is_noticed(connection: sqlite3.Connection) -> None:
    assert scans(connection, "SELECT id FROM sessions WHERE address = 'x'") == ["SCAN sessions"]


@in_turn("what", ASKED)
def test_no_table_is_looked_through(connection: sqlite3.Connection, what: str) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    drive(ASKED[what](SqliteTransaction(connection, None, b"")))
    connection.set_trace_callback(None)
    asked = [one for one in statements if one.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert asked
    fine = (*FINE, *BOUNDED.get(what, ()))
    assert {one: scans(connection, one, fine) for one in asked} == {one: [] for one in asked}
    assert what not in BOUNDED or all("LIMIT" in one for one in asked)
