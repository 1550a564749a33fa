"""Metrics of several workers: each writes its counters to a shared folder, and the one that is scraped adds them up.

Owns the folder and its files, one for each process. The counts of a killed worker stay in the sum, so that no counter ever decreases;
at most what it counted since its last write is lost.

The supervisor holds a lock on the folder while it lives. One that was killed leaves its folder behind, which the next start removes.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from watchword.telemetry.counters import Tally, own_tally

INTERVAL = 1.0  # seconds between two writes
NAMED = "watchword-workers-"
_decoder = msgspec.json.Decoder(Tally)


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """Create the folder that the workers of one server share, readable by this user alone; remove it in the end."""
    _remove_stale()
    made, held = _make()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(held)


def _make() -> tuple[str, int]:
    while True:
        made = tempfile.mkdtemp(prefix=NAMED)
        # Another start may take it for a stale one before it is held, and another user may put something in its place.
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            held = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            # Where files cannot be locked nobody holds it, and nobody removes it.
            with contextlib.suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX)
            if _is_own(made, held):
                return made, held
            os.close(held)


def _remove_stale() -> None:
    """Remove the folders of this user whose supervisor has gone; others write to the same place, and whatever is not ours is left alone."""
    for path in Path(tempfile.gettempdir()).glob(f"{NAMED}*"):
        with contextlib.suppress(OSError):
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_own(path, held):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(held)


def _is_own(path: str | Path, held: int) -> bool:
    """Whether a folder that is held is this user's, and still the one that has its name: then nobody else can take that from it."""
    found = os.fstat(held)
    try:
        return found.st_uid == os.geteuid() and os.path.samestat(found, os.lstat(path))
    except FileNotFoundError:
        return False


def publish(shared: str) -> None:
    """Write what this process has counted, wholly or not at all."""
    mine = Path(shared) / f"{os.getpid()}.json"
    part = mine.with_suffix(".part")
    with contextlib.suppress(OSError):  # on a full disk the sum is stale, but every request is answered
        part.write_bytes(msgspec.json.encode(own_tally()))
        part.replace(mine)


async def keep_publishing(shared: str) -> None:
    """Write again and again, until this is cancelled."""
    while True:
        publish(shared)
        await asyncio.sleep(INTERVAL)


def total(shared: str | None) -> Tally:
    """Return what all workers of this server have counted."""
    sum_ = own_tally()
    for path in Path(shared).glob("*.json") if shared else ():
        if path.stem != str(os.getpid()):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                sum_.add(_decoder.decode(path.read_bytes()))
    return sum_
