"""`watchword user …`: people."""

import sys
from typing import Annotated

import typer

from watchword.cli import session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.flows import accounts
from watchword.flows.runtime import Runtime
from watchword.store import users
from watchword.store.clients import like_pattern
from watchword.store.users import User

app = typer.Typer(help="Manage people's accounts.", no_args_is_help=True)

MAX_PASSWORD = 4096


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The user name.")],
    email: Annotated[str | None, typer.Option(help="The e-mail address, not verified yet.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="The account may administer the server.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create an account; without a password it can only be signed in to by an invitation or a passkey."""
    password = sys.stdin.readline(MAX_PASSWORD).rstrip("\r\n") if password_stdin else None

    async def work(runtime: Runtime) -> User:
        return await accounts.create(
            runtime, username=name, email=email, password=password, is_admin=admin, actor=ACTOR
        )

    user = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json(user)
    else:
        session.print_fields(
            [("id", user.id), ("username", user.username), ("email", user.email), ("admin", user.is_admin)]
        )


@app.command("list")
def list_(
    search: Annotated[str, typer.Option(help="Only accounts whose name or address holds this text.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    after: Annotated[str, typer.Option(help="Identifier of the last account of the page before.")] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List accounts."""

    async def work(runtime: Runtime) -> list[User]:
        return await runtime.database.read(
            users.list_users, after=after, limit=limit, search=like_pattern(search)
        )

    found = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"users": found})
        return
    session.print_table(
        ("id", "username", "email", "admin", "created"),
        [
            (
                user.id,
                user.username,
                user.email,
                "yes" if user.is_admin else "",
                session.when(user.created_at),
            )
            for user in found
        ],
    )
