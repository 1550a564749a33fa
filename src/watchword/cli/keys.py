"""`watchword key …`: signing keys, and the master key."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import typer

from watchword.cli import session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.flows.databases import master_key_rotation
from watchword.flows.databases.master_key_rotation import Rotated
from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError

app = typer.Typer(
    help="Inspect, rotate and revoke signing keys; rotate the master key.", no_args_is_help=True
)


class Entry(msgspec.Struct, frozen=True):
    """A published key; times are Unix seconds."""

    kid: str
    algorithm: str
    state: str
    created_at: int
    activates_at: int | None
    retires_at: int | None


async def _entries(runtime: Runtime) -> list[Entry]:
    return [
        Entry(key.kid, key.algorithm, state, key.created_at, key.activates_at, key.retires_at)
        for key, state in await runtime.keyring.states()
    ]


def _show(entries: list[Entry], as_json: bool, warnings: Sequence[str] = ()) -> None:
    for warning in warnings:
        session.err.print(warning, style="yellow", markup=False)
    if as_json:
        session.print_json({"keys": entries, **({"warnings": warnings} if warnings else {})})
        return
    session.print_table(
        ("kid", "algorithm", "state", "signs from", "published until"),
        [
            (entry.kid, entry.algorithm, entry.state, _when(entry.activates_at), _when(entry.retires_at))
            for entry in entries
        ],
    )


def _when(moment: int | None) -> str:
    return "" if moment is None else session.when(moment)


@app.command("list")
def list_(database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """List the published signing keys: next, current, retiring, and unused ones of algorithms that no longer sign."""
    _show(session.run(_entries, database=database, config=config, as_json=as_json), as_json)


@app.command()
def rotate(
    algorithm: Annotated[
        Literal["ES256", "EdDSA", "RS256"] | None, typer.Option(help="Only this algorithm's key.")
    ] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make the next key the current one and publish another; what the old key signed stays valid until it expires."""

    async def work(runtime: Runtime) -> list[Entry]:
        if algorithm not in (None, *runtime.settings.signing_algorithms):
            raise OAuthError(
                "invalid_request", "This server does not sign with that algorithm.", field="algorithm"
            )
        for name in [algorithm] if algorithm else runtime.settings.signing_algorithms:
            if not await runtime.keyring.rotate(name, actor=ACTOR):
                raise OAuthError(
                    "conflict", f"There is no next key for {name}, or another node rotated it just now."
                )
        return await _entries(runtime)

    _show(session.run(work, database=database, config=config, as_json=as_json), as_json)


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(help="The key's identifier.")],
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Revoke a leaked key: what it signed is refused at once, and the next key takes over.

    If `signing_algorithms` no longer names its algorithm, it gets no successor.
    """

    async def work(runtime: Runtime) -> tuple[list[Entry], list[str]]:
        keyring = runtime.keyring
        of = next((key.algorithm for key, _ in await keyring.states() if key.kid == kid), None)
        if not await keyring.revoke(kid, actor=ACTOR):
            raise OAuthError("not_found", "There is no such key.")
        lacks_successor = of is not None and not keyring.signs(of)
        why = f"no new key is made: signing_algorithms does not name {of}"
        return await _entries(runtime), [why] if lacks_successor else []

    entries, warnings = session.run(work, database=database, config=config, as_json=as_json)
    _show(entries, as_json, warnings)


@app.command("rotate-master")
def rotate_master(database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Rotate the master key while nodes serve; if interrupted, run it again: it resumes.

    A key file gets a new key; the old one is kept beside it. If several keys are given, one per line, the last becomes the master key.
    """

    async def work(runtime: Runtime) -> tuple[Rotated, bool]:
        return await master_key_rotation.rotate(runtime, actor=ACTOR), runtime.settings.is_postgres

    rotated, is_shared = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json(msgspec.to_builtins(rotated, enc_hook=str))
    else:
        _show_rotated(rotated, is_shared)


def _show_rotated(rotated: Rotated, is_shared: bool) -> None:
    if rotated.former:
        lines = [f"the master key is {rotated.master_key} now, and was {rotated.former}"]
    else:
        lines = [
            f"nothing was left to rotate: the last key given, {rotated.master_key}, is the master key already"
        ]
    if rotated.key_file is None:
        lines.append(
            "Leave only the last key where the master key comes from, and restart the nodes with it."
        )
    else:
        lines.append(f"key file: {rotated.key_file}")
        lines += [f"{'former' if rotated.former else 'other'} key: {path}" for path in rotated.kept]
    if is_shared and rotated.key_file is not None:
        lines.append(
            "Other nodes keep serving; replace their key file by this one before they, or their workers, restart."
        )
    if rotated.was_root:
        lines.append(
            "The former key is also the root secret of this database, as an earlier release made it: it still opens copies of it."
        )
    lines.append(
        "Back up the database now. Earlier backups need the former key: keep it as long as you keep them."
    )
    for line in lines:
        session.out.print(line, markup=False)
