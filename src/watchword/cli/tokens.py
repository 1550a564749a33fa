"""`watchword token …`: API tokens."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from watchword.cli import scanning, session
from watchword.cli.scanning import Scan
from watchword.cli.session import ACTOR, Config, Database, Json, SignIn
from watchword.credentials import names
from watchword.endpoints import admin_leaks, admin_tokens
from watchword.flows import api_tokens, examination, leaks, scanner, token_verification
from watchword.flows.api_tokens import Issued, TokenInput
from watchword.flows.examination import Finding
from watchword.flows.giving import OPERATOR
from watchword.flows.runtime import Runtime
from watchword.flows.token_verification import Use
from watchword.http.operation import convert
from watchword.oauth.scopes import parse_scope
from watchword.pages import languages
from watchword.store import api_tokens as store

app = typer.Typer(help="Create, inspect, rotate and revoke API tokens.", no_args_is_help=True)
# Owners that are hardly meant as names of applications.
_LIKE_SOMEBODY = re.compile(r".*@|user_|client_")

_SECRET = re.compile(r"(?!token_)[A-Za-z0-9]+_[A-Za-z0-9]{30,}")


def _no_secret(given: str | None) -> str | None:
    if given is not None and _SECRET.fullmatch(given):
        session.usage(
            "this command takes a token's identifier, not the token: `watchword token explain -` reads the token "
            "and says its identifier, or ends it with --revoke"
        )
    return given


TokenId = Annotated[str, typer.Argument(help="The token's identifier.", callback=_no_secret)]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    owner: Annotated[
        str,
        typer.Option(help="User name, verified address, client identifier, or the name of an application."),
    ],
    scope: Annotated[str, typer.Option(callback=session.scopes, help="Scopes, separated by spaces.")],
    expires: Annotated[
        str | None, typer.Option(help="Lifetime, such as 90d or 12h; 'never' if the settings allow it.")
    ] = None,
    resource: Annotated[
        str | None, typer.Option(help="The API that the token is for (its audience).")
    ] = None,
    bind: Annotated[
        str | None, typer.Option(help="Thumbprint of the key that callers must prove to hold (DPoP).")
    ] = None,
    address: Annotated[
        list[str] | None, typer.Option(help="Address or network it may be used from; repeatable.")
    ] = None,
    path: Annotated[str | None, typer.Option(help="Prefix of the paths that it may be used on.")] = None,
    rate_limit: Annotated[
        int | None, typer.Option(help="Maximum uses per minute; uses at other workers count a second later.")
    ] = None,
    quota: Annotated[
        int | None, typer.Option(help="Maximum uses in its whole lifetime, counted in the same way.")
    ] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; repeatable.")] = None,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create an API token; it is shown only once."""
    expires_in = "never" if expires == "never" else session.duration(expires, "--expires", least=1)
    given = {
        "name": name,
        "owner": owner,
        "scope": scope,
        "resource": resource,
        "expires_in": expires_in,
        "addresses": address or [],
        "path": path,
        "rate_limit": rate_limit,
        "quota": quota,
        "jkt": bind,
        "metadata": session.pairs(metadata, "--metadata", "KEY=VALUE", may_be_empty=True),
    }

    async def work(runtime: Runtime) -> Issued:
        checked = convert(given, TokenInput)
        who = await api_tokens.resolve_owner(runtime, owner)
        made = await api_tokens.create(runtime, checked, owner=who, actor=ACTOR, giver=OPERATOR)
        if resource is None and runtime.settings.default_resource is None:
            await session.tell_assumed_issuer(runtime, config)
        return made

    new = session.run(work, database=database, config=config, as_json=as_json, makes=True)
    if _LIKE_SOMEBODY.match(owner) and new.token.owner_id == api_tokens.APPLICATION + owner:
        told = f"nobody here is called {owner}: the token belongs to an application of that name"
        session.err.print(told, style="yellow", markup=False)
    _print_issued(new, as_json)


def _print_issued(new: Issued, as_json: bool) -> None:
    with session.shown_once(new.token.id, f"watchword token rotate {new.token.id}"):
        if as_json:
            session.print_json(admin_tokens.issued(new))
        else:
            _show_issued(new)


def _show_issued(new: Issued) -> None:
    session.out.print("[green]Keep this token now; it cannot be shown again:[/]\n")
    session.out.print(f"  {new.secret}\n", markup=False)
    session.print_fields(
        [
            ("id", new.token.id),
            ("owner", new.token.owner_id),
            ("scope", new.token.scope),
            ("resource", new.token.resource),
            ("expires", session.when(new.token.expires_at)),
        ]
    )


@app.command("list")
def list_(
    owner: Annotated[str | None, typer.Option(help="Only tokens of this owner.")] = None,
    search: Annotated[
        str, typer.Option(help="Only tokens whose name starts with this, ordered by name.")
    ] = "",
    state: Annotated[
        Literal["all", "active", "expired", "revoked"],
        typer.Option(help="all, active, expired or revoked."),
    ] = "all",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, up to 1000.")] = 100,
    after: Annotated[str, typer.Option(help="Identifier of the last token on the previous page.")] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List API tokens, newest first."""
    session.one_page(search, after)
    session.follows(after, "token")

    async def work(runtime: Runtime) -> tuple[list[admin_tokens.TokenView], str | None]:
        owner_id = (await api_tokens.resolve_owner(runtime, owner))[1] if owner else ""
        found = await runtime.database.read(
            store.search_tokens,
            search=search,
            after=after,
            limit=limit + 1,
            owner=owner_id,
            state=state,
            now=runtime.now(),
        )
        shown, following = session.page(found, limit, lambda one: one[0].id)
        return [admin_tokens.view(token, runtime.now()) for token, _ in shown], following

    tokens, following = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"tokens": tokens, "next": None if search else following})
        return
    rows = [
        (token.id, token.name, token.owner, token.scope, token.state, session.when(token.expires_at))
        for token in tokens
    ]
    session.print_table(("id", "name", "owner", "scope", "state", "expires"), rows)
    session.print_more(following, search)


@app.command()
def show(
    token_id: TokenId,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show a token: its secrets, who uses them and since when, and which token it was narrowed from."""

    async def work(runtime: Runtime) -> admin_tokens.TokenView:
        return await admin_tokens.describe(runtime, token_id)

    shown = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json(shown)
        return
    session.print_fields(
        [(name, value) for name, value in msgspec.structs.asdict(shown).items() if name != "secrets"]
    )
    session.out.print()
    rows = [
        (
            f"…{use.hint}",
            session.when(use.created_at),
            session.when(use.expires_at),
            session.when(use.last_used_at),
            use.last_address,
            " ".join(f"{outcome}={count}" for outcome, count in use.outcomes.items()),
        )
        for use in shown.secrets or []
    ]
    session.print_table(("secret", "created", "ends", "last used", "from", "outcomes"), rows)


@app.command()
def verify(
    token: Annotated[str | None, typer.Argument(help="The token, or - for standard input.")] = None,
    scope: Annotated[str, typer.Option(help="Scopes that it must hold.")] = "",
    resource: Annotated[str | None, typer.Option(help="The API that it is presented to.")] = None,
    address: Annotated[str | None, typer.Option(help="The address that it comes from.")] = None,
    path: Annotated[str | None, typer.Option(help="The path that it is used on.")] = None,
    bind: Annotated[
        str, typer.Option(help="Thumbprint of the key that the caller proved to hold (DPoP).")
    ] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Verify a token and say why it is refused; WATCHWORD_TOKEN or standard input keeps it out of the process list."""
    secret = _read_secret(token)

    async def work(runtime: Runtime) -> tuple[token_verification.Verdict, int]:
        # "" matches no key, as in the admin API: without a proof a bound token is not accepted.
        use = Use(address, path, None if resource is None else (resource,), parse_scope(scope), bind)
        return await token_verification.verify(runtime, secret, use), runtime.now()

    verdict, now = session.run(work, database=database, config=config, as_json=as_json)
    shown = admin_tokens.view(verdict.token, now) if verdict.token else None
    if as_json:
        session.print_json(admin_tokens.Verified(verdict.active, verdict.reason, shown))
    elif shown is None:
        session.out.print(f"[red]refused[/]: {verdict.reason}")
    else:
        colour = "green" if verdict.active else "red"
        session.out.print(f"[{colour}]{'accepted' if verdict.active else 'refused'}[/]: {verdict.reason}")
        session.print_fields(
            [("id", shown.id), ("owner", shown.owner), ("scope", shown.scope), ("resource", shown.resource)]
        )
    if not verdict.active:
        raise typer.Exit(1)


@app.command()
def explain(
    token: Annotated[str, typer.Argument(help="The token, or - for standard input.")],
    revoke: Annotated[bool, typer.Option("--revoke", help="Also revoke it, as leaked.")] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what a token of any kind is, whose it is, and whether an API would accept it; this does not count as a use."""
    # Never the one in WATCHWORD_TOKEN, which is the caller's own: `--revoke` must not end that when another was piped in.
    text = _read_line() if token == "-" else token

    async def work(runtime: Runtime) -> tuple[Finding, bool]:
        if revoke:
            return await leaks.end(runtime, text, actor=ACTOR)
        return await examination.examine(runtime, text), False

    finding, ended = session.run(work, database=database, config=config, as_json=as_json)
    shown = admin_leaks.view(finding, ended)
    if as_json:
        session.print_json(shown)
    else:
        texts = languages.available()["en"].texts
        colour = "green" if finding.active else "red"
        session.out.print(f"[{colour}]{finding.reason}[/]: {texts[f'console_check.reason_{finding.reason}']}")
        about = msgspec.structs.asdict(shown) | {"kind": texts[f"console_check.kind_{finding.name}"]}
        hidden = ("reason", "ended", "header", "claims", *(() if finding.kind else ("kind",)))
        session.print_fields([(name, value) for name, value in about.items() if value and name not in hidden])
        if finding.claims:
            session.out.print(f"[dim]{texts['console_check.claims']}:[/]")
            session.print_fields([(name, _said(value)) for name, value in finding.claims.items()])
        if revoke:
            session.out.print("revoked" if ended else "nothing was left to revoke")
    if not (finding.active or ended):
        raise typer.Exit(1)


def _said(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _read_line() -> str:
    return typer.get_text_stream("stdin", errors="replace").readline().strip()


def _read_secret(token: str | None) -> str:
    if token == "-":
        return _read_line()
    found = token or os.environ.get("WATCHWORD_TOKEN")
    if not found:
        session.usage("give the token, - to read it from standard input, or set WATCHWORD_TOKEN")
    return found


@app.command()
def rotate(
    token_id: TokenId,
    overlap: Annotated[str, typer.Option(help="How long the older secrets keep working.")] = "24h",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Give a token a new secret; the older ones keep working during the overlap."""
    seconds = session.duration(overlap, "--overlap")

    async def work(runtime: Runtime) -> Issued:
        return await api_tokens.rotate(runtime, token_id, overlap=seconds or 0, actor=ACTOR)

    _print_issued(session.run(work, database=database, config=config, as_json=as_json), as_json)


@app.command()
def revoke(
    token_id: Annotated[
        str | None, typer.Argument(help="The token's identifier.", callback=_no_secret)
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Revoke every token of this owner instead.")] = None,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Record that the token has leaked.")
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Revoke a token, or all tokens of an owner, with everything narrowed from them."""
    if (token_id is None) == (owner is None):
        session.usage("give the identifier of a token, or --owner")
    reason = "compromised" if compromised else "revoked"

    async def work(runtime: Runtime) -> list[str]:
        if token_id is not None:
            return await api_tokens.revoke(runtime, token_id, reason=reason, actor=ACTOR)
        return await api_tokens.revoke_all(runtime, owner or "", reason=reason, actor=ACTOR)

    ended = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"ended": ended})
    else:
        session.out.print(f"revoked {len(ended)} token(s)" if ended else "nothing was left to revoke")


@app.command()
def scan(
    path: Annotated[
        Path | None, typer.Argument(help="File or folder to search for tokens.", exists=True)
    ] = None,
    rules: Annotated[
        Literal["github", "gitleaks", "trufflehog"] | None,
        typer.Option(help="Print rules for github, gitleaks or trufflehog instead."),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find tokens in files, or print rules for secret scanners; tokens that are found are printed shortened."""
    if (path is None) == (rules is None):
        session.usage("give a file or folder, or --rules")
    brand = session.load(config).brand
    if rules is not None:
        text = scanner.rules(rules, brand)
        if as_json:
            session.print_json({"scanner": rules, "rules": text})
        else:
            session.out.print(text, end="", markup=False)
    if path is not None:
        _print_scan(scanning.scan(path, brand), as_json)


def _print_scan(done: Scan, as_json: bool) -> None:
    if as_json:
        session.print_json({"findings": done.findings, "unread": done.unread})
    else:
        for found in done.findings:
            file = names.marked(str(found["file"]))  # a file's name must not control the terminal
            session.out.print(f"{file}:{found['line']}: {found['kind']} {found['token']}", markup=False)
        for unread in done.unread:
            session.err.print(
                f"{names.marked(unread['file'])} cannot be read: {unread['reason']}", markup=False
            )
        session.err.print(f"{len(done.findings)} credential(s) found")
    if done.findings or done.unread:
        raise typer.Exit(1)


@app.command("print")
def print_token(name: SignIn = None, as_json: Json = False) -> None:
    """Print a fresh access token of a sign-in, for scripts."""
    from watchword.cli import login  # the other commands of `token` do not need the OAuth client

    login.print_token(name, as_json)
