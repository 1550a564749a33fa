"""The JSON API of clients and their secrets."""

from typing import Annotated

import msgspec

from watchword.flows import paging
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput
from watchword.flows.clients.client_registry import Registered
from watchword.flows.identifiers import LONGEST
from watchword.flows.runtime import Runtime
from watchword.http.operation import Call, Operation
from watchword.oauth.answers import AnswersInput, fields_of
from watchword.oauth.clients import Client, ExchangeRules
from watchword.oauth.errors import OAuthError
from watchword.store import clients as store
from watchword.store.client_secrets import ClientSecret

READ, WRITE = "watchword:clients:read", "watchword:clients:write"


class ClientView(AnswersInput, frozen=True, kw_only=True, omit_defaults=True):
    """A client without its secrets; times are Unix seconds. `version` guards against lost updates."""

    client_id: str
    name: str
    token_endpoint_auth_method: str
    grant_types: tuple[str, ...]
    redirect_uris: tuple[str, ...]
    scope: str
    resources: tuple[str, ...]
    application_type: str
    access_token_format: str
    origin: str
    created_at: int
    version: int
    token_endpoint_auth_signing_alg: str | None = None
    post_logout_redirect_uris: tuple[str, ...] = ()
    access_token_lifetime: int | None = None
    access_token_status: bool = False
    require_pkce: bool = True
    require_pushed_authorization_requests: bool = False
    require_signed_request_object: bool = False
    request_object_signing_alg: str | None = None
    authorization_details_types: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    first_party: bool = False
    dpop_bound_access_tokens: bool = False
    tls_client_certificate_bound_access_tokens: bool = False
    tls_client_auth_subject: tuple[str, str] | None = None
    security_profile: str = "default"
    jwks: dict[str, object] | None = None
    jwks_uri: str | None = None
    backchannel_logout_uri: str | None = None
    backchannel_logout_session_required: bool = False
    frontchannel_logout_uri: str | None = None
    frontchannel_logout_session_required: bool = False
    token_exchange: ExchangeRules | None = None
    disabled_at: int | None = None
    last_used_at: int | None = None
    secrets: list[ClientSecret] | None = None


class ClientIssued(msgspec.Struct, frozen=True, omit_defaults=True):
    """A client as registered; its secret is shown only now, and stored as a digest."""

    client_id: str
    name: str
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    token_endpoint_auth_method: str
    scope: str
    resources: tuple[str, ...]
    access_token_format: str
    client_secret: str | None = None
    client_secret_id: str | None = None


class ClientPage(msgspec.Struct, frozen=True):
    """A page of clients; `next` is the cursor of the page after it."""

    clients: list[ClientView]
    next: str | None


class ClientQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to filter and page through clients; `search` is a prefix of a name or an identifier."""

    search: Annotated[str, msgspec.Meta(max_length=LONGEST)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    cursor: paging.Cursor = ""


class ClientChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of a client's metadata, and the version it replaces. An authentication method that uses none ends the client's secrets."""

    client: ClientInput
    version: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    disabled: bool | None = None


class SecretInput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how many seconds older secrets stay valid, and after how many the new one expires."""

    overlap: Annotated[int, msgspec.Meta(ge=0, le=90 * 86_400)] = 86_400
    expires_in: Annotated[int, msgspec.Meta(ge=60, le=3650 * 86_400)] | None = None


class SecretIssued(msgspec.Struct, frozen=True):
    """A new client secret, which is shown only now, and stored as a digest."""

    client_id: str
    client_secret: str
    client_secret_id: str


def view(
    client: Client, last_used_at: int | None = None, secrets: list[ClientSecret] | None = None
) -> ClientView:
    """Return a client as people and programs see it."""
    return ClientView(
        client_id=client.client_id,
        name=client.name,
        token_endpoint_auth_method=client.token_endpoint_auth_method,
        token_endpoint_auth_signing_alg=client.token_endpoint_auth_signing_alg,
        grant_types=client.grant_types,
        redirect_uris=client.redirect_uris,
        scope=" ".join(client.scope),
        resources=client.resources,
        application_type=client.application_type,
        access_token_format=client.access_token_format,
        origin=client.origin,
        created_at=client.created_at,
        version=client.version,
        post_logout_redirect_uris=client.post_logout_redirect_uris,
        access_token_lifetime=client.access_token_lifetime,
        access_token_status=client.access_token_status,
        require_pkce=client.require_pkce,
        require_pushed_authorization_requests=client.require_pushed_authorization_requests,
        require_signed_request_object=client.require_signed_request_object,
        request_object_signing_alg=client.request_object_signing_alg,
        authorization_details_types=client.authorization_details_types,
        groups=client.groups,
        first_party=client.first_party,
        dpop_bound_access_tokens=client.dpop_bound_access_tokens,
        tls_client_certificate_bound_access_tokens=client.tls_client_certificate_bound_access_tokens,
        tls_client_auth_subject=client.tls_client_auth_subject,
        security_profile=client.security_profile,
        **fields_of(client),
        jwks={"keys": [dict(key) for key in client.jwks]} if client.jwks else None,
        jwks_uri=client.jwks_uri,
        backchannel_logout_uri=client.backchannel_logout_uri,
        backchannel_logout_session_required=client.backchannel_logout_session_required,
        frontchannel_logout_uri=client.frontchannel_logout_uri,
        frontchannel_logout_session_required=client.frontchannel_logout_session_required,
        token_exchange=client.token_exchange,
        disabled_at=client.disabled_at,
        last_used_at=last_used_at,
        secrets=secrets,
    )


def issued(registered: Registered) -> ClientIssued:
    """Return a client as registered, with its secret."""
    client = registered.client
    return ClientIssued(
        client_id=client.client_id,
        name=client.name,
        redirect_uris=client.redirect_uris,
        grant_types=client.grant_types,
        token_endpoint_auth_method=client.token_endpoint_auth_method,
        scope=" ".join(client.scope),
        resources=client.resources,
        access_token_format=client.access_token_format,
        client_secret=registered.client_secret,
        client_secret_id=registered.client_secret_id,
    )


async def create_client(call: Call) -> ClientIssued:
    """Register a client."""
    call.caller.check_may_give(call.body.scope.split())
    return issued(await client_registry.register(call.request.runtime, call.body, actor=call.caller.actor))


async def list_clients(call: Call) -> ClientPage:
    """List clients."""
    runtime, query = call.request.runtime, call.query
    found = await runtime.lists.read(
        store.search_clients,
        search=query.search,
        after=paging.open_cursor(runtime, "clients", query.cursor),
        limit=query.limit + 1,
    )
    page, following = paging.page(runtime, "clients", found, query.limit, lambda row: row[1])
    return ClientPage([view(facts.client, facts.last_used_at) for facts, _ in page], following)


async def show_client(call: Call) -> ClientView:
    """Show a client and its secrets' identifiers."""
    return await describe(call.request.runtime, call.path("id"))


async def describe(runtime: Runtime, client_id: str) -> ClientView:
    """Return everything that is known of a client; raise `not_found`."""
    facts = await client_registry.find_facts(runtime, client_id)
    if facts is None:
        raise OAuthError("not_found", "There is no such client.")
    secrets = await client_registry.secrets_of(runtime, client_id)
    return view(facts.client, facts.last_used_at, secrets)


async def update_client(call: Call) -> ClientView:
    """Replace a client's metadata, or disable it, unless it changed meanwhile."""
    call.caller.check_may_give(call.body.client.scope.split())
    changed = await client_registry.change(
        call.request.runtime,
        call.path("id"),
        call.body.client,
        expected_version=call.body.version,
        disabled=call.body.disabled,
        actor=call.caller.actor,
    )
    return view(changed)


async def rotate_client_secret(call: Call) -> SecretIssued:
    """Add a secret; older ones stay valid during the overlap."""
    known = await client_registry.find(call.request.runtime, call.path("id"))
    call.caller.check_may_give(known.scope if known else ())
    secret, secret_id = await client_registry.add_secret(
        call.request.runtime,
        call.path("id"),
        overlap=call.body.overlap,
        expires_in=call.body.expires_in,
        actor=call.caller.actor,
    )
    return SecretIssued(call.path("id"), secret, secret_id)


async def delete_client_secret(call: Call) -> None:
    """End one secret at once."""
    await client_registry.remove_secret(
        call.request.runtime, call.path("id"), call.path("secret_id"), actor=call.caller.actor
    )


async def delete_client(call: Call) -> None:
    """Delete a client and revoke everything that was issued to it."""
    await client_registry.delete(call.request.runtime, call.path("id"), actor=call.caller.actor)


OPERATIONS = (
    Operation(
        "POST",
        "/clients",
        create_client,
        "Register a client",
        WRITE,
        body=ClientInput,
        answer=ClientIssued,
        status=201,
    ),
    Operation("GET", "/clients", list_clients, "List clients", READ, query=ClientQuery, answer=ClientPage),
    Operation("GET", "/clients/{id}", show_client, "Show a client", READ, answer=ClientView),
    Operation(
        "PUT", "/clients/{id}", update_client, "Change a client", WRITE, body=ClientChange, answer=ClientView
    ),
    Operation("DELETE", "/clients/{id}", delete_client, "Delete a client", WRITE),
    Operation(
        "POST",
        "/clients/{id}/secrets",
        rotate_client_secret,
        "Add a secret",
        WRITE,
        body=SecretInput,
        answer=SecretIssued,
        status=201,
    ),
    Operation("DELETE", "/clients/{id}/secrets/{secret_id}", delete_client_secret, "End a secret", WRITE),
)
