"""`watchword key …`: signing keys."""

from typing import Annotated, Literal

import typer

from watchword.cli import session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError

app = typer.Typer(help="Inspect, rotate and withdraw signing keys.", no_args_is_help=True)

Entry = dict[str, object]


async def _entries(runtime: Runtime) -> list[Entry]:
    return [
        {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "state": state,
            "created_at": key.created_at,
            "activates_at": key.activates_at,
            "retires_at": key.retires_at,
        }
        for key, state in runtime.keyring.states()
    ]


def _show(entries: list[Entry], as_json: bool) -> None:
    if as_json:
        session.print_json({"keys": entries})
        return
    rows = []
    for entry in entries:
        ends, active = entry["retires_at"], entry["activates_at"]
        rows.append(
            (
                entry["kid"],
                entry["algorithm"],
                entry["state"],
                session.when(active) if isinstance(active, int) else "",
                session.when(ends) if isinstance(ends, int) else "",
            )
        )
    session.print_table(("kid", "algorithm", "state", "signs from", "published until"), rows)


@app.command("list")
def list_(database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """List the published signing keys: next, current and retiring."""
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
    """Promote the next key and publish another; what the old one signed stays valid until it expires."""

    async def work(runtime: Runtime) -> list[Entry]:
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
    """Withdraw a key that leaked: what it signed is refused at once, and its successor signs."""

    async def work(runtime: Runtime) -> list[Entry]:
        if not await runtime.keyring.revoke(kid, actor=ACTOR):
            raise OAuthError("not_found", "There is no such key.")
        return await _entries(runtime)

    _show(session.run(work, database=database, config=config, as_json=as_json), as_json)
