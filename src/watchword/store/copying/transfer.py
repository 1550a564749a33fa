"""Copying rows from one database into another: batches, later changes, progress, and whether both hold the same in the end.

Every step reads one snapshot of the source: all changes noted so far, and the next batch. After it, what was copied so far is
exactly that state, so references hold and nothing that changed meanwhile is lost. Each step, with its progress, is one transaction
in the target.
"""

import json

import msgspec

from watchword.oauth.errors import OAuthError
from watchword.store import keys
from watchword.store.copying import bulk as store
from watchword.store.copying import capture
from watchword.store.copying.bulk import Bulk, Values
from watchword.store.copying.capture import Change
from watchword.store.database import StorageUnavailable
from watchword.store.migrate import FILLING
from watchword.store.schema import VERSIONS, Table

PROGRESS = "moving_progress"
CAME_FROM = "moved_by"
TOGETHER = 100  # rows that one statement asks for by their keys
Current = dict[str, dict[Values, Values | None]]


class Place(msgspec.Struct, frozen=True):
    """How far a table was copied."""

    after: Values = ()
    rows: int = 0
    done: bool = False


async def prepare(target: Bulk, version: int, identity: str, now: int) -> None:
    """Make the tables of a target in the place of all others, marked so that no node opens it yet, within the open transaction."""
    await store.drop_tables(target)
    await target.run(f"DROP TABLE IF EXISTS {PROGRESS}")
    await store.make_tables(target, version, now)
    await target.run(f"INSERT INTO {VERSIONS} VALUES ($1, 'filling', $2)", FILLING, now)  # noqa: S608 - a literal
    await target.run(
        f"CREATE TABLE {PROGRESS} (name TEXT PRIMARY KEY, place TEXT NOT NULL, copied BIGINT NOT NULL, done BIGINT NOT NULL)"
    )
    await target.run(f"INSERT INTO {PROGRESS} VALUES ('', $1, 0, 0)", identity)  # noqa: S608 - a literal


async def filling(target: Bulk) -> str | None:
    """Return the identifier of the move that fills a target, or None."""
    if not await target.has_table(PROGRESS):
        return None
    row = await target.one(f"SELECT place FROM {PROGRESS} WHERE name = ''")  # noqa: S608 - a literal
    return str(row["place"]) if row else None


async def came_from(target: Bulk) -> str | None:
    """Return the identifier of the move that filled a target to its end, or None."""
    return await keys.get_fact(target, CAME_FROM) if await target.has_table("facts") else None


async def release(target: Bulk, identity: str) -> None:
    """Let nodes open the target, and note by which move it was filled."""
    await keys.set_fact(target, CAME_FROM, identity)
    await target.run(f"DELETE FROM {VERSIONS} WHERE version = $1", FILLING)  # noqa: S608 - a literal
    await target.run(f"DROP TABLE IF EXISTS {PROGRESS}")


async def place_of(target: Bulk, table: Table) -> Place:
    """Return how far a table was copied."""
    row = await target.one(f"SELECT place, copied, done FROM {PROGRESS} WHERE name = $1", table.name)  # noqa: S608 - a literal
    if row is None:
        return Place()
    after = tuple(
        bytes.fromhex(value) if table.columns.index(column) in table.binary else value
        for column, value in zip(table.order, json.loads(row["place"]), strict=False)
    )
    return Place(after, row["copied"], bool(row["done"]))


async def _note_place(target: Bulk, table: Table, place: Place) -> None:
    after = [value.hex() if isinstance(value, bytes) else value for value in place.after]
    await target.run(
        f"INSERT INTO {PROGRESS} VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO UPDATE SET "  # noqa: S608 - a literal
        "place = excluded.place, copied = excluded.copied, done = excluded.done",
        table.name,
        json.dumps(after),
        place.rows,
        int(place.done),
    )


async def step(source: Bulk, target: Bulk, tables: tuple[Table, ...], table: Table, place: Place) -> Place:
    """Copy the next batch of a table and every change of what was copied before; return how far it came."""
    await source.begin(snapshot=True)
    changes = await capture.changes(source, tables)
    current = await _so_far(target, tables, await _current(source, tables, changes))
    rows = await store.next_rows(source, table, place.after)
    done = await store.is_last(source, table, rows)
    await source.rollback()
    place = Place(store.place(table, rows[-1]) if rows else place.after, place.rows + len(rows), done)
    await target.begin()
    await _apply(target, tables, current)
    await target.many(store.insert_statement(table), rows)
    await _note_place(target, table, place)
    await target.commit()
    await _forget(source, target, changes)
    return place


async def _so_far(target: Bulk, tables: tuple[Table, ...], current: Current) -> Current:
    """Leave out rows that a later batch will copy anyway: what they refer to may not be in the target yet."""
    found: Current = {}
    for table in tables:
        rows = current.get(table.name, {})
        place = await place_of(target, table) if rows else Place(done=True)
        found[table.name] = {
            key: row
            for key, row in rows.items()
            if row is None or place.done or (place.after and store.place(table, row) <= place.after)
        }
    return found


async def catch_up(source: Bulk, target: Bulk, tables: tuple[Table, ...]) -> int:
    """Carry over every change that was noted; return how many notes there were."""
    await source.begin(snapshot=True)
    changes = await capture.changes(source, tables)
    current = await _current(source, tables, changes)
    await source.rollback()
    await target.begin()
    await _apply(target, tables, current)
    await target.commit()
    await _forget(source, target, changes)
    return len(changes)


async def carry_last(source: Bulk, target: Bulk, tables: tuple[Table, ...]) -> None:
    """Carry over the last changes and the facts, with the source locked, inside the caller's two transactions.

    Raise StorageUnavailable when a row is missing in the target.
    """
    await _check_move(source, target)
    await _apply(target, tables, await _current(source, tables, await capture.changes(source, tables)))
    facts = next(table for table in tables if table.name == "facts")
    await store.clear(target, "facts")
    await target.many(store.insert_statement(facts), await store.next_rows(source, facts, (), 10**6))
    for table in tables:
        if await store.count(source, table) != await store.count(target, table):
            raise StorageUnavailable(f"not every row of {table.name} arrived: the source goes on as it was")


async def _forget(source: Bulk, target: Bulk, changes: list[Change]) -> None:
    if changes:
        await source.begin()
        await _check_move(source, target)
        await capture.forget(source, changes)
        await source.commit()


async def _check_move(source: Bulk, target: Bulk) -> None:
    """Raise `conflict` when another move has begun to note changes in the source: the notes are now that one's to forget."""
    if await capture.identity(source) != await filling(target):
        raise OAuthError(
            "conflict",
            "Another move of this database was started meanwhile: that one continues, and this one ends here.",
        )


async def _current(source: Bulk, tables: tuple[Table, ...], changes: list[Change]) -> Current:
    """Return the present row, or None, of everything that changed."""
    keys: dict[str, dict[Values, None]] = {}
    for change in changes:
        keys.setdefault(change.table, {})[change.key] = None
    return {
        table.name: await _rows(source, table, list(keys[table.name]))
        for table in tables
        if table.name in keys
    }


async def _rows(source: Bulk, table: Table, keys: list[Values]) -> dict[Values, Values | None]:
    """Return the present row, or None, by each key. Many are asked for at once: whoever asks for each does not keep up with the nodes."""
    found: dict[Values, Values | None] = dict.fromkeys(keys)
    for start in range(0, len(keys), TOGETHER):
        asked = keys[start : start + TOGETHER]
        these = " OR ".join(f"({_where(table, n * len(table.key))})" for n in range(len(asked)))
        rows = await source.all(
            f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {these}",  # noqa: S608 - from the schema
            *(value for key in asked for value in key),
        )
        for row in rows:
            found[tuple(row[column] for column in table.key)] = tuple(row[column] for column in table.columns)
    return found


def _where(table: Table, before: int = 0) -> str:
    return " AND ".join(f"{column} = ${before + n + 1}" for n, column in enumerate(table.key))


async def _apply(target: Bulk, tables: tuple[Table, ...], current: Current) -> None:
    parents = {name for table in tables for name in table.parents}
    for table in reversed(tables):
        changed = current.get(table.name, {})
        # Two rows may have swapped a unique value, so all changed rows are deleted before any is inserted again; that is only
        # possible where no other row refers to them.
        leaf = table.name not in parents and table.level is None
        gone = [key for key, row in changed.items() if row is None or leaf]
        await target.many(f"DELETE FROM {table.name} WHERE {_where(table)}", gone)  # noqa: S608 - from the schema
    for table in tables:
        rows = [row for row in current.get(table.name, {}).values() if row is not None]
        await _put(target, table, sorted(rows, key=lambda row: store.place(table, row)))


async def _put(target: Bulk, table: Table, rows: list[Values]) -> None:
    """Insert or replace rows; one whose unique value is still held by another row is tried again after that row.

    Those that wait for each other, such as people who have swapped names, are renamed first.
    """
    if not rows or await _is_put(target, table, rows):
        return
    while rows:
        waiting = [row for row in rows if not await _is_put(target, table, [row])]
        if len(waiting) == len(rows):
            await _rename(target, table, rows)
            await target.many(store.insert_statement(table), rows)  # or it raises, and says why
            return
        rows = waiting


async def _rename(target: Bulk, table: Table, rows: list[Values]) -> None:
    """Give rows, as far as they are there, names that nobody can have: their keys after a space."""
    if not table.names or table.columns.index(table.key[0]) in table.binary:
        return
    renamed = ", ".join(f"{column} = ' ' || {table.key[0]}" for column in table.names)
    keys = [tuple(row[table.columns.index(column)] for column in table.key) for row in rows]
    await target.many(f"UPDATE {table.name} SET {renamed} WHERE {_where(table)}", keys)  # noqa: S608 - from the schema


async def _is_put(target: Bulk, table: Table, rows: list[Values]) -> bool:
    """Insert or replace rows, all of them or none; return whether that was possible."""
    await target.run("SAVEPOINT these")
    try:
        await target.many(store.insert_statement(table), rows)
    except StorageUnavailable:
        await target.run("ROLLBACK TO these")
        return False
    finally:
        await target.run("RELEASE SAVEPOINT these")
    return True


async def compare(source: Bulk, target: Bulk, tables: tuple[Table, ...], table: Table) -> tuple[int, str]:
    """Return the number and SHA-256 of the rows that both hold; raise StorageUnavailable when a row differs.

    Rows with a noted change that was not carried over yet are left out. With each batch all notes are read, so they may not become many.
    """
    after: Values = ()
    count, sums, noted = 0, list[str](), 0
    while True:
        if noted > store.BATCH:
            await catch_up(source, target, tables)
        await source.begin(snapshot=True)
        rows = await store.next_rows(source, table, after)
        last = await store.is_last(source, table, rows)
        changes = await capture.changes(source, tables)
        await source.rollback()
        noted, changed = len(changes), {change.key for change in changes if change.table == table.name}
        until = None if last else store.place(table, rows[-1])
        found = await store.next_rows(target, table, after, store.BATCH + len(changed))
        # Places are values of one kind in each column, which the type of a row cannot say.
        theirs = [row for row in found if until is None or store.place(table, row) <= until]
        ours, theirs = _settled(table, rows, changed), _settled(table, theirs, changed)
        if (sum_ := store.checksum(ours)) != store.checksum(theirs):
            raise StorageUnavailable(
                f"the rows of {table.name} differ between the two databases: start over with --replace"
            )
        count += len(ours)
        sums.append(sum_)
        if until is None:
            return count, store.checksum([(part,) for part in sums])
        after = until


def _settled(table: Table, rows: list[Values], changed: set[Values]) -> list[Values]:
    places = [table.columns.index(column) for column in table.key]
    return [row for row in rows if tuple(row[n] for n in places) not in changed]
