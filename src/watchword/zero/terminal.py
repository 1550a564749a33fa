"""What the commands share: exits, prompts, passphrases, durations and printed results.

A prompt appears only when standard input is a terminal and something is missing; otherwise the missing option is
wrong usage (exit 2). A refusal is exit 1, with the reason on standard error, or as the JSON document of `--json`.
"""

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import typer

from watchword.credentials.zkproof import ZeroError
from watchword.zero.description import describe
from watchword.zero.files import STREAM, Format, named, read_private, write_record
from watchword.zero.options import in_a_file
from watchword.zero.proof import tls_channel
from watchword.zero.records import Record

ENVIRONMENT_VARIABLE = "WATCHWORD_ZERO_PASSPHRASE"

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MOMENTS = ("created", "renewed", "issued", "expires", "revoked")
_END_OF_DAYS = 253_402_300_800  # the year 10000, beyond Python's calendar: a record may name it


@contextlib.contextmanager
def exits(as_json: bool) -> Iterator[None]:
    """Turn a ZeroError into exit 1: its message on standard error, or a JSON document on standard output."""
    try:
        yield
    except ZeroError as error:
        if as_json:
            typer.echo(json.dumps({"error": error.reason, "error_description": str(error)}))
        else:
            typer.echo(f"error: {printable(str(error))}", err=True)
        raise typer.Exit(1) from None


def required(value: str | None, option: str, question: str) -> str:
    """Return the option's value, or the answer to a question at a terminal; else wrong usage."""
    if value is not None:
        return value
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"Missing option '{option}'.")
    answer: str = typer.prompt(question, err=True)
    return answer


def secret_path(path: str | None, question: str = "Secret file") -> str:
    """Return the option's path, or ask for it at a terminal, again if the answer is a standard stream; else wrong usage."""
    if path is not None or not sys.stdin.isatty():
        return required(path, "--secret", question)
    answer: str = typer.prompt(question, err=True, value_proc=in_a_file)
    return answer


def passphrase(file: str | None, *, confirm: bool = False) -> str:
    """Return the passphrase from a private file, the environment or a prompt; else wrong usage."""
    if file is not None:
        with named(file):
            return _without_newline(read_private(file))
    if ENVIRONMENT_VARIABLE in os.environ:
        return os.environ[ENVIRONMENT_VARIABLE]
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"Missing option '--passphrase-file' (or {ENVIRONMENT_VARIABLE}).")
    try:
        answer: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    except UnicodeDecodeError:  # a terminal with another encoding than the locale says
        raise ZeroError("passphrase", "the passphrase is not text") from None
    return answer


def _without_newline(data: bytes) -> str:
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ZeroError("passphrase", "the passphrase is not text") from None


def seconds(text: str) -> int:
    """Read a duration such as 90d, 24h, 15m, 30s, in seconds; else wrong usage."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise typer.BadParameter(f"{printable(text)}: not a duration such as 90d, 24h, 15m or 30s")
    return int(match[1]) * _UNITS[match[2]]


def channel_bytes(text: str | None) -> bytes | None:
    """Read a channel: jkt:THUMBPRINT for a DPoP key, tls-exporter:HEX for a TLS connection; else wrong usage."""
    if text is None:
        return None
    kind, _, value = text.partition(":")
    if kind == "jkt" and re.fullmatch(r"[A-Za-z0-9_-]{43}", value):
        return text.encode()
    with contextlib.suppress(ValueError):
        if kind == "tls-exporter" and len(bytes.fromhex(value)) >= 32:
            return tls_channel(bytes.fromhex(value))
    raise typer.BadParameter("A channel is jkt:THUMBPRINT or tls-exporter:HEX (32 bytes or more).")


def one_stream(*paths: str | None) -> None:
    """Refuse, as wrong usage, to read two things from standard input."""
    if paths.count("-") > 1:
        raise typer.BadParameter("Only one input can come from standard input.")


def apart(*paths: str | None) -> None:
    """Refuse, as wrong usage, one file for two purposes: the later write would replace the earlier, perhaps a secret."""
    files = [os.path.realpath(path) for path in paths if path is not None and path != STREAM]
    if len(set(files)) < len(files):
        raise typer.BadParameter("A secret and each file that is written need names of their own.")


def one_holder(secret: str | None, identity_id: str | None) -> None:
    """Refuse, as wrong usage, to choose an agent's identity when a secret file is given."""
    if secret is not None and identity_id is not None:
        raise typer.BadParameter("--id chooses among an agent's identities: leave out --id or --secret.")


def show(document: Mapping[str, object], as_json: bool) -> None:
    """Print a result as JSON, or as lines of name and value."""
    if as_json:
        typer.echo(json.dumps(document))
        return
    width = max(len(name) for name in document)
    for name, value in document.items():
        typer.echo(f"{name:<{width}}  {printable(_plain(name, value))}")


def give(record: Record, out: str, form: Format, as_json: bool) -> None:
    """Write a record to `out`; when that is a file, describe it on standard output."""
    put(record, out, form, as_json)
    tell(record, out, as_json)


def put(record: Record, out: str, form: Format, as_json: bool) -> None:
    """Write a record to `out`. Raise ZeroError, or OSError where that is standard output."""
    write_record(out, record, "json" if as_json and out == STREAM else form)


def tell(record: Record, out: str, as_json: bool) -> None:
    """Describe on standard output what was written to another file."""
    if out != STREAM:
        show({"file": out, **describe(record)}, as_json)


def now_seconds() -> int:
    """Return the time in Unix seconds."""
    return int(time.time())


def printable(text: str) -> str:
    """Return text that cannot steer a terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _plain(name: str, value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name in _MOMENTS and 0 <= value < _END_OF_DAYS:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return str(value)
