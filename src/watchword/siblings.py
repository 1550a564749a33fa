"""The counters of the workers beside this one: every worker leaves its own in a folder that they share, and whoever is scraped adds up.

Owns the folder and its files, one for each process. What a killed worker had counted stays in the sum, so that no counter ever goes
back; at most what it counted since it last wrote is lost.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from watchword.telemetry import Tally, own_tally

INTERVAL = 1.0  # seconds between two writes
_decoder = msgspec.json.Decoder(Tally)


@contextlib.contextmanager
def folder() -> Iterator[str]:
    """Make the folder that the workers of one server share, for this user alone; remove it in the end."""
    made = tempfile.mkdtemp(prefix="watchword-workers-")
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def publish(shared: str) -> None:
    """Write what this process has counted, wholly or not at all."""
    mine = Path(shared) / f"{os.getpid()}.json"
    part = mine.with_suffix(".part")
    with contextlib.suppress(OSError):  # a full disk costs the sum its freshness, and nobody an answer
        part.write_bytes(msgspec.json.encode(own_tally()))
        part.replace(mine)


def total(shared: str | None) -> Tally:
    """Return what all workers of this server have counted."""
    sum_ = own_tally()
    for path in Path(shared).glob("*.json") if shared else ():
        if path.stem != str(os.getpid()):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                sum_.add(_decoder.decode(path.read_bytes()))
    return sum_
