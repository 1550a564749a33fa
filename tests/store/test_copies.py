"""Connections for copying whole tables: a failure is said as one of the storage, whatever was asked of it."""

import pytest
from tests.fixtures.postgres import AUDIT_KEY, Store
from tests.store.made import note

from watchword.store.bulk import open_bulk
from watchword.store.database import StorageUnavailable


async def test_a_copy_that_fails_while_it_is_recorded_says_so(store: Store) -> None:
    await store.node()
    for is_open in (True, False):
        bulk = await open_bulk(store.address, AUDIT_KEY)
        await bulk.begin()
        if is_open:
            await note(bulk, "copied")
            await bulk.commit()
        await bulk.close()
    with pytest.raises(StorageUnavailable):
        await note(bulk, "copied")
