"""The audit trail: reading it, checking it, and forgetting what is older than its retention."""

import hmac
from collections.abc import Sequence
from functools import partial
from itertools import takewhile

import msgspec

from watchword.store import unreadable
from watchword.store.audit import witnesses
from watchword.store.audit.chain import GENESIS, RENEW_AFTER, event_hash
from watchword.store.audit.trail import FIELDS, ChainReport, Purged, Trail, is_as_written
from watchword.store.database import Row, Transaction
from watchword.store.filters import where

PURGED_UNTIL = "events purged until"
_NEWEST = (2**62, "", 0)  # what no event can be newer than
LOOKED_BACK = 20_000  # events that one search scans at most
LOOKED_AT = 2000  # events scanned for one that can be purged when those before it are damaged
_COLUMNS = ", ".join((*FIELDS, "previous", "hash"))


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One audit event; `at` in Unix seconds."""

    id: str
    at: int
    name: str
    actor: str
    target: str
    data: dict[str, object]


def _id(row: Row) -> str:
    return f"{unreadable.text(row['chain'])}:{unreadable.number(row['seq'])}"


def _place(row: Row) -> str:
    return f"{unreadable.moment(row['at'])}:{_id(row)}"


def _event(row: Row) -> Event:
    return Event(
        id=_id(row),
        at=unreadable.moment(row["at"]),
        name=unreadable.text(row["name"]),
        actor=unreadable.text(row["actor"]),
        target=unreadable.text(row["target"]),
        data=_data(row["data"]),
    )


class Found(msgspec.Struct, frozen=True):
    """The events that a search found, newest first; `rest` is the place behind which it did not look, None when it saw everything."""

    events: list[Event]
    rest: str | None


def _data(kept: object) -> dict[str, object]:
    try:
        return msgspec.json.decode(str(kept), type=dict[str, object])
    except (ValueError, msgspec.DecodeError):  # tampered with or damaged: `verify` reports it
        return {"unreadable": unreadable.text(kept)}


def position(event: Event) -> str:
    """Return the place of an event in the trail, as a text."""
    return f"{event.at}:{event.id}"


def position_of(place: str) -> tuple[int, str, int] | None:
    """Return (at, chain, seq) of the text of a place; None for the beginning, which is the empty one."""
    if not place:
        return None
    at, _, event = place.partition(":")
    chain, _, seq = event.rpartition(":")
    return int(at), chain, int(seq)


def moment_of(place: str) -> int:
    """Return the time in the text of a place, in Unix seconds."""
    return int(place.partition(":")[0])


async def list_events(
    tx: Transaction,
    *,
    limit: int,
    before: tuple[int, str, int] | None = None,
    name: str = "",
    target: str = "",
    actors: Sequence[str] = (),
    since: tuple[int, str, int] | None = None,
) -> list[Event]:
    """Return a page of events, newest first; `before` is (at, chain, seq) of the last event of the page before.

    `actors` are the spellings of one actor, any of which matches; nothing older than `since` is looked at.
    """
    which, values = where(
        ("(at, chain, seq) < ({}, {}, {})", *(before or _NEWEST)),
        ("(at, chain, seq) >= ({}, {}, {})", *(since or ("", "", ""))),
        ("name = {}", name),
        ("target = {}", target),
        (f"actor IN ({', '.join('{}' for _ in actors)})", *(actors or ("",))),
    )
    rows = await tx.all_as_kept(
        f"SELECT chain, seq, at, name, actor, target, data FROM events{which} "  # noqa: S608 - literals
        f"ORDER BY at DESC, chain DESC, seq DESC LIMIT ${len(values) + 1}",
        *values,
        limit,
    )
    return [_event(row) for row in rows]


async def look_back(
    tx: Transaction,
    *,
    limit: int,
    before: tuple[int, str, int] | None = None,
    name: str = "",
    target: str = "",
    actors: Sequence[str] = (),
    looked: int = LOOKED_BACK,
) -> Found:
    """Look for a page of events as `list_events` does, scanning at most `looked` events.

    The trail is the most written of all tables and has no index on names or actors: what is rare takes several calls to find.
    """
    edge = await _edge(tx, before, target, looked) if name or actors else None
    since = position_of(edge or "")
    found = await list_events(
        tx, limit=limit, before=before, name=name, target=target, actors=actors, since=since
    )
    return Found(found, edge if len(found) < limit else None)


async def _edge(tx: Transaction, before: tuple[int, str, int] | None, target: str, looked: int) -> str | None:
    """Return the place of the last event that is scanned; None when there are fewer than `looked`."""
    which, values = where(("(at, chain, seq) < ({}, {}, {})", *(before or _NEWEST)), ("target = {}", target))
    rows = await tx.all_as_kept(
        f"SELECT chain, seq, at FROM events{which} ORDER BY at DESC, chain DESC, seq DESC LIMIT 1 OFFSET {looked - 1}",  # noqa: S608 - literals
        *values,
    )
    return _place(rows[0]) if rows else None


async def list_events_after(tx: Transaction, seen: dict[str, int], limit: int = 200) -> list[Event]:
    """Return events that were not seen yet, oldest first; `seen` maps chains to the last sequence number seen."""
    found: list[Event] = []
    last: dict[str, int] = {}
    for head in await _heads(tx):
        if head["seq"] > seen.get(head["chain"], 0):
            rows = await tx.all_as_kept(
                "SELECT chain, seq, at, name, actor, target, data FROM events WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3",
                head["chain"],
                seen.get(head["chain"], 0),
                limit,
            )
            found += [_event(row) for row in rows]
            if rows:  # they may have been purged between the two statements
                last[head["chain"]] = unreadable.number(rows[-1]["seq"])
    seen.update(last)  # in the end: where the database fails before, all of it is read again
    return sorted(found, key=lambda event: event.at)


async def _purged_chains(tx: Transaction) -> dict[str, Purged | None]:
    rows = await tx.all_as_kept("SELECT name, value FROM facts WHERE name LIKE 'purged %'")
    return {unreadable.text(row["name"]).removeprefix("purged "): Purged.parse(row["value"]) for row in rows}


async def verify_trail(tx: Transaction, key: bytes, kept_since: int | None = None) -> ChainReport:
    """Check every chain and every link between chains; name each break.

    `kept_since` is the start of the retention in Unix seconds: whatever was created after it must be in the trail.
    """
    purged = await _purged_chains(tx)
    made = await witnesses.made_since(tx, kept_since) if kept_since is not None else []
    trail = Trail(key, {one.id for one in made})
    await tx.each_as_kept(
        trail.take,
        f"SELECT {_COLUMNS} FROM events ORDER BY chain, seq",  # noqa: S608 - literals
    )
    purged |= await _purged_chains(tx)  # includes what was purged while the events were read
    compare = partial(trail.compare, purged=dict(purged))
    await tx.each_as_kept(compare, "SELECT chain, seq, hash FROM events")
    purged |= await _purged_chains(tx)
    breaks = trail.breaks(purged)
    if kept_since is not None:
        # An earlier, shorter retention has purged more.
        since = max(kept_since, await _purged_until(tx, key))
        breaks += witnesses.unrecorded(made, trail.told, since)
    return ChainReport(trail.events, len(trail.begun), breaks)


async def purge_events(tx: Transaction, before: int, key: bytes, limit: int = 500) -> int:
    """Forget the part of one chain that is older than the retention, seal where the chain goes on, and return how many events went.

    The age of a damaged or altered event cannot be trusted: it is purged together with an intact old event after it. A chain that has
    none is left alone, and does not hold up the others.
    """
    # One purge at a time over all nodes: a slower one must not overwrite the seal of a faster one.
    await tx.run("UPDATE facts SET value = value WHERE name = 'changes'")
    for looked_at in (1, LOOKED_AT):
        for chain in await _old_chains(tx, before, looked_at):
            last = await _last_of_beginning(tx, chain, before, key, limit)
            if last is not None:
                await _seal(tx, chain, last, key)
                await _note_purge(tx, before, key)
                return await tx.run("DELETE FROM events WHERE chain = $1 AND seq <= $2", chain, last["seq"])
    await _forget_chains(tx, before)
    return 0


async def list_unpurged(tx: Transaction, before: int) -> list[str]:
    """Return the chains that a purge had to leave, as far as their names can be shown."""
    return [unreadable.text(chain) for chain in await _old_chains(tx, before, LOOKED_AT)]


async def _old_chains(tx: Transaction, before: int, looked_at: int) -> list[str]:
    """Return the chains of the oldest events, without those in which a younger event precedes the old one."""
    rows = await tx.all_as_kept(
        "SELECT chain FROM events e WHERE at < $1 AND NOT EXISTS "
        "(SELECT 1 FROM events p WHERE p.chain = e.chain AND p.seq < e.seq AND p.at BETWEEN $1 AND $2) ORDER BY at LIMIT $3",
        before,
        unreadable.LAST_MOMENT,
        looked_at,
    )
    return list(dict.fromkeys(row["chain"] for row in rows))


async def _last_of_beginning(tx: Transaction, chain: str, before: int, key: bytes, limit: int) -> Row | None:
    """Return the last event at the start of a chain that is old and intact; None when there is none."""
    if not unreadable.is_readable(chain, str):
        return None
    oldest = await tx.all_as_kept(
        f"SELECT {_COLUMNS} FROM events WHERE chain = $1 ORDER BY seq LIMIT $2",  # noqa: S608 - literals
        chain,
        limit,
    )
    beginning = takewhile(
        lambda row: not before <= unreadable.number(row["at"]) <= unreadable.LAST_MOMENT, oldest
    )
    # Otherwise whoever can backdate an event would have it purged, under this server's own seal.
    written = [row for row in beginning if not unreadable.columns(row) and is_as_written(row, key)]
    return written[-1] if written else None


async def _seal(tx: Transaction, chain: str, last: Row, key: bytes) -> None:
    newest = await tx.one("SELECT MAX(at) AS at FROM events WHERE at <= $1", unreadable.LAST_MOMENT)
    at, head = unreadable.moment(newest["at"]) if newest else 0, bytes(last["hash"])
    seal = event_hash(key, head, ("purged", chain, last["seq"], at)).hex()
    await tx.run(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        f"purged {chain}",
        f"{last['seq']}:{head.hex()}:{at}:{seal}",
    )


async def _purged_until(tx: Transaction, key: bytes) -> int:
    """Return until when events were purged (Unix seconds); 0 when none were, or when the record lacks a valid seal."""
    rows = await tx.all_as_kept("SELECT value FROM facts WHERE name = $1", PURGED_UNTIL)
    until, _, seal = unreadable.text(rows[0]["value"]).partition(":") if rows else ("", "", "")
    if not (until.isdecimal() and len(until) < 20) or not hmac.compare_digest(
        seal.encode(), _until_seal(key, int(until)).encode()
    ):
        return 0
    return int(until)


async def _note_purge(tx: Transaction, before: int, key: bytes) -> None:
    until = max(before, await _purged_until(tx, key))
    await tx.run(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        PURGED_UNTIL,
        f"{until}:{_until_seal(key, until)}",
    )


def _until_seal(key: bytes, until: int) -> str:
    return event_hash(key, GENESIS, (PURGED_UNTIL, until)).hex()


async def _forget_chains(tx: Transaction, before: int) -> None:
    """Forget empty chains, once every event that may link to them, and every writer that may continue them, is gone as well."""
    for chain, purged in (await _purged_chains(tx)).items():
        if purged is None or purged.newest + 2 * RENEW_AFTER >= before:
            continue
        if await tx.one("SELECT seq FROM events WHERE chain = $1 LIMIT 1", chain) is None:
            await tx.run("DELETE FROM facts WHERE name = $1", f"purged {chain}")


async def heads(tx: Transaction, seen: dict[str, int]) -> None:
    """Store the last sequence number of every chain in `seen`, so that following starts after it."""
    for row in await _heads(tx):
        seen[row["chain"]] = row["seq"]


async def _heads(tx: Transaction) -> list[Row]:
    rows = await tx.all_as_kept("SELECT chain, MAX(seq) AS seq FROM events GROUP BY chain")
    return [
        row
        for row in rows
        if unreadable.is_readable(row["chain"], str) and unreadable.is_readable(row["seq"], int)
    ]
