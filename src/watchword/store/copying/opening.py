"""Opening a database for copying, by its address: its driver is loaded only then."""

from watchword.extras import POSTGRES, needing
from watchword.settings import is_postgres
from watchword.store.audit.chain import Chain
from watchword.store.copying.bulk import Bulk


async def open_bulk(
    address: str, audit_key: bytes = b"", *, create: bool = False, alone: bool = False
) -> Bulk:
    """Open a database to copy from or, with `create`, one to fill; raise StorageUnavailable, which says what to do.

    With `alone`, an SQLite file is refused while any process has it open, and no other can open it until it is closed; a PostgreSQL
    database is refused while a node is connected to it, and to anybody else who asks for it alone.
    """
    if is_postgres(address):
        with needing(POSTGRES, "asyncpg"):  # the driver is an extra that only this choice needs
            from watchword.store.copying.bulk_postgres import connect

        return await connect(address, audit_key, create=create, alone=alone)
    from watchword.store.copying.bulk_sqlite import SqliteBulk

    path = address.removeprefix("sqlite:///")
    return SqliteBulk.connect(path, Chain(), audit_key, create=create, alone=alone)
