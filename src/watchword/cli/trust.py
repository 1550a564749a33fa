"""`watchword trust …`: trust rules: which issuers' assertions get which tokens."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import msgspec
import typer

from watchword.cli import client_metadata, session
from watchword.cli.session import ACTOR, Config, Database, Json
from watchword.endpoints import admin_trust
from watchword.endpoints.admin_trust import TrustView
from watchword.flows.runtime import Runtime
from watchword.flows.trust import trust_rules
from watchword.flows.trust.trust_rules import TrustInput
from watchword.http.operation import convert
from watchword.store import trust as store
from watchword.store.trust import Rule

app = typer.Typer(
    help="Trust the assertions of outside issuers, such as CI systems (RFC 7523).", no_args_is_help=True
)

Claims = Annotated[
    list[str] | None,
    typer.Option(help="name=pattern that a claim must match; * is any text but /, ** any; repeatable."),
]
Resources = Annotated[list[str] | None, typer.Option(help="An API that the tokens may be for; repeatable.")]
Domains = Annotated[
    list[str] | None,
    typer.Option(help="Domain of the addresses by which people are matched to accounts; repeatable."),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        help="A private network from which the issuer's metadata and keys may be fetched, such as 10.20.0.0/16; repeatable."
    ),
]
Algorithms = Annotated[
    list[str] | None,
    typer.Option(
        help="A signature algorithm that its assertions may use; repeatable (default: all supported)."
    ),
]
Scope = Annotated[
    str, typer.Option(callback=session.scopes, help="Scopes that may be granted, separated by spaces.")
]
RuleName = Annotated[str, typer.Argument(help="The rule's identifier or name.")]


def _jwks(value: str | None) -> dict[str, object]:
    if value is None:
        return {}
    if value.startswith(("https://", "http://")):
        return {"jwks_uri": value}
    return {"jwks": client_metadata.read_json(value, "--jwks", "or an https address")}


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the rule.")],
    issuer: Annotated[str, typer.Option(help="The issuer to trust: the exact `iss` of its assertions.")],
    scope: Annotated[
        str, typer.Option(callback=session.scopes, help="Scopes that may be granted, separated by spaces.")
    ],
    claim: Claims = None,
    subject: Annotated[
        str | None, typer.Option(help="Subject of the tokens, such as ci:{repository}.")
    ] = None,
    audience: Annotated[
        str | None, typer.Option(help="The `aud` of the assertions (default: this issuer).")
    ] = None,
    resource: Resources = None,
    client: Annotated[
        list[str] | None, typer.Option(help="A client that may use the rule; repeatable (default: any).")
    ] = None,
    people: Annotated[
        bool, typer.Option("--people", help="For identity assertions of an enterprise's provider (ID-JAG).")
    ] = False,
    email_domain: Domains = None,
    jwks: Annotated[
        str | None, typer.Option(help="The issuer's keys: a file or an address (default: its metadata).")
    ] = None,
    network: Networks = None,
    algorithm: Algorithms = None,
    max_lifetime: Annotated[str, typer.Option(help="Maximum lifetime of an assertion.")] = "1h",
    token_lifetime: Annotated[str, typer.Option(help="Lifetime of the tokens.")] = "10m",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Create a trust rule: exchange an issuer's assertions for tokens."""
    given = {
        "name": name,
        "issuer": issuer,
        "scope": scope,
        "kind": "people" if people else "workload",
        "claims": session.pairs(claim, "--claim", "name=pattern"),
        "subject": subject,
        "audience": audience,
        "resources": resource or [],
        "clients": client or [],
        "email_domains": email_domain or [],
        "networks": network or [],
        "algorithms": algorithm or [],
        "max_lifetime": session.duration(max_lifetime, "--max-lifetime"),
        "token_lifetime": session.duration(token_lifetime, "--token-lifetime"),
        **_jwks(jwks),
    }

    work = partial(_create, given, config)
    rule, unknown = session.run(work, database=database, config=config, as_json=as_json, makes=True)
    warnings = [trust_rules.UNKNOWN.format(one) for one in unknown]
    _print(rule, as_json, warnings)
    for warning in warnings:
        session.err.print(warning, style="yellow", markup=False)


async def _create(given: dict[str, object], config: str | None, runtime: Runtime) -> tuple[Rule, list[str]]:
    made = await trust_rules.create(runtime, convert(given, TrustInput), actor=ACTOR)
    if given["audience"] is None:
        await session.tell_assumed_issuer(runtime, config)
    return made, await trust_rules.unknown_clients(runtime, made)


def _print(rule: Rule, as_json: bool, warnings: Sequence[str] = ()) -> None:
    shown = admin_trust.view(rule)
    if as_json:
        told = {"warnings": warnings} if warnings else {}
        session.print_json(msgspec.to_builtins(shown) | told)
        return
    fields = msgspec.structs.asdict(shown)
    fields["claims"] = [f"{name}={pattern}" for name, pattern in shown.claims.items()]
    session.print_fields([(name, value) for name, value in fields.items() if name != "jwks"])


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many, up to 1000.")] = 100,
    after: Annotated[str, typer.Option(help="Identifier of the last rule on the previous page.")] = "",
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """List the trust rules."""
    session.follows(after, "trust")

    async def work(runtime: Runtime) -> tuple[list[TrustView], str | None]:
        found = await runtime.database.read(store.list_rules, after=after, limit=limit + 1)
        shown, following = session.page(found, limit, lambda rule: rule.id)
        return [admin_trust.view(rule) for rule in shown], following

    rules, following = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"rules": rules, "next": following})
        return
    rows = [(rule.id, rule.name, rule.kind, rule.issuer, rule.scope) for rule in rules]
    session.print_table(("id", "name", "kind", "issuer", "scope"), rows)
    session.print_more(following)


@app.command()
def show(rule: RuleName, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Show a trust rule."""

    async def work(runtime: Runtime) -> Rule:
        return await trust_rules.show(runtime, rule)

    _print(session.run(work, database=database, config=config, as_json=as_json), as_json)


@app.command()
def delete(rule: RuleName, database: Database = None, config: Config = None, as_json: Json = False) -> None:
    """Delete a trust rule and revoke the tokens issued under it."""

    async def work(runtime: Runtime) -> Rule:
        return await trust_rules.delete(runtime, rule, actor=ACTOR)

    gone = session.run(work, database=database, config=config, as_json=as_json)
    if as_json:
        session.print_json({"deleted": gone.id})
    else:
        session.out.print(f"deleted {gone.id}", markup=False)
