"""The file of `watchword apply` and `export`: reading it as TOML or JSON, and writing it."""

import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from watchword.cli import session, toml_text
from watchword.flows.desired import state
from watchword.flows.desired.clients import ClientState
from watchword.flows.desired.state import State
from watchword.flows.trust.trust_rules import TrustInput
from watchword.jose import strict_json
from watchword.jose.strict_json import StrictJSONError

STREAM = "-"
MAX_BYTES = 16 * 1024 * 1024
# Entries with nothing but defaults, which an export leaves out.
_BARE = {
    "clients": ClientState(client_id="", name=""),
    "trust": TrustInput(name="", issuer="", scope=""),
}


def read(file: Path) -> Mapping[str, Any]:
    """Return the contents of a file or of standard input; exit with 2 and the reason when it is not TOML or JSON that can be stored."""
    where = "standard input" if str(file) == STREAM else str(file)
    try:
        with sys.stdin.buffer if str(file) == STREAM else file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")  # editors on Windows add a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        session.usage(f"{where} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}")
    if len(data) > MAX_BYTES:
        session.usage(f"{where} is larger than {MAX_BYTES // 1024 // 1024} MiB")
    # No TOML document starts like that.
    is_json = file.suffix.lower() == ".json" or text.lstrip().startswith("{")
    try:
        document = _json(text) if is_json else _toml(text)
    except RecursionError:
        session.usage(f"{where} is nested too deeply")
    except (ValueError, OverflowError) as error:
        session.usage(f"{where} is not valid {'JSON' if is_json else 'TOML'}: {error}")
    if not isinstance(document, dict):
        session.usage(f"{where} must hold the sections {', '.join(state.SECTIONS)}")
    return document


def _json(text: str) -> object:
    msgspec.json.decode(text)  # its errors name the position
    return strict_json.loads(text, max_bytes=MAX_BYTES)


def _toml(text: str) -> dict[str, Any]:
    document = tomllib.loads(text, parse_float=_finite)
    strict_json.loads(msgspec.json.encode(document), max_bytes=2 * MAX_BYTES)  # it is stored as JSON
    return document


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise StrictJSONError(f"{digits[:20]} is not a finite number")
    return value


def text(document: Mapping[str, Sequence[Mapping[str, object]]], is_json: bool) -> str:
    """Return a description as JSON or TOML."""
    if is_json:
        return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
    return toml_text.tables(document)


def entries(section: str, described: State) -> list[dict[str, Any]]:
    """Return the entries of a section, each with its identifying member first, and without defaults."""
    bare = msgspec.to_builtins(_BARE[section])
    first = state.SECTIONS[section][1]
    return [
        {first: entry[first]} | {name: one for name, one in entry.items() if one != bare[name]}
        for entry in msgspec.to_builtins(getattr(described, section))
    ]
