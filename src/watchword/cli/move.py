"""`watchword move`: from SQLite to PostgreSQL and back while the source serves."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from watchword.cli import session
from watchword.cli.backup import done
from watchword.cli.session import Config, Json
from watchword.flows.databases import move as flow
from watchword.flows.databases.move import Progress
from watchword.flows.secrets import master_key
from watchword.settings import SettingsError


def move(
    source: Annotated[str, typer.Argument(help="The database to move: sqlite:///FILE or postgresql://….")],
    target: Annotated[str, typer.Argument(help="The new database: sqlite:///FILE or postgresql://….")] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete the target's contents and start over.")
    ] = False,
    abandon: Annotated[
        bool,
        typer.Option(
            "--abandon", help="Cancel a move that has not switched over yet; the source is then as before."
        ),
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Move a database between SQLite and PostgreSQL while it serves, then make the source refuse writes.

    If interrupted, run it again: it resumes. Writes wait only during the switchover, whose duration is printed.
    """
    if abandon:
        begun = done(flow.abandon(source), as_json)
        if as_json:
            session.print_json({"abandoned": begun})
            return
        words = "given up: the source is as it was before" if begun else "no move of this database had begun"
        session.out.print(words)
        return
    if not target:
        session.usage("move needs a source and a target")
    settings = session.load(config, database=source)
    session.load(config, database=target)  # the target is a database as well
    if not settings.is_postgres and not Path(settings.database).exists():
        session.usage(f"there is no database file {settings.database}")
    try:
        masters = master_key.existing_master_keys(settings)
    except SettingsError as error:
        session.usage(str(error))
    moved = done(flow.move(source, target, masters, replace=replace, report=_report(as_json)), as_json)
    if as_json:
        session.print_json(msgspec.to_builtins(moved))
        return
    session.out.print(f"moved {moved.rows} rows; writes waited for {moved.fenced:g} s")
    session.out.print(
        "Stop the servers of the source, which refuses writes from now on. Serve the target with"
    )
    session.out.print(f"the same master key: key_file = {master_key.key_path(settings)}", markup=False)


def _report(as_json: bool) -> Callable[[Progress], None]:
    def show(progress: Progress) -> None:
        if not as_json:
            rows = f" {progress.rows} rows" if progress.table else ""
            session.err.print(f"{progress.phase} {progress.table}{rows}".rstrip(), markup=False)

    return show
