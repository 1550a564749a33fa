"""`watchword user import`: people of another product, with the passwords that they have."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from watchword.cli import session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.flows import people_import
from watchword.flows.people_import import Refusal
from watchword.flows.runtime import Runtime

SHOWN = 20  # lines that are named for people


class Imported(msgspec.Struct, frozen=True):
    """What was done, or with `--check` would be; `existing` are the lines whose name or address is taken."""

    created: int
    existing: list[int]
    refused: list[Refusal]


def import_(
    file: Annotated[Path, typer.Argument(help="The export, a JSON object a line; - is standard input.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only check the lines: nothing is looked up or stored.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Import the lines that can be, although others can't.")
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create accounts from another product's export, with their passwords; all of it or, when a line can't be, nothing.

    A line is an object of username, email, email_verified, display_name, attributes, password_hash and disabled; all are optional, but a name
    or an address is needed. Accounts that exist are left alone.
    """
    lines = _lines(file)

    async def work(runtime: Runtime) -> Imported:
        ready, refused = people_import.read(runtime, lines)
        if check or (refused and not keep_going):
            return Imported(0, [], refused)
        done = await people_import.store(runtime, ready, actor=ACTOR)
        return Imported(done.created, done.existing, refused)

    done = session.run(work, database=database, config=config, as_json=as_json, makes=not check)
    if as_json:
        session.print_json(done)
    else:
        _print(done, stored=not check and (keep_going or not done.refused))
    if done.refused:
        raise typer.Exit(1)


def _lines(file: Path) -> list[bytes]:
    if str(file) == "-":
        return sys.stdin.buffer.readlines()
    try:
        with file.open("rb") as opened:
            return opened.readlines()
    except OSError as error:
        session.usage(f"{file}: {error.strerror}")


def _print(done: Imported, *, stored: bool) -> None:
    for one in done.refused[:SHOWN]:
        named = f"{one.field}: " if one.field else ""
        session.complain(f"line {one.line}", f"{named}{one.error_description}")
    if len(done.refused) > SHOWN:
        session.err.print(f"[dim]and {len(done.refused) - SHOWN} more lines; --json tells of all[/]")
    if not stored:
        session.err.print("[dim]nothing was imported[/]")
        return
    session.print_fields([("created", done.created), ("existing", _counted(done.existing))])


def _counted(lines: list[int]) -> str:
    if not lines:
        return ""
    named = ", ".join(map(str, lines[:SHOWN]))
    return f"{len(lines)} (line {named}{', …' if len(lines) > SHOWN else ''})"
