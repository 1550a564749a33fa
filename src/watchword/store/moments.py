"""The database's clock, which on PostgreSQL is the same for every node."""

from datetime import UTC, datetime

from watchword.store.database import Transaction


async def now_of_database(tx: Transaction) -> float:
    """Return the database's time in Unix seconds."""
    row = await tx.one("SELECT CURRENT_TIMESTAMP AS now")
    found = row["now"] if row else None
    # SQLite returns a text in UTC without an offset.
    moment = found if isinstance(found, datetime) else datetime.fromisoformat(str(found)).replace(tzinfo=UTC)
    return moment.timestamp()
