"""Every command by its name. Only the module of the called one is imported: importing all takes twice as long to start."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from watchword import __version__

# The sections of `watchword --help`: every command, or group of commands, with its module.
SECTIONS = {
    "Run the server": {"dev": "serving", "serve": "serving", "demo": "serving"},
    "Manage what it serves": {
        "token": "tokens",
        "client": "clients",
        "user": "users",
        "session": "sessions",
        "key": "keys",
        "trust": "trust",
        "apply": "apply",
        "export": "apply",
        "audit": "audit",
        "doctor": "doctor",
    },
    "Look after the database": {"backup": "backup", "restore": "backup", "migrate": "backup", "move": "move"},
    "Act as a client": {"login": "login", "logout": "login", "zero": "zero"},
}
GROUPS = {"token", "client", "user", "session", "key", "trust", "zero"}
MODULES = {name: module for section in SECTIONS.values() for name, module in section.items()}
VERSION = "--version"


class InOrder(TyperGroup):
    """The commands in the order of their sections: typer puts groups behind commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return their names."""
        return [name for name in MODULES if name in self.commands]


def application(called: str = "") -> typer.Typer:
    """Return the command line with only the called command, with none for `--version`, else with all."""
    app = typer.Typer(
        name="watchword",
        cls=InOrder,
        help="Authentication for APIs: API tokens, sessions, OAuth 2.1 and OpenID Connect.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in (called,) if called in MODULES else () if called == VERSION else MODULES:
        module = import_module(f"watchword.cli.{MODULES[name]}")
        panel = next(title for title, section in SECTIONS.items() if name in section)
        if name in GROUPS:
            app.add_typer(module.app, name=name, rich_help_panel=panel)
        else:
            app.command(name, rich_help_panel=panel)(getattr(module, name))
    return app


def _version(value: bool) -> None:
    if value:
        typer.echo(f"watchword {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(False, VERSION, callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Authentication for APIs: API tokens, sessions, OAuth 2.1 and OpenID Connect."""
