"""Moving a database between SQLite and PostgreSQL while the source serves: `watchword move`.

Theory of operation.
1. Triggers in the source start recording the keys of changed rows; the target's tables are created, marked as not to be opened.
2. Each table is copied in key order, batch by batch; with each batch, the rows that changed since the last one are copied again.
3. Both sides are compared row by row by SHA-256, without rows that are just changing: their change is recorded.
4. Changes are carried over until few are left. Then the switch: all other writers of the source wait, the last changes and the facts
   are carried over, the row counts compared, and the target is committed, still marked. Then a fence is committed in the source:
   from now on it refuses every change, and every start of a server. Then the mark is removed from the target, and the triggers of
   step 1 from the source. They are dropped last, because dropping one needs a stronger lock than transactions that read and write
   the table allow.
If the process is killed, what was committed says where to go on. At no time do both sides accept writes. Only one process fills a
target: a second would overwrite rows with what it had read earlier.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from watchword.flows.secrets import root_secret
from watchword.flows.secrets.key_file import Keys
from watchword.oauth.errors import OAuthError
from watchword.settings import is_postgres
from watchword.store import schema
from watchword.store.copying import bulk as store
from watchword.store.copying import capture, opening, transfer
from watchword.store.copying.bulk import Bulk, Conflict
from watchword.store.copying.transfer import Place
from watchword.store.schema import Table

T = TypeVar("T")
FEW = 200  # changes at which the switch begins
ROUNDS = 50
SAME = "Source and target are the same database."
ATTEMPTS = 10  # at what those who use the source at the same time got in the way of


class Progress(msgspec.Struct, frozen=True):
    """A finished step: its phase, its table, and the number of rows so far."""

    phase: str
    table: str = ""
    rows: int = 0


class Copied(msgspec.Struct, frozen=True):
    """What both sides hold of a table."""

    rows: int
    sha256: str


class Moved(msgspec.Struct, frozen=True):
    """What was moved; `fenced` is for how many seconds writes had to wait."""

    tables: dict[str, Copied]
    rows: int
    fenced: float


class Move(msgspec.Struct, frozen=True):
    """Both databases, and the identifier of the move in both."""

    source: Bulk
    target: Bulk
    tables: tuple[Table, ...]
    identity: str
    report: Callable[[Progress], None]
    now: int


async def move(
    source: str,
    target: str,
    masters: Keys,
    *,
    replace: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
) -> Moved:
    """Copy a database, switch over, and fence the source; called again after an interruption, it goes on.

    Raise OAuthError when the target is in use, SettingsError for another master key, StorageUnavailable when either side fails.
    """
    if _is_one_file(source, target):
        raise OAuthError("invalid_request", SAME)
    ours = await opening.open_bulk(source)
    try:
        known = await root_secret.existing(ours, masters)  # the target's audit trail goes on under it
        theirs = await opening.open_bulk(target, known.root.derive("audit"), create=True, alone=True)
        try:
            return await _move(ours, theirs, replace, report)
        finally:
            await theirs.close()
    finally:
        await ours.close()


def _is_one_file(source: str, target: str) -> bool:
    if source == target or is_postgres(source) or is_postgres(target):
        return source == target
    files = [Path(address.removeprefix("sqlite:///")) for address in (source, target)]
    return all(file.exists() for file in files) and files[0].samefile(files[1])


async def abandon(source: str) -> bool:
    """Give up a move and stop recording changes in the source; return whether one had begun. Raise OAuthError when it is finished."""
    bulk = await opening.open_bulk(source)
    try:
        begun = await _begin_alone(bulk, lambda: _give_up(bulk))
        await bulk.commit()
    finally:
        await bulk.close()
    return begun


async def _give_up(source: Bulk) -> bool:
    if await capture.moved(source) is not None:
        raise OAuthError(
            "conflict",
            "This database was moved away already, which cannot be undone: to come back, move the target.",
        )
    begun = await capture.identity(source) is not None
    await capture.end_capture(source, schema.tables(schema.newest()))
    return begun


async def _move(source: Bulk, target: Bulk, replace: bool, report: Callable[[Progress], None]) -> Moved:
    moved, fills = await capture.moved(source), await transfer.filling(target)
    if moved is not None:
        if fills == moved:
            done = await _finish(target, moved, report, {}, 0.0)
        elif await transfer.came_from(target) == moved:  # killed after the end, before it was reported
            report(Progress("done"))
            done = Moved({}, 0, 0.0)
        else:
            raise OAuthError("conflict", "This database was moved away already, and not to this target.")
        await _end_capture(source, schema.tables(schema.newest()))
        return done
    version = await store.schema_version(source)
    if not version:
        raise OAuthError("not_found", "There is no database of Watchword to move.")
    now, tables = int(time.time()), schema.tables(version)
    identity = await _begin(source, target, tables, replace, now)
    going = Move(source, target, tables, identity, report, now)
    for table in capture.captured(tables):
        await _copy(going, table)
    compared = await _compare(going)
    for _ in range(ROUNDS):
        if await transfer.catch_up(source, target, tables) <= FEW:
            break
    fenced = await _switch(going)
    done = await _finish(target, identity, report, compared, fenced)
    await _end_capture(source, tables)
    return done


async def _begin_alone(bulk: Bulk, work: Callable[[], Awaitable[T]]) -> T:
    """Begin a transaction with work that needs locks on tables in use, again where others' locks got in its way."""
    for _ in range(ATTEMPTS - 1):
        await bulk.begin()
        try:
            return await work()
        except Conflict:
            await bulk.rollback()
    await bulk.begin()
    return await work()


async def _end_capture(source: Bulk, tables: tuple[Table, ...]) -> None:
    await _begin_alone(source, lambda: capture.end_capture(source, tables))
    await source.commit()


async def _begin(source: Bulk, target: Bulk, tables: tuple[Table, ...], replace: bool, now: int) -> str:
    """Return the identifier of the move that goes on, or of a new one whose target is empty."""
    begun, fills = await capture.identity(source), await transfer.filling(target)
    if begun is not None and begun == fills and not replace:
        return begun
    if not replace and await store.is_ours(target):
        raise OAuthError("conflict", "The target is not empty: give --replace to remove what is there.")
    await store.refuse_others(target)
    identity = secrets.token_hex(8)
    await _end_capture(source, tables)
    await _begin_alone(source, lambda: capture.begin_capture(source, tables, identity))
    await source.commit()
    if await capture.identity(target) == identity:  # a database server has many names
        await _end_capture(source, tables)
        raise OAuthError("invalid_request", SAME)
    await target.begin()
    await transfer.prepare(target, await store.schema_version(source), identity, now)
    await target.commit()
    return identity


async def _copy(going: Move, table: Table) -> None:
    place: Place = await transfer.place_of(going.target, table)
    while not place.done:
        place = await transfer.step(going.source, going.target, going.tables, table, place)
        going.report(Progress("copying", table.name, place.rows))


async def _compare(going: Move) -> dict[str, Copied]:
    compared = {}
    for table in capture.captured(going.tables):
        await transfer.catch_up(going.source, going.target, going.tables)
        rows, checksum = await transfer.compare(going.source, going.target, going.tables, table)
        compared[table.name] = Copied(rows, checksum)
        going.report(Progress("comparing", table.name, rows))
    return compared


async def _switch(going: Move) -> float:
    """Carry over the last changes while every writer waits, and fence the source; return for how many seconds they waited."""
    source, target = going.source, going.target
    going.report(Progress("switching"))
    begun = time.monotonic()
    await _begin_alone(source, lambda: capture.lock(source, going.tables))
    await target.begin()
    await transfer.carry_last(source, target, going.tables)
    await target.commit()
    going.report(Progress("carried"))
    await capture.fence(source, going.tables, going.identity, going.now)
    await source.commit()
    going.report(Progress("fenced"))
    return time.monotonic() - begun


async def _finish(
    target: Bulk,
    identity: str,
    report: Callable[[Progress], None],
    compared: dict[str, Copied],
    fenced: float,
) -> Moved:
    await target.begin()
    await target.record("database.moved", actor="command line", target="database", at=int(time.time()))
    await transfer.release(target, identity)
    await target.commit()
    report(Progress("done"))
    return Moved(compared, sum(table.rows for table in compared.values()), round(fenced, 3))
