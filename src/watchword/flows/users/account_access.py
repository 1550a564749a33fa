"""The applications that act for a person: consents and live grants, one entry for each application, and their withdrawal."""

import msgspec

from watchword.flows import detail_types, sessions
from watchword.flows.runtime import Runtime
from watchword.oauth.authorization_details import Detail
from watchword.oauth.clients import Client
from watchword.store import user_changes
from watchword.store.clients import clients_of_person
from watchword.store.consents import Granted, list_granted
from watchword.store.sessions import Session


class Application(msgspec.Struct, frozen=True):
    """An application with everything that it was granted by one person; times are Unix seconds."""

    client: Client
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    details: tuple[Detail, ...]
    granted_at: int
    last_used_at: int | None


async def applications(
    runtime: Runtime, user_id: str, *, after: str, limit: int
) -> list[tuple[Application, str]]:
    """Return a page of the applications that a person consented to or that hold a live grant, by name, each with its place."""
    listed = await runtime.database.read(clients_of_person, user_id, after=after, limit=limit)
    found: dict[str, list[Granted]] = {client.client_id: [] for client, _ in listed}
    for row in await runtime.database.read(list_granted, user_id, list(found)):
        found[row.client_id].append(row)
    # What is empty was withdrawn just now.
    return [(_merged(client, rows), place) for client, place in listed if (rows := found[client.client_id])]


def _merged(client: Client, rows: list[Granted]) -> Application:
    scopes = dict.fromkeys(scope for row in rows for scope in row.scope.split())
    resources = dict.fromkeys(resource for row in rows for resource in row.audience.split())
    details: list[Detail] = []
    for row in rows:
        details += [one for one in detail_types.read(row.authorization_details) if one not in details]
    return Application(
        client,
        tuple(scopes),
        tuple(resources),
        tuple(details),
        min(row.since for row in rows),
        max((row.used for row in rows if row.used is not None), default=None),
    )


async def withdraw(runtime: Runtime, user_id: str, client_id: str, *, session: Session | None = None) -> int:
    """End every grant of a person to a client and delete the consent; return how many grants were live. Raise as `sessions.act`."""
    if not client_id:
        return 0
    return await sessions.act(
        runtime,
        session,
        user_changes.end_grants_of,
        user_id,
        client_id=client_id,
        reason="withdrawn by the person",
        actor=user_id,
        now=runtime.now(),
    )
