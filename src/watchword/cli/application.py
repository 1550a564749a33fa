"""Every command by its name. Only the module of the called one is imported: importing all takes twice as long to start."""

from importlib import import_module

import typer

from watchword import __version__

# Commands of one word, then groups of commands, each with its module.
COMMANDS = {
    "login": "login",
    "logout": "login",
    "doctor": "doctor",
    "audit": "audit",
    "dev": "serving",
    "serve": "serving",
    "apply": "apply",
    "export": "apply",
    "migrate": "backup",
    "backup": "backup",
    "restore": "backup",
    "move": "move",
    "demo": "serving",
}
GROUPS = {
    "token": "tokens",
    "client": "clients",
    "user": "users",
    "session": "sessions",
    "key": "keys",
    "trust": "trust",
    "zero": "zero",
}
MODULES = COMMANDS | GROUPS
VERSION = "--version"


def application(called: str = "") -> typer.Typer:
    """Return the command line with only the called command, with none for `--version`, else with all."""
    app = typer.Typer(
        name="watchword",
        help="Authentication for APIs: API tokens, sessions, OAuth 2.1 and OpenID Connect.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in (called,) if called in MODULES else () if called == VERSION else MODULES:
        module = import_module(f"watchword.cli.{MODULES[name]}")
        if name in GROUPS:
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(f"watchword {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, VERSION, callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Authentication for APIs: API tokens, sessions, OAuth 2.1 and OpenID Connect."""
