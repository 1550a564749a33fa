"""What other tables know of the audit trail: whatever was made has an event that says so, written in the same transaction.

Who cuts off the end of the trail, or empties it, removes with it the links that would have told. What was made stays behind.
"""

from watchword.store.database import Transaction

SHOWN = 20
SLACK = 86_400  # a purge that runs meanwhile takes away what is about to reach the retention
MADE: dict[str, str] = {
    "signing key": "SELECT kid AS id FROM signing_keys m WHERE created_at > $1 AND NOT EXISTS "
    "(SELECT 1 FROM events e WHERE e.target = m.kid)",
    "API token": "SELECT id FROM api_tokens m WHERE created_at > $1 AND NOT EXISTS "
    "(SELECT 1 FROM events e WHERE e.target = m.id)",
    "client": "SELECT client_id AS id FROM clients m WHERE created_at > $1 AND NOT EXISTS "
    "(SELECT 1 FROM events e WHERE e.target = m.client_id)",
}


async def find_unrecorded(tx: Transaction, since: int) -> list[str]:
    """Return what was made after a time, up to a few of each kind, and of which no event tells."""
    return [
        f"{row['id']}: this {kind} was made, and the event that said so is missing"
        for kind, sql in MADE.items()
        for row in await tx.all(f"{sql} ORDER BY created_at LIMIT {SHOWN}", since + SLACK)
    ]
