"""`watchword audit`: read, follow and verify the audit trail."""

import asyncio
from typing import Annotated, NamedTuple

import msgspec
import typer

from watchword.cli import session
from watchword.cli.session import Config, Database, Json
from watchword.flows.runtime import Runtime
from watchword.store import unreadable
from watchword.store.audit import events
from watchword.store.audit.events import Event
from watchword.store.audit.trail import ChainReport
from watchword.store.database import StorageUnavailable
from watchword.store.sqlite import file

FOLLOW_INTERVAL = 0.5


class Wanted(NamedTuple):
    """The filter of events; an empty text matches any."""

    name: str
    target: str
    actor: str

    def takes(self, event: Event) -> bool:
        """Whether an event matches."""
        pairs = ((self.name, event.name), (self.target, event.target), (self.actor, event.actor))
        return all(wanted in ("", found) for wanted, found in pairs)


def audit(
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", help="Keep printing events as they happen; with --json, one document per line."
        ),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the hash chains and report every break.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="Only this many of the latest, up to 10000.")
    ] = 50,
    since: Annotated[
        str | None, typer.Option(help="Only events of so long ago at most, such as 7d, 24h or 30m.")
    ] = None,
    name: Annotated[str, typer.Option(help="Only events of this name.")] = "",
    target: Annotated[str, typer.Option(help="Only events about this identifier.")] = "",
    actor: Annotated[
        str, typer.Option(help='Only events caused by this identifier, or for example by "command line".')
    ] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Print audit events, oldest first; verify that nobody tampered with them; or follow them."""
    if verify and follow:
        session.usage("--verify and --follow exclude each other")
    if verify:
        _verify(database, config, as_json)
        return

    wanted, age = Wanted(name, target, actor), session.duration(since, "--since")

    async def work(runtime: Runtime) -> list[Event]:
        seen: dict[str, int] = {}
        settings = runtime.settings
        files = None if settings.is_postgres else file.Files(settings.database)
        if follow:  # before the list is read: otherwise events that come in between would be missed
            await runtime.database.read(events.heads, seen)
        found = await _latest(runtime, wanted, limit, age)
        if follow:
            for event in found:
                _emit(event, as_json)
            await _follow(runtime, files, {event.id for event in found}, seen, wanted, as_json)
        return found

    found = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"events": found})
    else:
        for event in found:
            _print(event)


async def _latest(runtime: Runtime, wanted: Wanted, limit: int, age: int | None) -> list[Event]:
    """Return the latest events that match, oldest first, none of them older than `age` in seconds."""
    found = await runtime.database.read(
        events.list_events,
        limit=limit,
        name=wanted.name,
        target=wanted.target,
        actors=[wanted.actor] if wanted.actor else [],
        since=None if age is None else (runtime.now() - age, "", 0),
    )
    return found[::-1]


async def _follow(
    runtime: Runtime,
    files: file.Files | None,
    shown: set[str],
    seen: dict[str, int],
    wanted: Wanted,
    as_json: bool,
) -> None:
    is_away = False
    while True:
        _check(files, runtime.settings.database)
        try:
            found = await runtime.database.read(events.list_events_after, seen)
            is_away = False
        except StorageUnavailable as error:  # whoever had to begin again would miss what happens until then
            if not is_away:
                session.err.print(f"waiting for the database: {error.reason}", style="dim", markup=False)
            found, is_away = [], True
        for event in found:
            if wanted.takes(event) and event.id not in shown:
                _emit(event, as_json)
        await asyncio.sleep(FOLLOW_INTERVAL)


def _check(files: file.Files | None, database: str) -> None:
    """Raise StorageUnavailable when the database file was removed or replaced, as by a restore: nobody writes to the open one any more."""
    try:
        if files is not None:
            files.check()
    except StorageUnavailable:
        reason = f"{database} was removed or replaced: begin again to follow what is there now"
        raise StorageUnavailable(reason) from None


def _emit(event: Event, as_json: bool) -> None:
    if as_json:
        session.print_text(msgspec.json.encode(event).decode() + "\n")
    else:
        _print(event)


def _print(event: Event) -> None:
    detail = " ".join(
        f"{key}={_text(key, value)}" for key, value in event.data.items() if value not in (None, "", False)
    )
    session.out.print(f"[dim]{session.when(event.at)}[/] [bold]{event.name}[/]", end=" ")
    session.out.print(f"{event.target} by {event.actor} {detail}".rstrip(), markup=False)


def _text(key: str, value: object) -> str:
    """Return a value as people read it; a time without a space, since spaces separate the members.

    After tampering, any number may stand in the place of a time; it is printed as it is, so that it cannot hide the rest of the trail.
    """
    if isinstance(value, int) and key.endswith(("_at", "_until")) and value == unreadable.moment(value):
        return session.when(value).replace(" ", "T")
    return str(value)


def _verify(database: str | None, config: str | None, as_json: bool) -> None:
    async def work(runtime: Runtime) -> ChainReport:
        return await runtime.database.read(
            events.verify_trail,
            runtime.root.derive("audit"),
            runtime.now() - runtime.settings.audit_retention,
        )

    report = session.run(
        work, database=database, config=config, as_json=as_json, longest=session.LONGEST_LOOK
    )
    if as_json:
        session.print_json(
            {
                "sound": not report.breaks,
                "events": report.events,
                "chains": report.chains,
                "breaks": report.breaks,
            }
        )
    else:
        colour, word = ("red", "TAMPERED") if report.breaks else ("green", "sound")
        session.out.print(f"[{colour}]{word}[/]: {report.events} events in {report.chains} chains")
        for found in report.breaks:
            session.out.print(f"  {found}", markup=False)
    if report.breaks:
        raise typer.Exit(1)
