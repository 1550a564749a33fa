"""`watchword serve`, `dev`, `demo`: running the server."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer

from watchword import settings as settings_module
from watchword.cli import launch, session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.flows import api_tokens
from watchword.flows.api_tokens import TokenInput
from watchword.flows.databases import start
from watchword.flows.giving import OPERATOR
from watchword.flows.runtime import Runtime
from watchword.networks import is_loopback
from watchword.settings import Settings, SettingsError, with_issuer
from watchword.store.database import StorageUnavailable

DEV_TOKEN = "development"
LOOPBACK = "127.0.0.1"


def _prepare(settings: Settings) -> str | None:
    try:
        return launch.prepare(settings)
    except StorageUnavailable as error:
        session.complain("error", error.reason)
        raise typer.Exit(1) from None
    except SettingsError as error:
        session.usage(str(error))


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 8000).")] = None,
    issuer: Annotated[
        str | None, typer.Option(help="The server's public address, such as https://auth.example.com.")
    ] = None,
    database: Database = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.")] = None,
    tls_cert: Annotated[str | None, typer.Option(help="Certificate chain (PEM), to serve TLS.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="Private key of the certificate (PEM).")] = None,
    tls_client_ca: Annotated[
        str | None,
        typer.Option(
            help="Certificate authorities (PEM) for client certificates; the handshake then requests one."
        ),
    ] = None,
    tls_client_self_signed: Annotated[
        bool | None,
        typer.Option(
            "--tls-client-self-signed", help="Accept certificates that clients registered themselves."
        ),
    ] = None,
    behind_tls_proxy: Annotated[
        bool | None,
        typer.Option("--behind-tls-proxy", help="A proxy terminates TLS: serve plain HTTP."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run the server in production: with TLS, or behind a proxy that terminates it."""
    options = {
        "host": host,
        "port": port,
        "issuer": issuer,
        "database": database,
        "workers": workers,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "tls_client_self_signed": tls_client_self_signed,
        "behind_tls_proxy": behind_tls_proxy,
        "config": config,
        "json": as_json,
    }
    code = launch.serve(options)
    raise session.WrongUsage(None) if code == 2 else typer.Exit(code)


def dev(
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 8000).")] = None,
    database: Annotated[
        str | None, typer.Option(help=f"SQLite file, kept between runs (default {session.DEV_DATABASE}).")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run a development server: a database file, a link for the owner, and a token that works."""
    own = {"database": session.DEV_DATABASE, "log_format": "console"}
    said = _stated(config)
    defaults = {name: value for name, value in own.items() if name not in said}
    given = {"port": port, "host": _host(said)} | ({} if database is None else {"database": database})
    settings = session.load(config, **(defaults | given), mode="development")
    settings = with_issuer(settings)
    from watchword import serving  # here, so that the other commands start without it

    if settings.is_postgres or settings.secure or settings.workers > 1 or settings.behind_tls_proxy:
        session.usage(
            "dev runs one process on a loopback address with an SQLite file: use `watchword serve` for anything else"
        )
    try:
        serving.check_startable(settings)
    except SettingsError as error:
        session.usage(str(error))
    link = _prepare(settings)
    token = asyncio.run(_dev_token(settings))
    greet = _print_document if as_json else _greet
    raise typer.Exit(launch.run(settings, partial(greet, settings, link, token)))


def _stated(config: str | None) -> dict[str, object]:
    """Return what file and environment set; exit with 2 when they set the mode to production."""
    try:
        said = settings_module.stated(config=config)
    except SettingsError as error:
        session.usage(str(error))
    if said.get("mode") == "production":  # it is also the default, but here somebody wrote it down
        session.usage("mode is production: use `watchword serve`, or remove the setting for development")
    return said


def _host(said: Mapping[str, object]) -> str:
    """Return the loopback address that file or environment names; any other is ignored with a notice."""
    host = str(said.get("host", LOOPBACK))
    if is_loopback(host):
        return host
    session.err.print(
        f"dev listens on {LOOPBACK} alone, not on the host {host} that is set: `watchword serve` does",
        style="dim",
        markup=False,
    )
    return LOOPBACK


async def _dev_token(settings: Settings) -> str:
    runtime = await start.open_runtime(settings)
    try:
        return (await _new_dev_token(runtime)).secret
    finally:
        await start.close_runtime(runtime)


async def _new_dev_token(runtime: Runtime) -> api_tokens.Issued:
    owner = ("application", f"application:{DEV_TOKEN}")
    await api_tokens.revoke_all_of(runtime, owner[1], actor=ACTOR)
    given = TokenInput(
        name=DEV_TOKEN, scope="orders:read orders:write watchword:admin introspect", expires_in=86_400
    )
    return await api_tokens.create(runtime, given, owner=owner, actor=ACTOR, giver=OPERATOR)


def _print_document(settings: Settings, link: str | None, token: str) -> None:
    mail = f"{settings.issuer}/dev/mail"
    session.print_json({"issuer": settings.issuer, "setup_link": link, "token": token, "mail": mail})


def _greet(settings: Settings, link: str | None, token: str) -> None:
    out = session.out
    out.print(
        f"\n[bold]Watchword[/] on {settings.issuer}  [dim](development; database {settings.database_shown})[/]\n"
    )
    if link:
        out.print("Create the owner's account with this one-time link:")
        out.print(f"  {link}\n", markup=False)
    if settings.console:
        out.print("The console, for its owner:")
        out.print(f"  {settings.issuer}/console\n", markup=False)
    out.print("A token that works for a day; a restart makes a new one:")
    out.print(f"  {token}\n", markup=False)
    out.print("Mail is not sent, but shown here:")
    out.print(f"  {settings.issuer}/dev/mail\n", markup=False)
    out.print("Try it:")
    out.print(
        f"  curl -H 'Authorization: Bearer {token}' {settings.issuer}/api/v1/tokens/self\n", markup=False
    )


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running and print the addresses.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Play the whole story on a throwaway database, step by step; exit with 1 if a step fails."""
    from watchword.demo.story import tell

    raise typer.Exit(tell(keep=keep, as_json=as_json))
