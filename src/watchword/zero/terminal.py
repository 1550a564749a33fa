"""What the commands share: exits, prompts, passphrases, durations and printed results.

A prompt appears only when standard input is a terminal and something is missing; otherwise the missing option is
wrong usage (exit 2). A refusal is exit 1, with the reason on standard error, or as the JSON document of `--json`.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping

import typer

from watchword.credentials.zkproof import ZeroError
from watchword.zero.files import named, read_private
from watchword.zero.proof import tls_channel

ENVIRONMENT_VARIABLE = "WATCHWORD_ZERO_PASSPHRASE"

_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@contextlib.contextmanager
def exits(as_json: bool) -> Iterator[None]:
    """Turn a ZeroError into exit 1: its message on standard error, or a JSON document on standard output."""
    try:
        yield
    except ZeroError as error:
        if as_json:
            typer.echo(json.dumps({"error": error.reason, "message": str(error)}))
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


def passphrase(file: str | None, *, confirm: bool = False) -> str:
    """Return the passphrase from a private file, the environment or a prompt; else wrong usage."""
    if file is not None:
        with named(file):
            return read_private(file).decode().removesuffix("\n").removesuffix("\r")
    if ENVIRONMENT_VARIABLE in os.environ:
        return os.environ[ENVIRONMENT_VARIABLE]
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"Missing option '--passphrase-file' (or {ENVIRONMENT_VARIABLE}).")
    answer: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return answer


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


def show(document: Mapping[str, object], as_json: bool) -> None:
    """Print a result as JSON, or as lines of name and value."""
    if as_json:
        typer.echo(json.dumps(document))
        return
    width = max(len(name) for name in document)
    for name, value in document.items():
        typer.echo(f"{name:<{width}}  {printable(_plain(value))}")


def printable(text: str) -> str:
    """Return text that cannot steer a terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "none"
    return str(value)
