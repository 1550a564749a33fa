"""Every command by its name."""

import typer

from watchword import __version__
from watchword.cli import (
    apply,
    audit,
    backup,
    clients,
    doctor,
    keys,
    login,
    move,
    serving,
    sessions,
    tokens,
    trust,
    users,
    zero,
)

app = typer.Typer(
    name="watchword",
    help="Authentication for APIs: API tokens, sessions, OAuth 2.1 and OpenID Connect.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(tokens.app, name="token")
app.add_typer(clients.app, name="client")
app.add_typer(users.app, name="user")
app.add_typer(sessions.app, name="session")
app.add_typer(keys.app, name="key")
app.add_typer(trust.app, name="trust")
app.add_typer(zero.app, name="zero")
app.command("login")(login.login)
app.command("logout")(login.logout)
tokens.app.command("print")(login.print_token)
app.command("doctor")(doctor.doctor)
app.command("audit")(audit.audit)
app.command("dev")(serving.dev)
app.command("serve")(serving.serve)
app.command("apply")(apply.apply)
app.command("export")(apply.export)
app.command("migrate")(backup.migrate)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("move")(move.move)
app.command("demo")(serving.demo)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"watchword {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Authentication for APIs: API tokens, sessions, OAuth 2.1 and OpenID Connect."""
