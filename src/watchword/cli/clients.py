"""`watchword client …`: clients and their secrets."""

from typing import Annotated, Literal

import msgspec
import typer

from watchword.cli import client_options, session
from watchword.cli.client_options import (
    BackchannelSession,
    BackchannelUri,
    FrontchannelSession,
    FrontchannelUri,
)
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.endpoints import admin_clients
from watchword.flows import client_registry
from watchword.flows.client_registry import ClientInput, Registered
from watchword.flows.runtime import Runtime
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.operation import convert
from watchword.store import clients as store
from watchword.store.clients import like_pattern

app = typer.Typer(help="Register and manage OAuth clients.", no_args_is_help=True)

ClientId = Annotated[str, typer.Argument(help="The client's identifier.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people see as the client's name.")],
    redirect_uri: Annotated[list[str] | None, typer.Option(help="Where codes are sent; repeatable.")] = None,
    grant: Annotated[
        list[str] | None, typer.Option(help="Grant type; repeatable (default: client_credentials).")
    ] = None,
    auth: Annotated[str | None, typer.Option(help="Authentication method at the token endpoint.")] = None,
    scope: Annotated[str, typer.Option(help="Scopes it may be granted, separated by spaces.")] = "",
    public: Annotated[
        bool, typer.Option("--public", help="The client can keep no secret (auth none).")
    ] = False,
    post_logout_redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Where people return after sign-out.")
    ] = None,
    backchannel_logout_uri: BackchannelUri = None,
    backchannel_logout_session_required: BackchannelSession = None,
    frontchannel_logout_uri: FrontchannelUri = None,
    frontchannel_logout_session_required: FrontchannelSession = None,
    jwks: Annotated[
        str | None, typer.Option(help="The client's public keys: a file or an https address.")
    ] = None,
    resource: Annotated[
        list[str] | None, typer.Option(help="An API that it may get tokens for; repeatable.")
    ] = None,
    no_pkce: Annotated[
        bool, typer.Option("--no-pkce", help="A confidential OpenID client that uses nonce instead.")
    ] = False,
    token_format: Annotated[
        Literal["jwt", "opaque"], typer.Option(help="Format of its access tokens.")
    ] = "jwt",
    lifetime: Annotated[str | None, typer.Option(help="Life of its access tokens, such as 10m.")] = None,
    token_status: Annotated[
        bool, typer.Option("--token-status", help="Its JWT access tokens name their place in a status list.")
    ] = False,
    native: Annotated[
        bool, typer.Option("--native", help="An app on a person's machine (RFC 8252).")
    ] = False,
    dpop: Annotated[bool, typer.Option("--dpop", help="Its access tokens must be bound to a key.")] = False,
    certificate_bound: Annotated[
        bool, typer.Option("--certificate-bound", help="Its access tokens must be bound to a certificate.")
    ] = False,
    certificate_subject: Annotated[
        str | None, typer.Option(help="Its certificate's subject, such as san_dns=client.example.com.")
    ] = None,
    profile: Annotated[
        Literal["default", "fapi2"],
        typer.Option(help="Security profile: fapi2 asks for everything that FAPI 2.0 does."),
    ] = "default",
    signed_requests: Annotated[
        str | None,
        typer.Option(help="It must sign its authorization requests, by this algorithm, such as ES256."),
    ] = None,
    details: Annotated[
        list[str] | None,
        typer.Option(help="A type of authorization_details that it may ask for; repeatable."),
    ] = None,
    exchange_from: Annotated[
        list[str] | None,
        typer.Option(help="An API that the client is: it may exchange tokens sent there; repeatable."),
    ] = None,
    exchange_for: Annotated[
        list[str] | None,
        typer.Option(
            help="An API that it may get tokens for by exchange; repeatable (default: its resources)."
        ),
    ] = None,
    impersonate: Annotated[
        bool, typer.Option("--impersonate", help="It may exchange tokens without naming itself as the actor.")
    ] = False,
    assert_to: Annotated[
        list[str] | None,
        typer.Option(help="ISSUER=CLIENT_ID: another server for which it may get identity assertions."),
    ] = None,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="It knows people by names that no other client can join.")
    ] = False,
    sector: Annotated[
        str | None,
        typer.Option(help="The sector_identifier_uri, where its redirect URIs have several hosts."),
    ] = None,
    sign: Annotated[list[str] | None, typer.Option(help=client_options.SIGN_HELP)] = None,
    encrypt: Annotated[list[str] | None, typer.Option(help=client_options.ENCRYPT_HELP)] = None,
    client_id: Annotated[
        str | None, typer.Option(help="Choose the identifier instead of having one made.")
    ] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Register a client; its secret is shown this once."""
    grants = grant or (["authorization_code", "refresh_token"] if redirect_uri else ["client_credentials"])
    given = {
        "name": name,
        "redirect_uris": redirect_uri or [],
        "grant_types": grants,
        "token_endpoint_auth_method": auth or ("none" if public else "client_secret_basic"),
        "scope": scope,
        "post_logout_redirect_uris": post_logout_redirect_uri or [],
        "resources": resource or [],
        "require_pkce": not no_pkce,
        "access_token_format": token_format,
        "access_token_lifetime": session.duration(lifetime, "--lifetime"),
        "access_token_status": token_status,
        "application_type": "native" if native else "web",
        "dpop_bound_access_tokens": dpop,
        "tls_client_certificate_bound_access_tokens": certificate_bound,
        "tls_client_auth_subject": certificate_subject.partition("=")[::2] if certificate_subject else None,
        "security_profile": profile,
        "require_signed_request_object": signed_requests is not None,
        "request_object_signing_alg": signed_requests,
        "authorization_details_types": details or [],
        "subject_type": "pairwise" if pairwise else "public",
        "sector_identifier_uri": sector,
        **client_options.answers(sign, encrypt),
        "backchannel_logout_uri": backchannel_logout_uri,
        "backchannel_logout_session_required": bool(backchannel_logout_session_required),
        "frontchannel_logout_uri": frontchannel_logout_uri,
        "frontchannel_logout_session_required": bool(frontchannel_logout_session_required),
        **client_options.jwks(jwks),
        **client_options.exchange(exchange_from, exchange_for, impersonate, assert_to),
    }

    async def work(runtime: Runtime) -> Registered:
        return await client_registry.register(
            runtime, convert(given, ClientInput), actor=ACTOR, client_id=client_id
        )

    registered = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json(admin_clients.issued(registered))
        return
    if registered.client_secret:
        session.out.print("[green]Keep this secret now; it cannot be shown again:[/]\n")
        session.out.print(f"  {registered.client_secret}\n", markup=False)
    _print(admin_clients.view(registered.client))


def _print(shown: admin_clients.ClientView) -> None:
    fields = msgspec.structs.asdict(shown)
    session.print_fields(
        [
            (name, " ".join(value) if isinstance(value, tuple) else value)
            for name, value in fields.items()
            if name != "secrets"
        ]
    )


@app.command("list")
def list_(
    search: Annotated[str, typer.Option(help="Only clients whose name holds this text.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    after: Annotated[str, typer.Option(help="Identifier of the last client of the page before.")] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List clients."""

    async def work(runtime: Runtime) -> list[admin_clients.ClientView]:
        found = await runtime.database.read(
            store.list_clients, after=after, limit=limit, search=like_pattern(search)
        )
        return [admin_clients.view(facts.client, facts.last_used_at) for facts in found]

    clients = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"clients": clients})
        return
    rows = [
        (
            client.client_id,
            client.name,
            client.token_endpoint_auth_method,
            client.scope,
            session.when(client.last_used_at),
        )
        for client in clients
    ]
    session.print_table(("client_id", "name", "auth", "scope", "last used"), rows)


@app.command()
def show(
    client_id: ClientId, database: Database = None, config: Config = None, as_json: Json = False
) -> None:
    """Show a client and its secrets' identifiers."""

    async def work(runtime: Runtime) -> admin_clients.ClientView:
        facts = await client_registry.find_facts(runtime, client_id)
        if facts is None:
            raise OAuthError("not_found", "There is no such client.")
        secrets = await client_registry.secrets_of(runtime, client_id)
        return admin_clients.view(facts.client, facts.last_used_at, secrets)

    shown = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json(shown)
        return
    _print(shown)
    session.out.print()
    session.print_table(
        ("secret", "created", "ends", "last used", "from"),
        [
            (
                secret.id,
                session.when(secret.created_at),
                session.when(secret.expires_at),
                session.when(secret.last_used_at),
                secret.last_address,
            )
            for secret in shown.secrets or []
        ],
    )


@app.command()
def update(
    client_id: ClientId,
    name: Annotated[str | None, typer.Option()] = None,
    redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Replaces all redirect URIs; repeatable.")
    ] = None,
    grant: Annotated[list[str] | None, typer.Option(help="Replaces all grant types; repeatable.")] = None,
    scope: Annotated[str | None, typer.Option(help="Replaces the scopes.")] = None,
    resource: Annotated[list[str] | None, typer.Option(help="Replaces the resources; repeatable.")] = None,
    post_logout_redirect_uri: Annotated[
        list[str] | None, typer.Option(help="Replaces where people return after sign-out; repeatable.")
    ] = None,
    backchannel_logout_uri: BackchannelUri = None,
    backchannel_logout_session_required: BackchannelSession = None,
    frontchannel_logout_uri: FrontchannelUri = None,
    frontchannel_logout_session_required: FrontchannelSession = None,
    jwks: Annotated[
        str | None, typer.Option(help="Replaces the public keys: a file or an https address.")
    ] = None,
    token_format: Annotated[Literal["jwt", "opaque"] | None, typer.Option()] = None,
    lifetime: Annotated[str | None, typer.Option()] = None,
    token_status: Annotated[bool | None, typer.Option("--token-status/--no-token-status")] = None,
    sign: Annotated[list[str] | None, typer.Option(help=client_options.SIGN_HELP)] = None,
    encrypt: Annotated[list[str] | None, typer.Option(help=client_options.ENCRYPT_HELP)] = None,
    disable: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Disabling ends its tokens.")
    ] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change a client; what is not named stays as it is."""
    changes: dict[str, object] = {
        "name": name,
        "redirect_uris": redirect_uri,
        "grant_types": grant,
        "scope": scope,
        "resources": resource,
        "access_token_format": token_format,
        "access_token_lifetime": session.duration(lifetime, "--lifetime"),
        "access_token_status": token_status,
        "post_logout_redirect_uris": post_logout_redirect_uri,
        "backchannel_logout_uri": backchannel_logout_uri,
        "backchannel_logout_session_required": backchannel_logout_session_required,
        "frontchannel_logout_uri": frontchannel_logout_uri,
        "frontchannel_logout_session_required": frontchannel_logout_session_required,
    }
    wanted = {key: value for key, value in changes.items() if value not in (None, [])}
    wanted |= client_options.answers(sign, encrypt) | client_options.jwks(jwks)
    wanted |= {name: None for name in client_options.LOGOUT_URIS if changes[name] == ""}

    async def work(runtime: Runtime) -> Client:
        existing = await client_registry.find(runtime, client_id)
        if existing is None:
            raise OAuthError("not_found", "There is no such client.")
        before = msgspec.structs.asdict(client_registry.to_input(existing))
        if "jwks" in wanted or "jwks_uri" in wanted:
            before |= {"jwks": None, "jwks_uri": None}
        given = convert(before | wanted, ClientInput)
        return await client_registry.change(
            runtime, client_id, given, expected_version=existing.version, disabled=disable, actor=ACTOR
        )

    changed = admin_clients.view(session.run(work, database=database, config=config, as_json=as_json))
    if as_json:
        session.print_json(changed)
    else:
        _print(changed)


@app.command("rotate-secret")
def rotate_secret(
    client_id: ClientId,
    overlap: Annotated[str, typer.Option(help="How long the older secrets work on.")] = "24h",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give a client another secret; the older ones work on during the overlap."""
    seconds = session.duration(overlap, "--overlap")

    async def work(runtime: Runtime) -> tuple[str, str]:
        return await client_registry.add_secret(runtime, client_id, overlap=seconds, actor=ACTOR)

    secret, secret_id = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json(admin_clients.SecretIssued(client_id, secret, secret_id))
        return
    session.out.print("[green]Keep this secret now; it cannot be shown again:[/]\n")
    session.out.print(f"  {secret}", markup=False)


@app.command()
def delete(
    client_id: ClientId, database: Database = None, config: Config = None, as_json: Json = False
) -> None:
    """Delete a client and end all that it was issued."""

    async def work(runtime: Runtime) -> None:
        await client_registry.delete(runtime, client_id, actor=ACTOR)

    session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"deleted": client_id})
    else:
        session.out.print(f"deleted {client_id}", markup=False)
