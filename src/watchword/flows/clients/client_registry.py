"""Clients: looked up from a cache, registered, changed and deleted, with every rule checked again on every change (AD-05).

What may be stated about a client is in `client_metadata`.
"""

import re
from collections.abc import Callable

import msgspec

from watchword.flows.clients import client_checks
from watchword.flows.clients.client_metadata import ClientInput, to_client, to_input
from watchword.flows.identifiers import new_id
from watchword.flows.runtime import Runtime
from watchword.oauth import token_format
from watchword.oauth.clients import SECRET_METHODS, Client, Origin
from watchword.oauth.errors import OAuthError
from watchword.store import client_secrets
from watchword.store import clients as store
from watchword.store.client_secrets import ClientSecret
from watchword.store.clients import ClientFacts

# RFC 6749 §A.1, without the space, and without `.` and `..`, which no address of the admin API can name (RFC 3986 §5.2.4).
CHOSEN_ID = re.compile(r"(?!\.+\Z)[\x21-\x7e]{1,200}")


class Registered(msgspec.Struct, frozen=True):
    """A client as registered, with its secret, which is shown only now."""

    client: Client
    client_secret: str | None
    client_secret_id: str | None


async def find(runtime: Runtime, client_id: str) -> Client | None:
    """Return a client by its identifier, or None."""
    return facts.client if (facts := await find_facts(runtime, client_id)) else None


async def find_facts(runtime: Runtime, client_id: str) -> ClientFacts | None:
    """Return a client with the facts that its tokens are checked against; cached as long as the database does not change."""
    if len(client_id) > 2000 or "\x00" in client_id or not client_id.isprintable():
        return None
    version = runtime.database.version()
    cached = runtime.cache.get(("client", client_id))
    if cached is not None and cached[0] == version:
        facts: ClientFacts = cached[1]
        return facts
    found = await runtime.database.read(store.find_client, client_id)
    if found is not None:
        runtime.remember(("client", client_id), version, found)
    return found


async def register(
    runtime: Runtime,
    given: ClientInput,
    *,
    actor: str,
    client_id: str | None = None,
    origin: Origin = "registered",
    disabled: bool = False,
    with_secret: bool = True,
) -> Registered:
    """Register a client and create its secret, if its method uses one; raise as `to_client`, or `conflict` for a taken identifier."""
    if client_id is not None and not CHOSEN_ID.fullmatch(client_id):
        raise OAuthError(
            "invalid_request", "client_id must be 1 to 200 visible ASCII characters, not only dots."
        )
    now = runtime.now()
    schemes = runtime.settings.private_schemes
    client = to_client(given, client_id or new_id("client"), schemes=schemes, origin=origin)
    client = msgspec.structs.replace(client, created_at=now, disabled_at=now if disabled else None)
    if not disabled:
        await client_checks.check(runtime, client)
    has_secret = with_secret and client.token_endpoint_auth_method in SECRET_METHODS
    secret, secret_id = runtime.new_secret("s"), new_id("secret")
    kept = (secret_id, token_format.digest(secret)) if has_secret else None
    if not await runtime.database.write(store.create_client, client, secret=kept, actor=actor, now=now):
        raise OAuthError("conflict", "A client with this identifier exists.", field="client_id")
    return Registered(client, secret, secret_id) if has_secret else Registered(client, None, None)


async def add_secret(
    runtime: Runtime,
    client_id: str,
    *,
    overlap: int | None,
    expires_in: int | None = None,
    keep: Callable[[str], None] | None = None,
    actor: str,
) -> tuple[str, str]:
    """Give a client another secret, which `keep` gets before it is valid; with `overlap` older ones end after that many seconds."""
    now = runtime.now()
    client = await find(runtime, client_id)
    if client is None:
        raise OAuthError("not_found", "There is no such client.")
    if client.token_endpoint_auth_method not in SECRET_METHODS:
        raise OAuthError("invalid_request", "This client's authentication method uses no secret.")
    secret, secret_id = runtime.new_secret("s"), new_id("secret")
    if keep is not None:
        keep(secret)
    added = await runtime.database.write(
        client_secrets.add_secret,
        client_id,
        id=secret_id,
        digest=token_format.digest(secret),
        expires_at=now + expires_in if expires_in else None,
        overlap_until=None if overlap is None else now + overlap,
        actor=actor,
        now=now,
    )
    if not added:  # deleted, or given another method
        raise OAuthError(
            "precondition_failed", "The client was changed meanwhile: read it again, then repeat."
        )
    return secret, secret_id


async def remove_secret(runtime: Runtime, client_id: str, secret_id: str, *, actor: str) -> None:
    """Delete one of a client's secrets, which ends it at once; raise `not_found`."""
    if not await runtime.database.write(
        client_secrets.delete_secret, client_id, secret_id, actor=actor, now=runtime.now()
    ):
        raise OAuthError("not_found", "There is no such secret.")


async def secrets_of(runtime: Runtime, client_id: str) -> list[ClientSecret]:
    """Return the metadata of a client's secrets, without their values."""
    return await runtime.database.read(client_secrets.list_secrets, client_id)


async def change(
    runtime: Runtime,
    client_id: str,
    given: ClientInput,
    *,
    expected_version: int | None,
    disabled: bool | None = None,
    actor: str,
) -> Client:
    """Replace a client's metadata; disabling it revokes its tokens, a method without secrets ends its secrets.

    Raises `not_found`, `precondition_failed`, or as `register`.
    """
    existing = await find(runtime, client_id)
    if existing is None:
        raise OAuthError("not_found", "There is no such client.")
    client, now = existing, runtime.now()
    is_disabled = existing.disabled_at is not None if disabled is None else disabled
    if not is_disabled or given != to_input(existing):  # today's rules keep nobody from disabling it
        schemes = runtime.settings.private_schemes
        client = to_client(given, client_id, schemes=schemes, origin=existing.origin)
    if not is_disabled:  # it can be disabled whatever its addresses answer
        await client_checks.check(runtime, client)
    changed = await runtime.database.write(
        store.update_client,
        client,
        expected_version=existing.version if expected_version is None else expected_version,
        disabled_at=(existing.disabled_at or now) if is_disabled else None,
        kill=is_disabled,
        actor=actor,
        now=now,
    )
    if changed is None:
        raise OAuthError(
            "precondition_failed", "The client was changed meanwhile: read it again, then repeat."
        )
    return changed


async def delete(runtime: Runtime, client_id: str, *, actor: str) -> None:
    """Delete a client and revoke everything that was issued to it; raise `not_found`."""
    if not await runtime.database.write(store.delete_client, client_id, actor=actor, now=runtime.now()):
        raise OAuthError("not_found", "There is no such client.")
