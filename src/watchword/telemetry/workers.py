"""Counters over several workers: each writes its own to a shared folder, and the one that is scraped adds them up.

Owns the folder and its files, one for each process. The counts of a killed worker stay in the sum, so that no counter ever decreases;
at most what it counted since its last write is lost.
"""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from watchword.telemetry.counters import Tally, own_tally

INTERVAL = 1.0  # seconds between two writes
_decoder = msgspec.json.Decoder(Tally)


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """Create the folder that the workers of one server share, readable by this user alone; remove it in the end."""
    made = tempfile.mkdtemp(prefix="watchword-workers-")
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


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
