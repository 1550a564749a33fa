"""What a disk keeps when the power goes: all that was synced, and of what was written later anything, in any order, torn or not.

Theory of operation. A file is what processes see of it, what is certain to last, and the writes since the last sync of it. A cut chooses
how each piece of the file comes out of those writes: as it was synced, as it is seen, or as it was at any moment between. A piece is the
whole file (the writes came in order), a page of 4096 bytes (they came in any order) or a sector of 512 (pages are torn besides);
the size comes out likewise. A folder keeps its changes in order, as the journals of file systems do: those before some moment last. That a
name is there says nothing of the file's content, nor that a file was synced of its name, as POSIX leaves it.
"""

import bisect
import random
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

SECTOR, PAGE = 512, 4096
ROOT = 1
SIZE = -1  # the piece of a file that is its size
Fate = Literal["nothing", "everything", "in order", "pages", "sectors"]
FATES: tuple[Fate, ...] = ("nothing", "everything", "in order", "pages", "sectors")


def moment(chance: random.Random, fate: Fate, number: int) -> int:
    """Return how many of so many changes something has seen."""
    if fate in ("nothing", "everything"):
        return 0 if fate == "nothing" else number
    return chance.choice((0, number, chance.randint(0, number)))


@dataclass(slots=True)
class File:
    """The content of one file."""

    seen: bytearray = field(default_factory=bytearray)
    lasting: bytearray = field(default_factory=bytearray)
    # An offset and what was written there; None: cut off
    later: list[tuple[int, bytes | None]] = field(default_factory=list)

    def write(self, offset: int, data: bytes | None) -> None:
        """Write at an offset, or cut the file to that size or lengthen it."""
        apply(self.seen, offset, data)
        self.later.append((offset, data))

    def sync(self) -> None:
        """Make everything that is seen last."""
        for offset, data in self.later:
            apply(self.lasting, offset, data)
        self.later.clear()

    def cut(self, chance: random.Random, fate: Fate) -> None:
        """Become what the power cut left."""
        pieces = bytearray(self.lasting)
        sizes, versions = self._history()
        grain = {"pages": PAGE, "sectors": SECTOR}.get(fate)
        # Where writes come in order there is one moment for all of the file, its size included.
        moments: dict[int, int] = defaultdict(lambda: moment(chance, fate, len(self.later)))
        for sector, (numbers, contents) in sorted(versions.items()):
            at = moments[sector * SECTOR // grain if grain else SIZE]
            reached = bisect.bisect_right(numbers, at)
            if reached:
                apply(pieces, sector * SECTOR, contents[reached - 1])
        apply(pieces, sizes[moments[SIZE]], None)
        self.seen, self.lasting = pieces, bytearray(pieces)
        self.later.clear()

    def _history(self) -> tuple[list[int], dict[int, tuple[list[int], list[bytes]]]]:
        """Return the size after each write, and of each sector that was written to after which writes it was what."""
        now = bytearray(self.lasting)
        sizes: list[int] = [len(now)]
        versions: dict[int, tuple[list[int], list[bytes]]] = {}
        for number, (offset, data) in enumerate(self.later, start=1):
            before = len(now)
            apply(now, offset, data)
            start = min(offset, before)  # what lies between is zero now
            end = max(before, offset) if data is None else offset + len(data)
            for sector in range(start // SECTOR, -(-end // SECTOR)):
                numbers, contents = versions.setdefault(sector, ([], []))
                numbers.append(number)
                contents.append(bytes(now[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0"))
            sizes.append(len(now))
        return sizes, versions


def apply(content: bytearray, offset: int, data: bytes | None) -> None:
    """Do to a content what a write does."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is None:
        del content[offset:]
    else:
        content[offset : offset + len(data)] = data


@dataclass(slots=True)
class Folder:
    """The names in one folder."""

    seen: dict[bytes, int] = field(default_factory=dict)
    lasting: dict[bytes, int] = field(default_factory=dict)
    # Names that change at once; None: taken away
    later: list[dict[bytes, int | None]] = field(default_factory=list)

    def change(self, names: dict[bytes, int | None]) -> None:
        """Give or take names, all of them or none."""
        rename(self.seen, names)
        self.later.append(names)

    def sync(self) -> None:
        """Make every name last."""
        for names in self.later:
            rename(self.lasting, names)
        self.later.clear()

    def cut(self, chance: random.Random, fate: Fate) -> None:
        """Become what the power cut left."""
        for names in self.later[: moment(chance, fate, len(self.later))]:
            rename(self.lasting, names)
        self.later.clear()
        self.seen = dict(self.lasting)


def rename(folder: dict[bytes, int], names: dict[bytes, int | None]) -> None:
    """Do to a folder what a change does."""
    for name, node in names.items():
        if node is None:
            folder.pop(name, None)
        else:
            folder[name] = node


@dataclass(slots=True)
class Node:
    """A file or a folder with its owner."""

    mode: int
    owner: int
    group: int
    body: File | Folder
    links: int = 1
    changed: float = 0.0


@dataclass(slots=True)
class Disk:
    """Every file and folder, by number."""

    nodes: dict[int, Node] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(ROOT + 1, 2**31)))

    def cut(self, seed: int, fate: Fate | None = None) -> int:
        """Let the power go; return how many changes were not synced.

        Without a fate for all, a fate is chosen that most files and folders share. What has no name afterwards is forgotten.
        """
        chance = random.Random(seed)
        common = fate or chance.choice(FATES)
        unsynced = sum(len(node.body.later) for node in self.nodes.values())
        for _, node in sorted(self.nodes.items()):
            node.body.cut(chance, common if fate or chance.random() < 0.8 else chance.choice(FATES))
            node.links = 0
        self._count(ROOT)
        self.nodes = {number: node for number, node in self.nodes.items() if node.links}
        return unsynced

    def _count(self, number: int) -> None:
        node = self.nodes[number]
        node.links += 1
        if isinstance(node.body, Folder):
            for inside in node.body.seen.values():
                self._count(inside)

    def settle(self) -> None:
        """Make everything last, as a disk does that was left alone."""
        for node in self.nodes.values():
            node.body.sync()


def new_disk(owner: int, group: int) -> Disk:
    """Return an empty disk."""
    return Disk({ROOT: Node(stat.S_IFDIR | 0o755, owner, group, Folder())})
