"""`watchword session …`: who is signed in."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from watchword.cli import session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.endpoints.admin_users import session_view
from watchword.flows.runtime import Runtime
from watchword.flows.users import people
from watchword.pages import user_agents
from watchword.store.sessions import Session

app = typer.Typer(help="See who is signed in and end sessions.", no_args_is_help=True)


@app.command("list")
def list_(
    user: Annotated[
        str, typer.Option(help="Only sessions of this person: user name, verified address, or identifier.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, up to 1000.")] = 100,
    after: Annotated[str, typer.Option(help="Identifier of the last session on the previous page.")] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List live sessions, newest first."""
    session.follows(after, "session")

    async def work(runtime: Runtime) -> tuple[Sequence[Session], dict[str, str], str | None]:
        whose = (await people.find(runtime, user)).id if user else ""
        listed = await people.live_sessions(runtime, whose, after=after, limit=limit + 1)
        shown, following = session.page(listed, limit, lambda one: one.id)
        return shown, await people.names_of(runtime, {one.user_id for one in shown}), following

    found, names, following = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        told = [
            msgspec.to_builtins(session_view(one)) | {"username": names.get(one.user_id)} for one in found
        ]
        session.print_json({"sessions": told, "next": following})
        return
    session.print_table(
        ("id", "user", "device", "address", "last seen", "methods"),
        [
            (
                one.id,
                names.get(one.user_id, one.user_id),
                user_agents.describe(one.user_agent).name,
                one.address,
                session.when(one.last_seen_at),
                " ".join(one.amr),
            )
            for one in found
        ],
    )
    session.print_more(following)


@app.command()
def end(
    session_id: Annotated[str | None, typer.Argument(help="The session's identifier.")] = None,
    user: Annotated[
        str,
        typer.Option(help="End every session of this person: user name, verified address, or identifier."),
    ] = "",
    lasting_access: Annotated[
        bool,
        typer.Option(
            "--lasting-access", help="Also end the lasting access of applications (offline_access)."
        ),
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """End one session, or all sessions of a person; every copy of the cookie stops working at once."""
    if (session_id is None) == (not user):
        session.usage("name a session, or a person with --user")

    async def work(runtime: Runtime) -> list[str]:
        if session_id is not None:
            await people.end_session(runtime, session_id, lasting=lasting_access, actor=ACTOR)
            return [session_id]
        found = await people.find(runtime, user)
        return await people.end_sessions(runtime, found, lasting=lasting_access, actor=ACTOR)

    ended = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"ended": ended})
    else:
        session.print_fields([("ended", len(ended))])
