"""`watchword serve`: from options to a running server, with or without the command-line library.

A server runs for months, and restarts whenever something went wrong. So `serve` with plain options bypasses the library that
parses every other command: that saves a third of the memory and half of the start-up time. Whatever `read` does not understand
(help, a mistake) it leaves to that library, which has the messages for it.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from watchword import settings as settings_module
from watchword.flows.databases import start
from watchword.settings import PREFIX, Settings, SettingsError, check_exposure, with_issuer
from watchword.store import faults
from watchword.store.database import StorageUnavailable

OPTIONS: Mapping[str, type] = {
    "--host": str,
    "--port": int,
    "--issuer": str,
    "--database": str,
    "--workers": int,
    "--tls-cert": str,
    "--tls-key": str,
    "--tls-client-ca": str,
    "--tls-client-self-signed": bool,
    "--behind-tls-proxy": bool,
    "--config": str,
    "--json": bool,
}
LOOPBACK_WARNING = (
    "fetch_allow_loopback is set: anyone who can name an address to fetch can reach this machine. "
    "Never use it outside tests."
)
PLAIN_WARNING = (
    "the issuer is an https address, and this is plain HTTP: every request that carries a secret is refused. "
    "Give --behind-tls-proxy if a proxy terminates TLS, otherwise --tls-cert and --tls-key."
)
FAULT_WARNING = "WATCHWORD_FAULT is set: the server will fail on purpose. Never use it outside drills."


def read(arguments: Sequence[str]) -> dict[str, object] | None:
    """Return the options of `serve` by name when they are plain: each known, once, with a value; None otherwise."""
    found: dict[str, object] = {}
    rest = list(arguments)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        kind, name = OPTIONS.get(option), option[2:].replace("-", "_")
        if kind is None or name in found or (kind is bool and equals):
            return None
        if kind is not bool and not equals:
            value = rest.pop(0) if rest else ""
        if kind is not bool and (not value or value.startswith("-")):
            return None
        if kind is int and not (value.isascii() and value.isdigit() and len(value) < 10):
            return None
        found[name] = True if kind is bool else kind(value)
    return found


def serve(options: Mapping[str, object]) -> int:
    """Check everything, prepare the data, serve until told to stop; return the exit code."""
    from watchword import serving  # first, so that a missing package is noticed before anything is written

    config, as_json = options.get("config"), bool(options.get("json"))
    try:
        overrides = {name: value for name, value in options.items() if name not in ("config", "json")}
        settings = settings_module.load(overrides, config=str(config) if config else None)
        if settings.mode == "development":
            raise SettingsError(
                "mode is development: use `watchword dev`, or remove the setting for production"
            )
        check_exposure(settings)
        settings = with_issuer(settings)
        for warning in warnings(settings):
            say(f"{_red('WARNING:')} {warning}")
        serving.check_startable(settings)
        link = prepare(settings)
    except serving.AddressUnavailable as error:
        # Not wrong usage: a supervisor that leaves wrong options alone tries this again.
        return _failed(1, str(error), "temporarily_unavailable" if as_json else None)
    except ValueError as error:  # a SettingsError, or unknown fail-points
        return _failed(2, str(error), "wrong_usage" if as_json else None)
    except StorageUnavailable as error:
        return _failed(1, error.reason, "temporarily_unavailable" if as_json else None)
    return run(settings, partial(_announce, settings.issuer, link, as_json=as_json))


def _announce(issuer: str, link: str | None, *, as_json: bool) -> None:
    if as_json:
        _print_json({"issuer": issuer, "setup_link": link})
        return
    if link:
        say(f"No owner yet. Open this link within a day to make the first account:\n  {link}")
    say(f"watchword serves {issuer}")


def warnings(settings: Settings) -> list[str]:
    """Return what to say of options that are allowed, but seldom meant; raise ValueError for unknown fail-points."""
    plain = settings.secure and not (
        settings.tls_cert or settings.behind_tls_proxy or settings.trusted_proxies
    )
    said = {
        LOOPBACK_WARNING: settings.fetch_allow_loopback,
        FAULT_WARNING: faults.parse(os.environ.get(PREFIX + "FAULT")),
        PLAIN_WARNING: plain,
    }
    return [warning for warning, applies in said.items() if applies]


def prepare(settings: Settings) -> str | None:
    """Open the data once before any worker does, to migrate it and make the keys; return the owner's setup link if there is no owner.

    Raise SettingsError or StorageUnavailable, which say what to do.
    """

    async def opened() -> str | None:
        runtime = await start.open_runtime(settings)
        try:
            former = await start.remember_issuer(runtime)
            if former:  # as where a second server is started with the file of one that still runs
                apart = "another --database keeps the two apart"
                say(f"this database was that of {former}; commands are for {settings.issuer} now ({apart})")
            return await start.setup_link(runtime)
        finally:
            await start.close_runtime(runtime)

    return asyncio.run(opened())


def run(settings: Settings, announce: Callable[[], None]) -> int:
    """Serve until told to stop, and `announce` it as soon as that is so; return the exit code."""
    from watchword import serving

    os.environ |= _environment(settings)
    try:
        serving.run(settings, announce)
    except KeyboardInterrupt:
        return 130
    return 0


def _environment(settings: Settings) -> dict[str, str]:
    # Worker processes get all settings, command-line options included, through the environment and read no file: the one in this folder
    # may not be the one that was named, and may have been changed since it was checked.
    variables = {PREFIX + "CONFIG": os.devnull}
    for name in Settings.__struct_fields__:
        value = getattr(settings, name)
        if value is not None:
            variables[PREFIX + name.upper()] = _text(value)
    return variables


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else msgspec.json.encode(value).decode()


def say(line: str) -> None:
    """Print on standard error; go on silently where that cannot be written, as on a full disk."""
    with contextlib.suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _failed(code: int, reason: str, error: str | None) -> int:
    say(f"{_red('error:')} {reason}")
    if error is not None:
        _print_json({"error": error, "error_description": reason})
    return code


def _print_json(document: Mapping[str, object]) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")
    sys.stdout.flush()  # the process does not end here


def _red(text: str) -> str:
    return f"\x1b[31m{text}\x1b[0m" if sys.stderr.isatty() and not os.environ.get("NO_COLOR") else text
