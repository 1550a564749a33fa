"""Growth: what requests, lists and purges ask of the embedded database is found by an index, however many rows there are."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from watchword.store import api_tokens, events, limits, migrate, sessions, users
from watchword.store.database import drive
from watchword.store.sqlite_transaction import SqliteTransaction

NOW = 1_700_000_000
ASKED: dict[str, Callable[[SqliteTransaction], Awaitable[Any]]] = {
    "the sessions of a person": lambda tx: sessions.list_sessions(tx, user_id="u", now=NOW),
    "the tokens of an owner": lambda tx: api_tokens.list_tokens(tx, after="", limit=50, owner="o", now=NOW),
    "the next page of the tokens of an owner": lambda tx: api_tokens.list_tokens(
        tx, after="token_x", limit=50, owner="o", state="active", now=NOW
    ),
    "the events about something": lambda tx: events.list_events(tx, limit=50, target="x"),
    "the next page of all events": lambda tx: events.list_events(tx, limit=50, before=(NOW, "c", 1)),
    "how many may administer": users.count_admins,
    "whether somebody is the last who may administer": lambda tx: users.is_last_admin(tx, "u"),
    "which tokens and secrets are to be forgotten": lambda tx: api_tokens.purge_dead_tokens(tx, NOW),
    **{
        f"which {table} are to be forgotten": partial(limits.purge, table=table, before=NOW)
        for table in limits.PURGED
        if table != "client_secrets"  # a few for each client
    },
}


# No table at all, and an index that holds nothing but the few rows that are wanted.
FINE = ("SCAN CONSTANT ROW", "SCAN users USING INDEX users_admins")


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    migrate.apply_sqlite(connection)
    yield connection
    connection.close()


def scans(connection: sqlite3.Connection, statement: str) -> list[str]:
    """Return where a statement looks at every row of a table."""
    plan = [str(row["detail"]) for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    return [step for step in plan if step.startswith("SCAN") and step not in FINE]


def test_a_scan_is_noticed(connection: sqlite3.Connection) -> None:
    assert scans(connection, "SELECT id FROM sessions WHERE address = 'x'") == ["SCAN sessions"]


@pytest.mark.parametrize("operation", ASKED.values(), ids=ASKED.keys())
def test_no_table_is_looked_through(
    connection: sqlite3.Connection, operation: Callable[[SqliteTransaction], Awaitable[Any]]
) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    drive(operation(SqliteTransaction(connection, None, b"")))
    connection.set_trace_callback(None)
    asked = [one for one in statements if one.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert asked
    assert {one: scans(connection, one) for one in asked} == {one: [] for one in asked}
