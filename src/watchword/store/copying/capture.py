"""Noting which rows change while a database is copied, and fencing the database off once it has moved.

Triggers in the source write the key of every changed row into `moving_changes`, whoever makes the change, so that nodes need not
know of it. The fence is a trigger as well: it refuses every change, even from a node of an older release that is still running.
`facts` is left out: it is small, changes all the time, and is copied whole in the end.
"""

import msgspec

from watchword.store.copying.bulk import CHANGES, IDENTITY, Bulk, Values, is_ours
from watchword.store.migrate import MOVED
from watchword.store.schema import VERSIONS, Table

FENCE = "this database was moved away by watchword move"
EVENTS = ("INSERT", "UPDATE", "DELETE")


class Change(msgspec.Struct, frozen=True):
    """A row that was changed: the number of the note, its table and its key."""

    seq: int
    table: str
    key: Values


def captured(tables: tuple[Table, ...]) -> tuple[Table, ...]:
    """Return the tables whose changes are noted."""
    return tuple(table for table in tables if table.name != "facts")


async def begin_capture(source: Bulk, tables: tuple[Table, ...], identity: str) -> None:
    """Note every change from the commit of the open transaction on."""
    width = max(len(table.key) for table in tables)
    columns = ", ".join(f"k{n} TEXT" for n in range(width))
    number = "BIGSERIAL PRIMARY KEY" if source.is_postgres else "INTEGER PRIMARY KEY AUTOINCREMENT"
    await source.run(f"CREATE TABLE {CHANGES} (seq {number}, name TEXT NOT NULL, {columns})")
    await source.run(f"CREATE TABLE {IDENTITY} (id TEXT NOT NULL)")
    await source.run(f"INSERT INTO {IDENTITY} VALUES ($1)", identity)  # noqa: S608 - a literal
    for table in captured(tables):
        for statement in _postgres_capture(table) if source.is_postgres else _sqlite_capture(table):
            await source.run(statement)


def _note(table: Table, row: str, *, postgres: bool) -> str:
    values = []
    for column in table.key:
        if table.columns.index(column) in table.binary:
            values.append(f"encode({row}.{column}, 'hex')" if postgres else f"hex({row}.{column})")
        else:
            values.append(f"CAST({row}.{column} AS TEXT)")
    places = ", ".join(f"k{n}" for n in range(len(values)))
    return f"INSERT INTO {CHANGES} (name, {places}) VALUES ('{table.name}', {', '.join(values)});"  # noqa: S608 - from the schema


def _sqlite_capture(table: Table) -> list[str]:
    notes = {event: _note(table, "OLD" if event == "DELETE" else "NEW", postgres=False) for event in EVENTS}
    notes["UPDATE"] += _note(table, "OLD", postgres=False)
    return [
        f"CREATE TRIGGER moving_{event.lower()}_{table.name} AFTER {event} ON {table.name} BEGIN {note} END"
        for event, note in notes.items()
    ]


def _postgres_capture(table: Table) -> list[str]:
    # SECURITY DEFINER: a node may have no right to the table of the notes.
    return [
        f"CREATE OR REPLACE FUNCTION moving_{table.name}() RETURNS trigger LANGUAGE plpgsql "
        "SECURITY DEFINER SET search_path FROM CURRENT AS $$ BEGIN "
        f"IF TG_OP <> 'DELETE' THEN {_note(table, 'NEW', postgres=True)} END IF; "
        f"IF TG_OP <> 'INSERT' THEN {_note(table, 'OLD', postgres=True)} END IF; RETURN NULL; END $$",
        f"CREATE TRIGGER moving AFTER INSERT OR UPDATE OR DELETE ON {table.name} "
        f"FOR EACH ROW EXECUTE FUNCTION moving_{table.name}()",
    ]


async def end_capture(source: Bulk, tables: tuple[Table, ...]) -> None:
    """Note no more, and forget what was noted."""
    for table in captured(tables):
        if source.is_postgres:
            await source.run(f"DROP FUNCTION IF EXISTS moving_{table.name}() CASCADE")
        else:
            for event in EVENTS:
                await source.run(f"DROP TRIGGER IF EXISTS moving_{event.lower()}_{table.name}")
    for name in (CHANGES, IDENTITY):
        await source.run(f"DROP TABLE IF EXISTS {name}")


async def lock(source: Bulk, tables: tuple[Table, ...]) -> None:
    """Keep every other writer waiting until the open transaction ends; on SQLite beginning it did so already."""
    if source.is_postgres:
        names = ", ".join(table.name for table in tables)
        await source.run(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")


async def fence(source: Bulk, tables: tuple[Table, ...], identity: str, now: int) -> None:
    """Refuse every change from the commit of the open transaction on, and every start of a server."""
    await source.run(f"INSERT INTO {VERSIONS} VALUES ($1, $2, $3)", MOVED, identity, now)  # noqa: S608 - a literal
    if source.is_postgres:
        await source.run(
            "CREATE OR REPLACE FUNCTION moved_away() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{FENCE}' USING ERRCODE = '25006'; END $$"
        )
    for table in tables:
        if source.is_postgres:
            await source.run(
                f"CREATE TRIGGER moved_away BEFORE INSERT OR UPDATE OR DELETE ON {table.name} "
                "FOR EACH STATEMENT EXECUTE FUNCTION moved_away()"
            )
            continue
        for event in EVENTS:
            await source.run(
                f"CREATE TRIGGER moved_{event.lower()}_{table.name} BEFORE {event} ON {table.name} "
                f"BEGIN SELECT RAISE(ABORT, '{FENCE}'); END"
            )


async def changes(source: Bulk, tables: tuple[Table, ...]) -> list[Change]:
    """Return what was noted and not yet forgotten, oldest first."""
    by_name = {table.name: table for table in tables}
    rows = await source.all(f"SELECT * FROM {CHANGES} ORDER BY seq")  # noqa: S608 - a literal
    return [Change(row["seq"], row["name"], _key(by_name[row["name"]], row)) for row in rows]


def _key(table: Table, row: object) -> Values:
    return tuple(
        _value(table, column, row[f"k{n}"])  # type: ignore[index]  # a Row, whose columns depend on the schema
        for n, column in enumerate(table.key)
    )


def _value(table: Table, column: str, text: str) -> object:
    index = table.columns.index(column)
    if index in table.binary:
        return bytes.fromhex(text)
    return int(text) if index in table.whole else text


async def forget(source: Bulk, done: list[Change]) -> None:
    """Forget the notes of changes that were carried over; later notes of the same rows stay."""
    await source.many(f"DELETE FROM {CHANGES} WHERE seq = $1", [(change.seq,) for change in done])  # noqa: S608 - a literal


async def identity(bulk: Bulk) -> str | None:
    """Return the identifier of the move that is under way from a source, or None."""
    if not await bulk.has_table(IDENTITY):
        return None
    row = await bulk.one(f"SELECT id FROM {IDENTITY}")  # noqa: S608 - a literal
    return str(row["id"]) if row else None


async def moved(bulk: Bulk) -> str | None:
    """Return the identifier of the move by which a source was moved away, or None."""
    if not await is_ours(bulk):
        return None
    row = await bulk.one(f"SELECT name FROM {VERSIONS} WHERE version = $1", MOVED)  # noqa: S608 - a literal
    return str(row["name"]) if row else None
