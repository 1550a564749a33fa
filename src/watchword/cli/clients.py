"""`watchword client …`: clients and their secrets."""

import shlex
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import msgspec
import typer

from watchword.cli import client_metadata, session
from watchword.cli import client_options as options
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.endpoints import admin_clients
from watchword.endpoints.admin_clients import SecretInput
from watchword.flows.clients import client_registry
from watchword.flows.clients.client_metadata import ClientInput, to_input
from watchword.flows.clients.client_registry import Registered
from watchword.flows.runtime import Runtime
from watchword.http.operation import convert
from watchword.oauth.clients import Client
from watchword.oauth.errors import OAuthError
from watchword.store import clients as store

app = typer.Typer(help="Register and manage OAuth clients.", no_args_is_help=True)

ClientId = Annotated[str, typer.Argument(help="The client's identifier.")]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The client's name, as people see it.")],
    redirect_uri: options.RedirectUri = None,
    grant: options.Grant = None,
    scope: options.Scope = None,
    public: Annotated[
        bool, typer.Option("--public", help="A public client, which cannot keep a secret (auth none).")
    ] = False,
    auth: options.Auth = None,
    post_logout_redirect_uri: options.PostLogoutRedirectUri = None,
    backchannel_logout_uri: options.BackchannelUri = None,
    backchannel_logout_session_required: options.BackchannelSession = None,
    frontchannel_logout_uri: options.FrontchannelUri = None,
    frontchannel_logout_session_required: options.FrontchannelSession = None,
    jwks: options.Jwks = None,
    resource: options.Resource = None,
    pkce: options.Pkce = None,
    pushed: options.Pushed = None,
    token_format: options.TokenFormat = None,
    lifetime: options.Lifetime = None,
    token_status: options.TokenStatus = None,
    native: options.Native = None,
    first_party: options.FirstParty = None,
    dpop: options.Dpop = None,
    certificate_bound: options.CertificateBound = None,
    certificate_subject: options.CertificateSubject = None,
    profile: options.Profile = None,
    max_age: options.MaxAge = None,
    require_auth_time: options.RequireAuthTime = None,
    acr: options.Acr = None,
    signed_requests: options.SignedRequests = None,
    request_algorithm: options.RequestAlgorithm = None,
    auth_algorithm: options.AuthAlgorithm = None,
    details: options.Details = None,
    group: options.Group = None,
    exchange_from: options.ExchangeFrom = None,
    exchange_for: options.ExchangeFor = None,
    impersonate: options.Impersonate = None,
    delegate: options.Delegate = None,
    exchange_lifetime: options.ExchangeLifetime = None,
    assert_to: options.AssertTo = None,
    exchange_rules: options.ExchangeRules = None,
    pairwise: options.Pairwise = None,
    sector: options.Sector = None,
    sign: options.Sign = None,
    encrypt: options.Encrypt = None,
    client_id: Annotated[str | None, typer.Option(help="The identifier (default: a generated one).")] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Register a client; its secret is shown only once."""
    if public and auth not in (None, "none"):
        session.usage("--public and --auth exclude each other: a public client does not authenticate")
    method = "none" if public else "client_secret_basic"
    if "none" in (method, auth) and not (redirect_uri or grant):
        session.usage(
            "a public client signs people in: give --redirect-uri, or --grant device_code for devices without a browser"
        )
    given = {"token_endpoint_auth_method": method, **client_metadata.of(context.params)}

    async def work(runtime: Runtime) -> Registered:
        return await client_registry.register(
            runtime, convert(given, ClientInput), actor=ACTOR, client_id=client_id
        )

    registered = session.run(work, database=database, config=config, as_json=as_json, makes=True)
    with _shown_once(registered.client.client_id) if registered.client_secret else nullcontext():
        if as_json:
            session.print_json(admin_clients.issued(registered))
        else:
            if registered.client_secret:
                _show_secret(registered.client_secret)
            _print(admin_clients.view(registered.client))


def _shown_once(client_id: str) -> AbstractContextManager[None]:
    return session.shown_once(client_id, f"watchword client rotate-secret {shlex.quote(client_id)}")


def _show_secret(secret: str) -> None:
    session.out.print("[green]Keep this secret now; it cannot be shown again:[/]\n")
    session.out.print(f"  {secret}\n", markup=False)


def _print(shown: admin_clients.ClientView) -> None:
    fields = {"client_id": shown.client_id, "name": shown.name} | msgspec.structs.asdict(shown)
    session.print_fields([(name, value) for name, value in fields.items() if name != "secrets"])


@app.command("list")
def list_(
    search: Annotated[
        str, typer.Option(help="Only clients whose name or identifier starts with this, ordered by name.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, up to 1000.")] = 100,
    after: Annotated[str, typer.Option(help="Identifier of the last client on the previous page.")] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List clients."""
    session.one_page(search, after)

    async def work(runtime: Runtime) -> tuple[list[admin_clients.ClientView], str | None]:
        # An identifier that somebody chose may be of any form; a client of ours may have been deleted since the page before.
        known = not after or session.has_form(after, "client")
        if not known and await runtime.database.read(store.find_client, after) is None:
            raise OAuthError(
                "not_found", f"--after takes the last identifier of the page before: {after!r} is no client."
            )
        found = await runtime.database.read(store.search_clients, search=search, after=after, limit=limit + 1)
        shown, following = session.page(found, limit, lambda one: one[0].client.client_id)
        views = [admin_clients.view(facts.client, facts.last_used_at) for facts, _ in shown]
        return views, following

    clients, following = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"clients": clients, "next": None if search else following})
        return
    rows = [
        (
            client.client_id,
            client.name,
            client.token_endpoint_auth_method,
            client.scope,
            "disabled" if client.disabled_at else "active",
            session.when(client.last_used_at),
        )
        for client in clients
    ]
    session.print_table(("client_id", "name", "auth", "scope", "state", "last used"), rows)
    session.print_more(following, search)


@app.command()
def show(
    client_id: ClientId, database: Database = None, config: Config = None, as_json: Json = False
) -> None:
    """Show a client and its secrets' identifiers."""

    async def work(runtime: Runtime) -> admin_clients.ClientView:
        return await admin_clients.describe(runtime, client_id)

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
    context: typer.Context,
    client_id: ClientId,
    name: Annotated[str | None, typer.Option(help="The client's name, as people see it.")] = None,
    redirect_uri: options.RedirectUri = None,
    grant: options.Grant = None,
    scope: options.Scope = None,
    auth: options.Auth = None,
    post_logout_redirect_uri: options.PostLogoutRedirectUri = None,
    backchannel_logout_uri: options.BackchannelUri = None,
    backchannel_logout_session_required: options.BackchannelSession = None,
    frontchannel_logout_uri: options.FrontchannelUri = None,
    frontchannel_logout_session_required: options.FrontchannelSession = None,
    jwks: options.Jwks = None,
    resource: options.Resource = None,
    pkce: options.Pkce = None,
    pushed: options.Pushed = None,
    token_format: options.TokenFormat = None,
    lifetime: options.Lifetime = None,
    token_status: options.TokenStatus = None,
    native: options.Native = None,
    first_party: options.FirstParty = None,
    dpop: options.Dpop = None,
    certificate_bound: options.CertificateBound = None,
    certificate_subject: options.CertificateSubject = None,
    profile: options.Profile = None,
    max_age: options.MaxAge = None,
    require_auth_time: options.RequireAuthTime = None,
    acr: options.Acr = None,
    signed_requests: options.SignedRequests = None,
    request_algorithm: options.RequestAlgorithm = None,
    auth_algorithm: options.AuthAlgorithm = None,
    details: options.Details = None,
    group: options.Group = None,
    exchange_from: options.ExchangeFrom = None,
    exchange_for: options.ExchangeFor = None,
    impersonate: options.Impersonate = None,
    delegate: options.Delegate = None,
    exchange_lifetime: options.ExchangeLifetime = None,
    assert_to: options.AssertTo = None,
    exchange_rules: options.ExchangeRules = None,
    pairwise: options.Pairwise = None,
    sector: options.Sector = None,
    sign: options.Sign = None,
    encrypt: options.Encrypt = None,
    disable: Annotated[
        bool | None,
        typer.Option(
            "--disable/--enable", help="Disable the client, which ends its tokens, or enable it again."
        ),
    ] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change a client. Options that you leave out keep their values; a list is replaced; an empty text removes a value."""

    async def work(runtime: Runtime) -> Client:
        existing = await client_registry.find(runtime, client_id)
        if existing is None:
            raise OAuthError("not_found", "There is no such client.")
        before = to_input(existing)
        wanted = client_metadata.of(context.params, before)
        given = convert(msgspec.to_builtins(before) | wanted, ClientInput)
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
    overlap: Annotated[str, typer.Option(help="How long the older secrets keep working.")] = "24h",
    expires: Annotated[
        str | None, typer.Option(help="Lifetime of the new secret (default: unlimited).")
    ] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give a client a new secret; the older ones keep working during the overlap."""
    given = {
        "overlap": session.duration(overlap, "--overlap"),
        "expires_in": session.duration(expires, "--expires", least=60),
    }

    async def work(runtime: Runtime) -> tuple[str, str]:
        asked = convert(given, SecretInput)
        return await client_registry.add_secret(
            runtime, client_id, overlap=asked.overlap, expires_in=asked.expires_in, actor=ACTOR
        )

    secret, secret_id = session.run(work, database=database, config=config, as_json=as_json)
    with _shown_once(client_id):
        if as_json:
            session.print_json(admin_clients.SecretIssued(client_id, secret, secret_id))
        else:
            _show_secret(secret)


@app.command("remove-secret")
def remove_secret(
    client_id: ClientId,
    secret_id: Annotated[str, typer.Argument(help="The secret's identifier, as `client show` lists it.")],
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Revoke one of a client's secrets at once."""

    async def work(runtime: Runtime) -> None:
        await client_registry.remove_secret(runtime, client_id, secret_id, actor=ACTOR)

    session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"removed": secret_id})
    else:
        session.out.print(f"removed {secret_id}", markup=False)


@app.command()
def delete(
    client_id: ClientId, database: Database = None, config: Config = None, as_json: Json = False
) -> None:
    """Delete a client and revoke everything issued to it."""

    async def work(runtime: Runtime) -> None:
        await client_registry.delete(runtime, client_id, actor=ACTOR)

    session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"deleted": client_id})
    else:
        session.out.print(f"deleted {client_id}", markup=False)
