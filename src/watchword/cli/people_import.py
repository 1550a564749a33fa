"""`watchword user import`: people of another product, with the passwords that they have."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Annotated

import typer

from watchword.cli import session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.flows.runtime import Runtime
from watchword.flows.users import people_import
from watchword.flows.users.people_import import MAX_LINE, Imported

SHOWN = 20  # lines that are named for people


def import_(
    file: Annotated[Path, typer.Argument(help="The export, a JSON object a line; - is standard input.")],
    check: Annotated[
        bool, typer.Option("--check", help="Only check the lines; look nothing up and store nothing.")
    ] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Import the valid lines even if others are not.")
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create accounts from another product's export, with their passwords: all of them or, if a line is invalid, none.

    Each line is a JSON object with username, email, email_verified, display_name, attributes, groups, password_hash and disabled. All are optional, but
    a user name or an address is needed. Existing accounts are left alone. A name that merely looks like an existing one is refused, and only that line.
    """
    with ExitStack() as open_files:
        try:
            export = sys.stdin.buffer if str(file) == "-" else open_files.enter_context(file.open("rb"))
            if not export.seekable():  # it cannot be read twice
                kept = open_files.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(export, kept)
                kept.seek(0)
                export = kept
            begin = export.tell()
        except OSError as error:
            session.usage(f"{file}: {error.strerror}")

        async def work(runtime: Runtime) -> tuple[Imported, bool]:
            return await people_import.run(
                runtime, lambda: _lines(export, begin), check=check, keep_going=keep_going, actor=ACTOR
            )

        done, stored = session.run(work, database=database, config=config, as_json=as_json, makes=not check)
    if as_json:
        session.print_json(done)
    else:
        _print(done, stored=stored)
    if done.refused:
        raise typer.Exit(1)


def _lines(export: IO[bytes], begin: int) -> Iterator[bytes]:
    """Yield the lines of a file from a position on; of one that is too long, as much as shows that it is."""
    export.seek(begin)
    while line := export.readline(MAX_LINE + 1):
        yield line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):
            line = export.readline(MAX_LINE + 1)


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
