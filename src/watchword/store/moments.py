"""The time as the database has it: on PostgreSQL the same for every node."""

from datetime import UTC, datetime

from watchword.store.database import Transaction


async def now_of_database(tx: Transaction) -> float:
    """Return the database's time in Unix seconds."""
    row = await tx.one("SELECT CURRENT_TIMESTAMP AS now")
    found = row["now"] if row else None
    # SQLite writes it down, in UTC and without saying so.
    moment = found if isinstance(found, datetime) else datetime.fromisoformat(str(found)).replace(tzinfo=UTC)
    return moment.timestamp()
