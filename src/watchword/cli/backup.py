"""`watchword backup`, `restore`, `migrate`: the database as a whole."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from watchword.cli import session
from watchword.cli.session import Config, Database, Json
from watchword.flows.databases import backup as flow
from watchword.flows.databases import schema_state
from watchword.flows.databases.backup import Report
from watchword.oauth.errors import OAuthError
from watchword.settings import SettingsError
from watchword.store.database import StorageUnavailable

T = TypeVar("T")
File = Annotated[Path, typer.Argument(help="The backup's file.")]


def done(work: Coroutine[object, object, T], as_json: bool) -> T:
    """Run work that does not need the server's data opened; exit with 1 or 2 and the reason when it is refused."""
    try:
        return asyncio.run(work)
    except OAuthError as error:
        session.refuse(error.code, error.description, as_json, error.field)
    except StorageUnavailable as error:
        session.refuse("temporarily_unavailable", error.reason, as_json)
    except SettingsError as error:
        session.usage(str(error))


async def _stoppable(work: Coroutine[object, object, T]) -> T:
    """Do work that cleans up when it is cancelled, and cancel it for SIGTERM as well (a stopped service, a time limit), not only for Ctrl-C."""
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    task = asyncio.ensure_future(work)
    with contextlib.suppress(NotImplementedError):  # asyncio on Windows: its loops take no signal handlers
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if stopped:
            sys.exit(128 + signal.SIGTERM)
        raise


def backup(file: File, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Write the whole database to one file while the server runs; the master key is not included: keep it separately."""
    _named(file)
    settings = session.load_for(database, config)
    report = done(_stoppable(flow.write_backup(settings, file, int(time.time()))), as_json)
    _show(report, file, "backed up", as_json)
    if not as_json:
        session.out.print(
            f"Restoring it takes the master key {report.master_key}, which it does not contain: keep that somewhere else."
        )


def restore(
    file: File,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Delete the database's present contents, in the same transaction."),
    ] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Keep the sessions, grants and access tokens that were live at the backup."
        ),
    ] = False,
    end_api_tokens: Annotated[
        bool, typer.Option("--end-api-tokens", help="Revoke every API token as well.")
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Check a backup and load it into the database, completely or not at all; stop the server first.

    Ends whatever may have been revoked since the backup: sessions, grants, access tokens, links.
    """
    if exact and end_api_tokens:
        session.usage("--exact and --end-api-tokens exclude each other")
    _named(file)
    settings = session.load(config, database=database)
    work = flow.restore_backup(
        settings, file, int(time.time()), replace=replace, exact=exact, end_api_tokens=end_api_tokens
    )
    report = done(work, as_json)
    _show(report, file, "restored", as_json)
    if as_json:
        return
    session.out.print(f"Its master key is {report.master_key}, under which the backup was made.")
    if not exact:
        session.out.print("Sessions, grants and access tokens were ended: people have to sign in again.")


def _named(file: Path) -> None:
    # Elsewhere `-` is a stream. A file named `-`, and the report in the pipe, would be noticed only when a restore is needed.
    if not file.name or str(file) == "-":
        session.usage("give a file name: a backup cannot be a stream")


def _show(report: Report, file: Path, word: str, as_json: bool) -> None:
    if as_json:
        session.print_json({"file": str(file), **{name: getattr(report, name) for name in _FIELDS}})
        return
    session.out.print(f"{word} {report.rows} rows of {len(report.tables)} tables, schema version", end=" ")
    session.out.print(f"{report.schema_version}, as of {session.when(report.created_at)}")


_FIELDS = ("schema_version", "created_at", "tables", "rows", "master_key")


def migrate(
    status: Annotated[
        bool,
        typer.Option("--status", help="Only list the migrations that are due; exit with 1 if there are any."),
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Bring the database schema up to date; `serve` does so too when it starts."""
    settings = session.load(config, database=database)
    work = schema_state.status(settings) if status else schema_state.apply(settings)
    state = done(work, as_json)
    if as_json:
        session.print_json({"schema_version": state.version, "pending": list(state.pending)})
    else:
        session.out.print(f"schema version {state.version}")
        for name in state.pending:
            session.out.print(f"pending: {name}", markup=False)
    if state.pending:
        raise typer.Exit(1)
