"""What is wrong with the audit trail, found event by event, because a trail may be larger than memory.

Theory of operation. The events arrive by chain and in order. What follows from an event and its predecessor is checked at once. Two
things must wait: where a chain may begin depends on what was purged, also while reading; and a link may point to an event that
arrives later. Both are kept, a link or two for each `LINK_EVERY` events, and compared when all events have arrived. For that the
hashes are read once more.
"""

import hmac
from collections import defaultdict
from collections.abc import Collection, Mapping

import msgspec

from watchword.store import unreadable
from watchword.store.audit.chain import GENESIS, event_hash
from watchword.store.database import Row

FIELDS = ("chain", "seq", "at", "name", "actor", "target", "data", "link")  # what the hash is of
PLACE = ("chain", "seq", "previous", "hash")  # the columns that place an event in its chain


class ChainReport(msgspec.Struct, frozen=True):
    """What checking the trail found: how many events and chains are sound, and every break."""

    events: int
    chains: int
    breaks: list[str]


class Purged(msgspec.Struct, frozen=True):
    """Where a chain goes on after its purged beginning: the last event that was purged, and the time of the newest event back then."""

    seq: int
    head: bytes
    newest: int
    seal: str

    @classmethod
    def parse(cls, value: object) -> "Purged | None":
        """Read the value of a fact; None when it was tampered with."""
        try:
            seq, head, newest, seal = unreadable.text(value).split(":")
            return cls(int(seq), bytes.fromhex(head), int(newest), seal)
        except ValueError:
            return None

    def is_sealed(self, key: bytes, chain: str) -> bool:
        """Whether this was written by a holder of the key."""
        expected = event_hash(key, self.head, ("purged", chain, self.seq, self.newest)).hex()
        return hmac.compare_digest(expected.encode(), self.seal.encode())


Beginnings = Mapping[str, Purged | None]


class Trail:
    """The trail as far as it was read: every event is given to `take`, then to `compare`; `breaks` says what is wrong."""

    def __init__(self, key: bytes, awaited: Collection[str]) -> None:
        self.events = 0
        self.told: set[str] = set()  # of the identifiers that are awaited, those that an event is about
        self.begun: dict[
            str, tuple[int, bytes]
        ] = {}  # by chain: number of its first event, and the hash before it
        self._key = key
        self._awaited = awaited
        self._last: tuple[str, int, bytes] = ("", 0, GENESIS)  # chain, number and hash of the event before
        self._unreadable: list[str] = []
        self._in_chain: defaultdict[str, list[str]] = defaultdict(list)
        self._spoilt: list[str] = []
        self._links: dict[
            tuple[str, int], list[tuple[str, str]]
        ] = {}  # by event: who saw it, and with which hash
        self._unlike: list[tuple[str, int, str]] = []

    def take(self, row: Row) -> None:
        """Check an event, given all of its columns, by itself and against the one that was given before."""
        self.events += 1
        if (target := unreadable.text(row["target"])) in self._awaited:
            self.told.add(target)
        if unreadable.columns(row, PLACE):
            self._unreadable.append(_unreadable(row))
            return
        chain, seq, previous = row["chain"], row["seq"], bytes(row["previous"])
        place, (before, last, head) = f"{chain}:{seq}", self._last
        if chain not in self.begun:
            self.begun[chain] = seq, previous
        elif chain == before and seq != last + 1:
            self._in_chain[chain].append(_gap(place, seq - last - 1))
        elif chain != before or not hmac.compare_digest(previous, head):
            self._in_chain[chain].append(_stray(place))
        if unreadable.columns(row):
            self._in_chain[chain].append(_unreadable(row))
        elif not is_as_written(row, self._key):
            self._in_chain[chain].append(f"{place}: was changed after it was written")
        self._note_link(place, row["link"])
        self._last = chain, seq, bytes(row["hash"])

    def _note_link(self, place: str, link: str) -> None:
        if not link or not unreadable.is_readable(link, str):
            return
        try:
            chain, number, digest = link.split(":")
            self._links.setdefault((chain, int(number)), []).append((place, digest))
        except ValueError:
            self._spoilt.append(f"{place}: its link was changed")

    def compare(self, row: Row, purged: Beginnings) -> None:
        """Compare an event, given its chain, number and hash, with what was said of it by links, and by what was `purged` before it was read."""
        if unreadable.columns(row, ("chain", "seq", "hash")):
            return
        chain, seq, digest = row["chain"], row["seq"], bytes(row["hash"])
        for place, seen in self._links.pop((chain, seq), ()):
            if digest.hex() != seen:
                self._unlike.append((chain, seq, f"{chain}:{seq}: is not the event that {place} saw"))
        start = purged.get(chain)
        if start and seq == start.seq and digest != start.head:
            self._in_chain[chain].append(f"{chain}:{seq}: is not the event that was purged")

    def breaks(self, purged: Beginnings) -> list[str]:
        """Name every break; `purged` is as of now."""
        found = [
            f"{chain}: the record of its purged beginning was changed"
            for chain, start in purged.items()
            if start is None or not start.is_sealed(self._key, chain)
        ]
        found += self._unreadable
        for chain in self.begun:
            found += [*self._beginning(chain, purged.get(chain)), *self._in_chain[chain]]
        unlike = self._unlike + [
            (chain, seq, f"{chain}:{seq}: is missing, though {place} saw it")
            for (chain, seq), links in self._links.items()
            for place, _ in links
        ]
        found += self._spoilt
        for chain, seq, what in unlike:
            start = purged.get(chain)
            found += [what] if start is None or seq > start.seq else []
        return found

    def _beginning(self, chain: str, purged: Purged | None) -> list[str]:
        seq, previous = self.begun[chain]
        last, head = (purged.seq, purged.head) if purged else (0, GENESIS)
        if seq <= last:  # its beginning was purged just now
            return []
        if seq != last + 1:
            return [_gap(f"{chain}:{seq}", seq - last - 1)]
        return [] if hmac.compare_digest(previous, head) else [_stray(f"{chain}:{seq}")]


def _gap(place: str, missing: int) -> str:
    return f"{place}: {missing} event(s) before this one are missing"


def _stray(place: str) -> str:
    return f"{place}: does not follow from the event before it"


def _unreadable(row: Row) -> str:
    place = f"{unreadable.text(row['chain'])}:{unreadable.text(row['seq'])}"
    return f"{place}: was changed after it was written: {', '.join(unreadable.columns(row))} cannot be read"


def is_as_written(row: Row, key: bytes) -> bool:
    """Whether an event that can be read holds what somebody with the key wrote."""
    fields = tuple(row[column] for column in FIELDS)
    return hmac.compare_digest(event_hash(key, bytes(row["previous"]), fields), bytes(row["hash"]))
