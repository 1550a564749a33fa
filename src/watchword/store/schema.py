"""The tables that the migrations make, described once for both databases: columns, keys, and who refers to whom.

Read from the migrations themselves, so that whatever walks over every table (backup, move) cannot forget one.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache

import msgspec

from watchword.store import migrate

VERSIONS = "schema_versions"


class Table(msgspec.Struct, frozen=True):
    """One table; columns are given by position. `level` is the column that sorts a row after the row of the same table that it refers to,
    `names` are the texts besides the key that no two rows have in common."""

    name: str
    columns: tuple[str, ...]
    binary: frozenset[int]
    whole: frozenset[int]
    real: frozenset[int]
    filled: frozenset[int]
    key: tuple[str, ...]
    parents: frozenset[str]
    level: str | None = None
    names: tuple[str, ...] = ()

    def kind(self, n: int) -> type:
        """Return what a column holds: bytes, int, float or str."""
        if n in self.real:
            return float
        if n in self.whole:
            return int
        return bytes if n in self.binary else str

    @property
    def order(self) -> tuple[str, ...]:
        """The columns that rows are copied in the order of."""
        return (self.level, *self.key) if self.level else self.key


def newest() -> int:
    """Return the schema version of this program."""
    return migrate.migrations()[-1][0]


@lru_cache(maxsize=8)
def tables(version: int) -> tuple[Table, ...]:
    """Return the tables of a schema version, each after those that it refers to."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for number, _, body in migrate.migrations():
            if number <= version:
                _apply(connection, body)
        return _read(connection)


@lru_cache(maxsize=1)
def taken_away() -> tuple[str, ...]:
    """Return the names of the tables that some migration dropped, each before those that it refers to."""
    ever: dict[str, None] = {}
    with closing(sqlite3.connect(":memory:")) as connection:
        for _, _, body in migrate.migrations():
            _apply(connection, body)
            now = _read(connection)
            ever |= dict.fromkeys(table.name for table in now)
    kept = {table.name for table in now}
    return tuple(name for name in reversed(ever) if name not in kept)


def _apply(connection: sqlite3.Connection, migration: Sequence[str]) -> None:
    for statement in migration:
        connection.execute(statement)


def _read(connection: sqlite3.Connection) -> tuple[Table, ...]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return _sorted([_table(connection, name) for (name,) in names if not name.startswith("sqlite_")])


def _table(connection: sqlite3.Connection, name: str) -> Table:
    columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
    parents = {row[2] for row in connection.execute(f"PRAGMA foreign_key_list({name})")}
    return Table(
        name=name,
        columns=tuple(column[1] for column in columns),
        binary=frozenset(n for n, column in enumerate(columns) if column[2] == "BYTEA"),
        whole=frozenset(n for n, column in enumerate(columns) if column[2] == "BIGINT"),
        real=frozenset(n for n, column in enumerate(columns) if column[2] == "DOUBLE PRECISION"),
        filled=frozenset(n for n, column in enumerate(columns) if column[3] or column[5]),
        key=tuple(column[1] for column in sorted(columns, key=lambda column: column[5]) if column[5]),
        parents=frozenset(parents - {name}),
        level="depth" if name in parents else None,
        names=tuple(
            column[1] for column in columns if column[2] == "TEXT" and column[1] in _unique(connection, name)
        ),
    )


def _unique(connection: sqlite3.Connection, name: str) -> set[str]:
    """Return the columns that are unique by themselves."""
    indexes = connection.execute(
        f"SELECT name FROM pragma_index_list('{name}') WHERE origin = 'u'"  # noqa: S608 - from the schema
    )
    found = [connection.execute(f"PRAGMA index_info({index})").fetchall() for (index,) in indexes]
    return {columns[0][2] for columns in found if len(columns) == 1}


def _sorted(found: list[Table]) -> tuple[Table, ...]:
    done: list[Table] = []
    while found:
        ready = [table for table in found if table.parents <= {known.name for known in done}]
        done += ready
        found = [table for table in found if table not in ready]
    return tuple(done)
