"""What applications may do for a person: their consents and living grants, one entry for each application, and how it ends."""

from dataclasses import dataclass

from watchword.flows import client_registry
from watchword.flows.runtime import Runtime
from watchword.oauth.clients import Client
from watchword.store import user_changes
from watchword.store.consents import list_granted


@dataclass(frozen=True, slots=True)
class Application:
    """An application with everything that it was granted; times are Unix seconds."""

    client: Client
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    granted_at: int
    last_used_at: int | None


async def applications(runtime: Runtime, user_id: str) -> list[Application]:
    """Return the applications that a person agreed to or that hold a living grant."""
    found: dict[str, list[tuple[str, str, int, int | None]]] = {}
    for client_id, scope, audience, granted_at, used_at in await runtime.database.read(list_granted, user_id):
        found.setdefault(client_id, []).append((scope, audience, granted_at, used_at))
    listed = []
    for client_id, rows in found.items():
        client = await client_registry.find(runtime, client_id)
        if client is not None:
            listed.append(_merged(client, rows))
    return sorted(listed, key=lambda one: one.client.name.casefold())


def _merged(client: Client, rows: list[tuple[str, str, int, int | None]]) -> Application:
    scopes = dict.fromkeys(scope for row in rows for scope in row[0].split())
    resources = dict.fromkeys(resource for row in rows for resource in row[1].split())
    used = [row[3] for row in rows if row[3] is not None]
    return Application(
        client, tuple(scopes), tuple(resources), min(row[2] for row in rows), max(used, default=None)
    )


async def withdraw(runtime: Runtime, user_id: str, client_id: str) -> int:
    """End every grant of a person to a client and forget the consent; return how many grants were alive."""
    if not client_id:
        return 0
    return await runtime.database.write(
        user_changes.end_grants_of,
        user_id,
        client_id=client_id,
        reason="withdrawn by the person",
        actor=user_id,
        now=runtime.now(),
    )
