"""Rows of other tables as witnesses of the audit trail: whatever was created has an event, written in the same transaction.

Whoever cuts off the end of the trail, or empties it, also removes the links that would have shown it. The rows that were created
remain, and a service in use creates some every minute. This costs writers nothing, and raises no false alarm after a crash, a restore
or a move, because a row and its event are committed together.
"""

from collections.abc import Collection

import msgspec

from watchword.store.database import Transaction

SHOWN = 20
SLACK = 86_400  # seconds: a concurrent purge may remove events that are about to reach the retention
MADE: dict[str, str] = {
    "signing key": "SELECT kid AS id, created_at FROM signing_keys",
    "API token": "SELECT id, created_at FROM api_tokens",
    "client": "SELECT client_id AS id, created_at FROM clients",
    "account": "SELECT id, created_at FROM users",
    "session": "SELECT id, created_at FROM sessions",
    "grant": "SELECT id, created_at FROM grants",
    "identity": "SELECT id, registered_at AS created_at FROM identities",
    "trust rule": "SELECT id, created_at FROM trust_rules",
}


class Made(msgspec.Struct, frozen=True):
    """Something that was made at a time, in Unix seconds."""

    kind: str
    id: str
    at: int


async def made_since(tx: Transaction, since: int) -> list[Made]:
    """Return what was created after a time (Unix seconds). Read the trail afterwards, so that it covers all of this."""
    return [
        Made(kind, row["id"], row["created_at"])
        for kind, sql in MADE.items()
        for row in await tx.all(
            f"SELECT id, created_at FROM ({sql}) AS made WHERE created_at > $1 ORDER BY created_at",  # noqa: S608 - literals above
            since,
        )
    ]


def unrecorded(made: list[Made], targets: Collection[str], since: int) -> list[str]:
    """Describe what was created after a time without an event, at most SHOWN of each kind."""
    missing = [one for one in made if one.at > since + SLACK and one.id not in targets]
    shown = [one for kind in MADE for one in [one for one in missing if one.kind == kind][:SHOWN]]
    return [f"{one.id}: this {one.kind} was made, and the event that said so is missing" for one in shown]
