"""`watchword user …`: people."""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated

import msgspec
import typer

from watchword.cli import people_import, session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.endpoints.admin_users import OneTimeLink, UserView, view
from watchword.flows.runtime import Runtime
from watchword.flows.users import account_changes, accounts, people, sign_up
from watchword.flows.users.people import Changes
from watchword.jose import strict_json
from watchword.jose.strict_json import StrictJSONError
from watchword.store import users
from watchword.store.users import User

app = typer.Typer(help="Manage people's accounts.", no_args_is_help=True)
app.command("import")(people_import.import_)

MAX_PASSWORD = 4096
Who = Annotated[str, typer.Argument(help="User name, verified address, or identifier.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The user name.")],
    email: Annotated[str | None, typer.Option(help="The e-mail address.")] = None,
    email_verified: Annotated[
        bool, typer.Option("--email-verified", help="The address is known to be the person's.")
    ] = False,
    admin: Annotated[bool, typer.Option("--admin", help="Make the person an administrator.")] = False,
    groups: Annotated[str, typer.Option(help="The groups that the person is in, separated by spaces.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create an account; without a password, the person needs a link (`user reset-link`) to sign in."""
    password = _password(as_json) if password_stdin else None
    if email_verified and not email:
        session.usage("--email-verified needs --email")

    async def work(runtime: Runtime) -> User:
        return await accounts.create(
            runtime,
            username=name,
            email=email,
            email_verified=email_verified,
            password=password,
            is_admin=admin,
            groups=groups.split(),
            actor=ACTOR,
        )

    user = session.run(work, database=database, config=config, as_json=as_json, makes=True)
    if as_json:
        session.print_json(view(user))
    else:
        session.print_fields(
            [
                ("id", user.id),
                ("username", user.username),
                ("email", user.email),
                ("groups", user.groups),
                ("admin", user.is_admin),
            ]
        )
        if password is None:
            told = f"nobody can sign in with it yet: `watchword user reset-link {user.username}` makes a link that sets it up"
            session.err.print(told, style="dim", markup=False)


def _password(as_json: bool) -> str:
    try:
        return sys.stdin.readline(MAX_PASSWORD).rstrip("\r\n")
    except UnicodeDecodeError:
        session.refuse("invalid_request", "The password is not text.", as_json, "password")


@app.command("list")
def list_(
    search: Annotated[
        str, typer.Option(help="Only accounts whose name or address starts with this, ordered by name.")
    ] = "",
    group: Annotated[str, typer.Option(help="Only people in this group.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, up to 1000.")] = 100,
    after: Annotated[str, typer.Option(help="Identifier of the last account on the previous page.")] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List accounts."""
    session.one_page(search, after)
    session.follows(after, "user")

    async def work(runtime: Runtime) -> tuple[list[User], str | None]:
        found = await runtime.database.read(
            users.search_users, search=search, group=group, after=after, limit=limit + 1
        )
        shown, following = session.page(found, limit, lambda one: one[0].id)
        return [user for user, _ in shown], following

    found, following = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"users": [view(user) for user in found], "next": None if search else following})
        return
    session.print_table(
        ("id", "username", "email", "admin", "state", "created"),
        [
            (
                user.id,
                user.username,
                user.email,
                "yes" if user.is_admin else "",
                "disabled" if user.disabled_at else "active",
                session.when(user.created_at),
            )
            for user in found
        ],
    )
    session.print_more(following, search)


def _one(
    who: str,
    act: Callable[[Runtime, User], Awaitable[object]] | None,
    database: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Find an account, do something with it, and show the result."""

    async def work(runtime: Runtime) -> UserView:
        user = await people.find(runtime, who)
        if act is not None:
            await act(runtime, user)
            user = await people.find(runtime, user.id)
        return view(user, await people.factors_of(runtime, user))

    _print(session.run(work, database=database, config=config, as_json=as_json), as_json)


def _print(shown: UserView, as_json: bool) -> None:
    if as_json:
        session.print_json(shown)
        return
    times = ("created_at", "email_verified_at", "disabled_at", "password_changed_at")
    fields = msgspec.structs.asdict(shown)
    session.print_fields(
        [
            (name.removesuffix("_at"), session.when(value) if name in times and value else value)
            for name, value in fields.items()
        ]
    )


@app.command()
def show(who: Who, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Show an account and what the person has set up."""
    _one(who, None, database, config, as_json)


@app.command()
def update(
    who: Who,
    name: Annotated[str | None, typer.Option(help="The name that people see; empty removes it.")] = None,
    email: Annotated[
        str | None,
        typer.Option(
            help="The e-mail address; a user name that is an address changes with it once it is verified."
        ),
    ] = None,
    email_verified: Annotated[
        bool | None,
        typer.Option("--email-verified/--email-unverified", help="Whether the address is verified."),
    ] = None,
    admin: Annotated[
        bool | None,
        typer.Option(
            "--admin/--no-admin",
            help="Whether the person is an administrator; taking the right away revokes their API tokens with scopes over this server.",
        ),
    ] = None,
    attributes: Annotated[
        str | None, typer.Option(help="A JSON object: claims about the person, such as given_name.")
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(help="The groups that the person is in, separated by spaces; empty for none."),
    ] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change an account."""
    claims = None if attributes is None else _attributes(attributes)
    member_of = None if groups is None else tuple(groups.split())
    changes = Changes(name, email, email_verified, claims, admin, member_of)

    _one(who, partial(people.change, changes=changes, actor=ACTOR), database, config, as_json)


def _attributes(text: str) -> dict[str, object]:
    """Read what the admin API would take as attributes."""
    try:
        claims = strict_json.loads(text)
    except StrictJSONError as error:
        session.usage(f"--attributes takes a JSON object ({error})")
    if not isinstance(claims, dict):
        session.usage("--attributes takes a JSON object")
    return claims


@app.command()
def disable(who: Who, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Disable an account: its sessions and grants end, and its tokens are refused."""
    act = partial(account_changes.set_disabled, disabled=True, actor=ACTOR)
    _one(who, act, database, config, as_json)


@app.command()
def enable(who: Who, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Enable an account again."""
    act = partial(account_changes.set_disabled, disabled=False, actor=ACTOR)
    _one(who, act, database, config, as_json)


@app.command("remove-factors")
def remove_factors(who: Who, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Remove every second factor and passkey of a person who lost them."""
    _one(who, partial(people.remove_factors, actor=ACTOR), database, config, as_json)


@app.command()
def delete(who: Who, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Delete an account and revoke everything issued to it."""

    async def work(runtime: Runtime) -> str:
        user = await people.find(runtime, who)
        await account_changes.delete(runtime, user, actor=ACTOR)
        return user.id

    deleted = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"deleted": deleted})
    else:
        session.print_fields([("deleted", deleted)])


@app.command()
def invite(
    email: Annotated[str, typer.Argument(help="The address to invite.")],
    admin: Annotated[bool, typer.Option("--admin", help="Make the person an administrator.")] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Invite somebody by mail, and print the link so that you can also hand it over yourself."""

    async def work(runtime: Runtime) -> tuple[str, bool]:
        link = await sign_up.invite(runtime, email, is_admin=admin, inviter=None, actor=ACTOR)
        await session.tell_assumed_issuer(runtime, config)
        return link, runtime.settings.mails

    link, is_mailed = session.run(work, database=database, config=config, as_json=as_json, makes=True)
    _print_link(link, sign_up.INVITE_LIFETIME, as_json)
    if not is_mailed:
        told = "no mail server is set (smtp_url), so nothing was mailed: hand the link over yourself"
        session.err.print(told, style="dim", markup=False)


@app.command("reset-link")
def reset_link(who: Who, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Print a one-time link with which the person sets a new password, or a passkey if passwords are not accepted."""

    async def work(runtime: Runtime) -> tuple[str, User]:
        user = await people.find(runtime, who)
        link = await people.reset_link(runtime, user, actor=ACTOR)
        await session.tell_assumed_issuer(runtime, config)
        return link, user

    link, user = session.run(work, database=database, config=config, as_json=as_json)
    is_disabled = user.disabled_at is not None
    _print_link(link, people.RESET_LIFETIME, as_json, is_disabled=is_disabled)
    if is_disabled:
        told = (
            f"this account is disabled: until `watchword user enable {user.username}` the link leads nowhere"
        )
        session.err.print(told, style="dim", markup=False)


def _print_link(link: str, lifetime: int, as_json: bool, *, is_disabled: bool = False) -> None:
    if as_json:
        session.print_json(OneTimeLink(link, lifetime, is_disabled))
    else:
        session.print_fields([("link", link), ("works for", f"{lifetime // 3600} hours, once")])
