"""`watchword doctor`: what is wrong with a server as its clients see it, or with this installation, and what to change."""

import asyncio
import stat
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from watchword import settings as settings_module
from watchword.cli import session
from watchword.cli.session import Config, Database, Json
from watchword.client.doctor import Report, examine
from watchword.flows.runtime import Runtime
from watchword.flows.secrets import master_key
from watchword.networks import read_network
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store import migrate, soundness
from watchword.store.audit import events
from watchword.store.database import StorageUnavailable

MARKS = {"ok": "[green]ok[/]     ", "warning": "[yellow]warning[/]", "broken": "[red]broken[/] "}


def doctor(
    url: Annotated[
        str | None,
        typer.Argument(
            help="Issuer of an authorization server, or address of an MCP server; default: this installation."
        ),
    ] = None,
    data: Annotated[
        bool,
        typer.Option("--data", help="Read all stored data and check that it is consistent (takes a while)."),
    ] = False,
    database: Database = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Find out why clients cannot connect to a server, or check this installation; exit with 1 if something is broken."""
    if data and url is not None:
        session.usage("--data checks the data of this installation: leave the address out")
    try:
        report = examine(url) if url is not None else _installation(database, config, data)
    except ValueError as error:
        session.usage(str(error))
    if as_json:
        findings = [asdict(finding) for finding in report.findings]
        session.print_json({"url": url, "kind": report.kind, "broken": report.broken, "findings": findings})
    else:
        _print(report)
    if report.broken:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    session.out.print(f"{report.url} ({report.kind})\n", markup=False)
    for finding in report.findings:
        session.out.print(MARKS[finding.level] + "  ", end="")
        session.out.print(f"{finding.message}  [{finding.at}]", markup=False)
        if finding.change:
            session.out.print(f"           change: {finding.change}", markup=False)


def _installation(database: str | None, config: str | None, data: bool) -> Report:
    from watchword import serving  # here, so that the other commands start without it

    report = Report("this installation", "settings, database and keys")
    try:
        settings = settings_module.load({"database": database}, config=config)
        if database is None and (developed := session.development_database(config)):
            settings = settings_module.load({"database": developed}, config=config)
    except SettingsError as error:
        report.fail("settings", "settings", str(error), "correct the option that is named")
        return report
    try:
        serving.check_named_files(settings)
    except SettingsError as error:
        report.fail("settings", "settings", str(error), "correct the option that is named, or its file")
    else:
        report.ok("settings", "settings", "the options are valid together")
        for said in serving.unknown_texts(settings):
            report.warn("texts", "template_directory", said, "correct its name, or leave it out")
    _exposure(settings, report)
    _files(settings, report)
    try:
        longest = session.LONGEST_LOOK if data else None
        asyncio.run(
            session.with_runtime(settings, lambda runtime: _opened(runtime, report, data), longest=longest)
        )
    except OAuthError:
        _no_database(settings, report)
    except (StorageUnavailable, SettingsError) as error:
        report.fail("database", settings.database_shown, str(error))
    return report


def _no_database(settings: Settings, report: Report) -> None:
    key = None if settings.is_postgres else master_key.own_file(settings)
    if key is not None and key.exists():  # it is made after the database, which must have been lost
        message = f"{key} exists but the database does not"
        report.fail("database", settings.database_shown, message, "restore it from the backup")
        return
    report.warn(
        "no-database", "database", "there is no database yet", "watchword serve or watchword dev creates it"
    )


def _exposure(settings: Settings, report: Report) -> None:
    try:
        settings_module.check_exposure(settings)
    except SettingsError as error:
        report.fail("exposure", f"{settings.host}:{settings.port}", str(error))
    if settings.behind_tls_proxy and not settings.trusted_proxies:
        report.warn(
            "trusted-proxies",
            "settings",
            "every client seems to have the proxy's address: throttling and address limits count the proxy",
            "trusted_proxies = [the proxy's address]",
        )
    if any(read_network(one).prefixlen == 0 for one in settings.trusted_proxies):
        report.warn(
            "trusted-proxies",
            "settings",
            "whoever reaches the server is trusted as a proxy, and can claim any address in X-Forwarded-For",
            "trusted_proxies = [the proxy's address or network]",
        )
    if settings.fetch_allow_loopback:
        report.warn(
            "fetch", "settings", "outbound requests may reach this machine", "remove fetch_allow_loopback"
        )


def _files(settings: Settings, report: Report) -> None:
    paths = [] if settings.is_postgres else [Path(settings.database)]
    if (key := master_key.own_file(settings)) is not None:  # a key from elsewhere is checked when it is read
        paths.append(key)
    for path in paths:
        if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            report.fail("file-mode", str(path), "others on this machine can read it", f"chmod 600 {path}")


async def _opened(runtime: Runtime, report: Report, data: bool) -> None:
    version, newest = await runtime.database.read(migrate.schema_version), migrate.migrations()[-1][0]
    if version > newest:  # a newer release has expanded the schema
        newer = f"it opens, and its schema has version {version}, newer than this release knows ({newest})"
        report.warn("schema", "database", newer, "bring this installation to the newer release as well")
    else:
        report.ok("database", "database", "it opens, and its schema is that of this release")
    if len(master_key.existing_master_keys(runtime.settings)) > 1:
        report.warn(
            "master-keys",
            "master key",
            "there are several, as during a rotation",
            "run watchword key rotate-master, then give only the newest",
        )
    current = {key.algorithm: key for key, state in await runtime.keyring.states() if state == "current"}
    for algorithm in runtime.settings.signing_algorithms:
        key = current[algorithm]
        age = runtime.now() - (key.activates_at or key.created_at)
        if age > 2 * runtime.settings.signing_key_lifetime:
            report.warn(
                "key-age",
                key.kid,
                f"the {algorithm} key has been signing for {age // 86_400} days",
                "watchword key rotate",
            )
        else:
            report.ok("key", key.kid, f"{algorithm} signs, its successor is published")
    if data:
        await _data(runtime, report)


async def _data(runtime: Runtime, report: Report) -> None:
    """Check the stored data, row by row, and the audit trail."""
    if not runtime.settings.is_postgres:
        for damage in await runtime.database.read(soundness.find_damage):
            report.fail("data", "database", f"the file is damaged: {damage}", "restore a backup")
    flaws = await runtime.database.read(soundness.find_flaws, runtime.settings.brand)
    for flaw in flaws:
        report.fail(
            "data", ", ".join(flaw.places), flaw.check, "restore a backup, or revoke what is listed here"
        )
    if not flaws:
        report.ok(
            "data", "database", "the stored data is consistent, and contains no credential in the clear"
        )
    trail = await runtime.database.read(
        events.verify_trail, runtime.root.derive("audit"), runtime.now() - runtime.settings.audit_retention
    )
    for found in trail.breaks:
        report.fail("audit", found.partition(": ")[0], found, "watchword audit --verify")
    if not trail.breaks:
        report.ok(
            "audit", "audit trail", f"{trail.events} events in {trail.chains} chains, none changed or missing"
        )
