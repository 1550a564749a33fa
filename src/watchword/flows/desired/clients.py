"""Clients as a file describes them. Secrets are not part of a description: the server generates them."""

from collections.abc import Callable, Container
from functools import partial
from typing import Annotated

import msgspec

from watchword.flows.clients import client_checks, client_metadata, client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.clients.client_registry import CHOSEN_ID
from watchword.flows.desired.step import Differences, Step, differences
from watchword.flows.runtime import Runtime
from watchword.oauth.clients import SECRET_METHODS, Client
from watchword.oauth.errors import OAuthError
from watchword.store import clients as store

PAGE = 200
NOT_USED = "its redirect_uris lead nowhere: grant_types has no authorization_code"

# Receives a client's identifier and its new secret, before the secret is stored.
Keep = Callable[[str, str], None]


class ClientState(ClientInput, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A client as a file describes it, with the identifier that the file chooses."""

    client_id: Annotated[str, msgspec.Meta(min_length=1)]
    disabled: bool = False


async def step(runtime: Runtime, given: ClientState, *, keep: Keep | None, actor: str) -> Step | None:
    """Return the change that a client needs, None when it is as described; raise OAuthError for an impossible description.

    With `keep`, a client that authenticates by a secret and has no valid one gets one.
    """
    if not CHOSEN_ID.fullmatch(given.client_id):
        raise OAuthError(
            "invalid_request", "Give it 1 to 200 visible ASCII characters, not only dots.", field="client_id"
        )
    existing = await client_registry.find(runtime, given.client_id)
    if existing is not None and not _is_administered(existing):
        raise OAuthError(
            "conflict",
            "A client with this identifier exists that no administrator registered: choose another identifier.",
            field="client_id",
        )
    wanted = client_metadata.to_client(given, given.client_id, schemes=runtime.settings.private_schemes)
    found = _differences(existing, wanted, given.disabled) if existing else Differences()
    lacks_secret = await _lacks_secret(runtime, wanted)
    keeps = keep if lacks_secret else None
    if existing and not found.after and keeps is None:
        return None
    if not given.disabled:
        await client_checks.check(runtime, wanted)
    return Step(
        kind="client",
        name=given.client_id,
        action="change" if existing else "create",
        differences=found,
        makes_secret=keeps is not None,
        lacks_secret=lacks_secret and keeps is None,
        warnings=(NOT_USED,) if wanted.redirect_uris and not wanted.may("authorization_code") else (),
        perform=partial(_perform, runtime, given, existing, bool(found.after), keeps, actor),
    )


async def surplus(runtime: Runtime, described: Container[str], actor: str) -> list[Step]:
    """Return the changes that delete those clients registered by administrators that are not described."""
    return [
        Step(
            kind="client",
            name=client.client_id,
            action="delete",
            perform=partial(client_registry.delete, runtime, client.client_id, actor=actor),
        )
        for client in await _administered(runtime)
        if client.client_id not in described
    ]


async def describe(runtime: Runtime) -> tuple[ClientState, ...]:
    """Return the clients that administrators registered, as they would be described."""
    return tuple(_description(client) for client in await _administered(runtime))


def _is_administered(client: Client) -> bool:
    return client.origin == "registered"


async def _administered(runtime: Runtime) -> list[Client]:
    found: list[Client] = []
    while page := await runtime.database.read(
        store.list_clients, after=found[-1].client_id if found else "", limit=PAGE
    ):
        found += [facts.client for facts in page]
    return [client for client in found if _is_administered(client)]


def _description(client: Client) -> ClientState:
    fields = msgspec.to_builtins(client_metadata.to_input(client))
    own = {"client_id": client.client_id, "disabled": client.disabled_at is not None}
    return msgspec.convert(own | fields, ClientState)


def _differences(existing: Client, wanted: Client, disabled: bool) -> Differences:
    to_be = msgspec.structs.replace(wanted, disabled_at=0 if disabled else None)
    return differences(_description(existing), _description(to_be))


async def _lacks_secret(runtime: Runtime, client: Client) -> bool:
    if client.token_endpoint_auth_method not in SECRET_METHODS:
        return False
    now, held = runtime.now(), await client_registry.secrets_of(runtime, client.client_id)
    return not any(secret.expires_at is None or secret.expires_at > now for secret in held)


async def _perform(
    runtime: Runtime,
    given: ClientState,
    existing: Client | None,
    differs: bool,
    keep: Keep | None,
    actor: str,
) -> None:
    client_id = given.client_id
    if existing is None:
        await client_registry.register(
            runtime, given, actor=actor, client_id=client_id, disabled=given.disabled, with_secret=False
        )
    elif differs:
        version, disabled = existing.version, given.disabled
        await client_registry.change(
            runtime, client_id, given, expected_version=version, disabled=disabled, actor=actor
        )
    if keep is not None:
        keep_its = partial(keep, client_id)
        await client_registry.add_secret(runtime, client_id, overlap=None, keep=keep_its, actor=actor)
