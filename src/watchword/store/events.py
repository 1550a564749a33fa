"""The audit trail: reading it, checking it, and forgetting what is older than its retention."""

import hmac
from dataclasses import dataclass

import msgspec

from watchword.store.chain import GENESIS, event_hash
from watchword.store.database import Row, Transaction


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One audit event; `at` in Unix seconds."""

    id: str
    at: int
    name: str
    actor: str
    target: str
    data: dict[str, object]


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What checking the trail found: how many events and chains are sound, and every break."""

    events: int
    chains: int
    breaks: list[str]


def _event(row: Row) -> Event:
    return Event(
        id=f"{row['chain']}:{row['seq']}",
        at=row["at"],
        name=row["name"],
        actor=row["actor"],
        target=row["target"],
        data=msgspec.json.decode(row["data"], type=dict[str, object]),
    )


async def list_events(
    tx: Transaction,
    *,
    limit: int,
    before: tuple[int, str, int] | None = None,
    name: str = "",
    target: str = "",
    actor: str = "",
) -> list[Event]:
    """Return a page of events, newest first; `before` is (at, chain, seq) of the last event of the page before."""
    at, chain, seq = before or (2**62, "", 0)
    rows = await tx.all(
        "SELECT chain, seq, at, name, actor, target, data FROM events "
        "WHERE (at < $1 OR (at = $1 AND (chain < $2 OR (chain = $2 AND seq < $3)))) "
        "AND ($4 = '' OR name = $4) AND ($5 = '' OR target = $5) AND ($6 = '' OR actor = $6) "
        "ORDER BY at DESC, chain DESC, seq DESC LIMIT $7",
        at,
        chain,
        seq,
        name,
        target,
        actor,
        limit,
    )
    return [_event(row) for row in rows]


async def list_events_after(tx: Transaction, seen: dict[str, int], limit: int = 200) -> list[Event]:
    """Return events that were not seen yet, oldest first; `seen` maps chains to the last sequence number seen."""
    heads = await tx.all("SELECT chain, MAX(seq) AS seq FROM events GROUP BY chain")
    found: list[Event] = []
    for head in heads:
        if head["seq"] > seen.get(head["chain"], 0):
            rows = await tx.all(
                "SELECT chain, seq, at, name, actor, target, data FROM events WHERE chain = $1 AND seq > $2 ORDER BY seq LIMIT $3",
                head["chain"],
                seen.get(head["chain"], 0),
                limit,
            )
            found += [_event(row) for row in rows]
            seen[head["chain"]] = rows[-1]["seq"]
    return sorted(found, key=lambda event: event.at)


async def verify_trail(tx: Transaction, key: bytes) -> ChainReport:
    """Check every chain and every link between chains; name each break."""
    rows = await tx.all(
        "SELECT chain, seq, at, name, actor, target, data, link, previous, hash FROM events ORDER BY chain, seq"
    )
    purged = {
        row["name"].removeprefix("purged "): row["value"]
        for row in await tx.all("SELECT name, value FROM facts WHERE name LIKE 'purged %'")
    }
    hashes = {(row["chain"], row["seq"]): bytes(row["hash"]) for row in rows}
    breaks: list[str] = []
    previous: tuple[str, int, bytes] = ("", 0, GENESIS)
    for row in rows:
        place = f"{row['chain']}:{row['seq']}"
        if row["chain"] != previous[0]:
            previous = (row["chain"], *_start(purged.get(row["chain"]), key, row["chain"], breaks))
        if row["seq"] != previous[1] + 1:
            breaks.append(f"{place}: {row['seq'] - previous[1] - 1} event(s) before this one are missing")
        elif not hmac.compare_digest(bytes(row["previous"]), previous[2]):
            breaks.append(f"{place}: does not follow from the event before it")
        fields = tuple(
            row[column] for column in ("chain", "seq", "at", "name", "actor", "target", "data", "link")
        )
        if not hmac.compare_digest(event_hash(key, bytes(row["previous"]), fields), bytes(row["hash"])):
            breaks.append(f"{place}: was changed after it was written")
        breaks += _check_link(place, row["link"], hashes, purged)
        previous = (row["chain"], row["seq"], bytes(row["hash"]))
    return ChainReport(len(rows), len({row["chain"] for row in rows}), breaks)


def _start(purged: str | None, key: bytes, chain: str, breaks: list[str]) -> tuple[int, bytes]:
    if purged is None:
        return 0, GENESIS
    seq, head, seal = purged.split(":")
    if not hmac.compare_digest(event_hash(key, bytes.fromhex(head), ("purged", chain, int(seq))).hex(), seal):
        breaks.append(f"{chain}: the record of its purged beginning was changed")
    return int(seq), bytes.fromhex(head)


def _check_link(
    place: str, link: str, hashes: dict[tuple[str, int], bytes], purged: dict[str, str]
) -> list[str]:
    if not link:
        return []
    chain, seq, digest = link.split(":")
    if chain in purged and int(seq) <= int(purged[chain].split(":")[0]):
        return []
    found = hashes.get((chain, int(seq)))
    if found is None:
        return [f"{chain}:{seq}: is missing, though {place} saw it"]
    return [] if found.hex() == digest else [f"{chain}:{seq}: is not the event that {place} saw"]


async def purge_events(tx: Transaction, before: int, key: bytes, limit: int = 500) -> int:
    """Forget the beginning of one chain that is older than the retention, and seal where the chain goes on."""
    row = await tx.one("SELECT chain FROM events WHERE at < $1 ORDER BY at LIMIT 1", before)
    if row is None:
        return 0
    chain = row["chain"]
    last = await tx.one(
        "SELECT seq, hash FROM (SELECT seq, hash, at FROM events WHERE chain = $1 ORDER BY seq LIMIT $2) AS oldest "
        "WHERE at < $3 ORDER BY seq DESC LIMIT 1",
        chain,
        limit,
        before,
    )
    if last is None:
        return 0
    head = bytes(last["hash"])
    seal = event_hash(key, head, ("purged", chain, last["seq"])).hex()
    await tx.run(
        "INSERT INTO facts (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        f"purged {chain}",
        f"{last['seq']}:{head.hex()}:{seal}",
    )
    return await tx.run("DELETE FROM events WHERE chain = $1 AND seq <= $2", chain, last["seq"])


async def heads(tx: Transaction, seen: dict[str, int]) -> None:
    """Note the last sequence number of every chain, so that following starts after it."""
    for row in await tx.all("SELECT chain, MAX(seq) AS seq FROM events GROUP BY chain"):
        seen[row["chain"]] = row["seq"]
