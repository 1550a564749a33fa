"""Checking the audit trail: what it takes; which tampering it finds is in `test_events.py`."""

import tracemalloc

from tests.fixtures.postgres import AUDIT_KEY
from tests.store.made import breaks, note

from watchword.store.database import Database, Transaction


async def write_many(tx: Transaction, events: int) -> None:
    for n in range(events):
        await note(tx, f"target {n}")


async def test_a_trail_may_be_larger_than_the_memory_of_who_verifies_it(database: Database) -> None:
    peaks, each = [], 3000
    for _ in range(2):
        await database.write(write_many, each)
        tracemalloc.start()
        assert await breaks(database, AUDIT_KEY) == []
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 200 * each, "of most events nothing is kept"
