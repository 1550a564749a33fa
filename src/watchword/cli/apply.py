"""`watchword apply` and `watchword export`: clients and trust rules described in a file, under version control."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import typer

from watchword.cli import description, session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.durable_files import replace, replace_private
from watchword.flows.desired import state
from watchword.flows.desired.state import Plan, State
from watchword.flows.desired.step import Step
from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError

# The exit code of a difference, which a drift check distinguishes from a refusal and from wrong usage
DIFFERS = 3
SIGNS = {"create": "+", "change": "~", "delete": "-"}


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change as programs see it; `fields` are those that differ, `before` and `after` their values.

    `lacks_secret` marks a client that has no secret, `warnings` say what is probably not meant.
    """

    kind: str
    name: str
    action: str
    fields: tuple[str, ...] = ()
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    makes_secret: bool = False
    lacks_secret: bool = False
    warnings: tuple[str, ...] = ()


class Applied(msgspec.Struct, frozen=True):
    """What was done, or with `--check` would be done; `secrets` are the files with the secrets that were made."""

    changes: list[Change]
    unchanged: int
    applied: bool
    secrets: list[str]


def apply(
    file: Annotated[Path, typer.Argument(help="The file, TOML or JSON; - for standard input.")],
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Change nothing; exit with 3 if something would change, 1 if something is refused.",
        ),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Delete what a section of the file leaves out; preview it with `--check`."
        ),
    ] = False,
    secrets: Annotated[
        Path | None,
        typer.Option(help="Folder for secrets: creates one for each client that needs one and has none."),
    ] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make clients and trust rules match a file."""
    wanted = _described(file, as_json)
    folder = _folder(secrets) if secrets is not None and not check else secrets
    made: list[str] = []

    def keep(folder: Path, client_id: str, secret: str) -> None:
        made.append(_write_secret(folder, client_id, secret))
        if not as_json:
            session.out.print(f"secret in {made[-1]}", markup=False)

    async def work(runtime: Runtime) -> Plan:
        if any(rule.audience is None for rule in wanted.trust or ()):
            await session.tell_assumed_issuer(runtime, config)
        kept = partial(keep, folder) if folder is not None else None
        planned = await state.plan(runtime, wanted, prune=prune, keep=kept, actor=ACTOR)
        if not as_json:
            _tell(planned)
        if not check:
            await state.perform(planned)
        return planned

    with contextlib.nullcontext() if folder is None or check else _alone(folder):
        planned = session.run(work, database=database, config=config, as_json=as_json, makes=not check)
    if as_json:
        session.print_json(
            Applied([_change(step) for step in planned.steps], planned.unchanged, not check, made)
        )
    elif not check:
        _tell_lacking(planned)
        if planned.steps:
            session.out.print(f"{len(planned.steps)} changed", style="dim")
    if check and planned.steps:
        raise typer.Exit(DIFFERS)


def _change(step: Step) -> Change:
    is_more = step.makes_secret and step.action == "change"
    return Change(
        kind=step.kind,
        name=step.name,
        action=step.action,
        fields=(*step.differences.after, *(["client_secret"] if is_more else [])),
        before=step.differences.before,
        after=step.differences.after,
        makes_secret=step.makes_secret,
        lacks_secret=step.lacks_secret,
        warnings=step.warnings,
    )


def _tell_lacking(planned: Plan) -> None:
    for step in planned.steps:
        if step.lacks_secret:
            session.out.print(
                f"client {step.name} has no secret yet: create one with --secrets DIR or `client rotate-secret`",
                markup=False,
                style="yellow",
            )


def _described(file: Path, as_json: bool) -> State:
    document = description.read(file)
    try:
        return state.read(document)
    except OAuthError as error:
        session.refuse(error.code, error.description, as_json, error.field)


def _folder(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        session.usage(f"--secrets {folder}: {error.strerror}")
    if not os.access(folder, os.W_OK | os.X_OK):
        session.usage(f"--secrets {folder}: files cannot be made there")
    return folder


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder of the secrets: whoever else makes some there waits, and then finds that they are made."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folder
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _tell(planned: Plan) -> None:
    for step in planned.steps:
        session.out.print(f"{SIGNS[step.action]} {step.kind} {step.name}", markup=False)
        for name, after in step.differences.after.items():
            before = step.differences.before[name]
            session.out.print(f"    {name}: {_shown(before)} -> {_shown(after)}", markup=False)
        if step.makes_secret:
            session.out.print("    client_secret: a new one", markup=False)
        for warning in step.warnings:
            session.out.print(f"    {warning}", markup=False, style="yellow")
    session.out.print(f"{len(planned.steps)} to change, {planned.unchanged} as described", style="dim")


def _shown(value: object) -> str:
    return "none" if value is None else msgspec.json.encode(value).decode()


def _write_secret(folder: Path, client_id: str, secret: str) -> str:
    path = folder / f"{quote(client_id, safe='')}.secret"
    try:
        replace_private(path, f"{secret}\n")
    except OSError as error:
        raise OAuthError("conflict", f"{path} cannot be written: {error.strerror}.") from None
    return str(path)


def export(
    file: Annotated[
        Path | None,
        typer.Argument(help="File to write, .toml or .json; - or nothing for standard output."),
    ] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write clients and trust rules as a file for `watchword apply`, without defaults and secrets."""
    if file is not None and file.suffix.lower() in (".yaml", ".yml"):
        session.usage("name a .toml or .json file: YAML is not supported")
    described = session.run(state.describe, database=database, config=config, as_json=as_json)
    document = {section: description.entries(section, described) for section in state.SECTIONS}
    if file is not None and str(file) == description.STREAM:
        file = None
    text = description.text(document, as_json if file is None else file.suffix.lower() == ".json")
    if file is None:
        session.print_text(text)
        return
    try:
        replace(file, text.encode())
    except OSError as error:
        session.usage(f"{file} cannot be written: {error.strerror}")
    if as_json:
        session.print_json({section: len(entries) for section, entries in document.items()})
    else:
        session.out.print(
            f"{file}: {', '.join(f'{len(entries)} {section}' for section, entries in document.items())}"
        )
