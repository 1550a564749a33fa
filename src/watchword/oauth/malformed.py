"""RFC 6749 §5.2: error descriptions for input of the wrong shape: the field at fault and what it must be.

Owns the translation of the decoder's message into a sentence that names the field, in the characters that a description may have.
"""

import difflib
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from watchword import validation_paths

# At the end only: what was sent may precede it, and look the same
_PLACE = re.compile(r" - at `\$\.?([^`]*)`\Z")
_INDEX = re.compile(r"\[[^\]]*\]")
_MISSING = re.compile(r"missing required field `([^`]*)`")
_UNKNOWN = re.compile(r"contains unknown field `([^`]{0,60})`")


class Malformed(msgspec.Struct, frozen=True):
    """What is wrong with an input: a sentence, and the field at fault where one is."""

    description: str
    field: str | None


def explain(error: Exception, wanted: type, given: object = None) -> Malformed:
    """Return what to tell the caller about a failed conversion to a type, without repeating what was sent.

    A member inside a field is named by its path: `client.scope`, `items[2].name`, and that of a table by its key where it is `given`.
    """
    message = str(error)
    place, member = _PLACE.search(message), _MISSING.search(message) or _UNKNOWN.search(message)
    path = ".".join(found[1] for found in (place, member) if found and found[1])
    field = re.split(r"[.\[]", path)[0]
    what = message.partition(" - at ")[0].replace("`", "").replace('"', "'").replace("\\", "/")
    if path and what.startswith("Invalid enum value"):
        choices = ", ".join(_choices(_kind_of(wanted, path)))
        what = f"Expected one of {choices}" if choices else "Invalid enum value"
    if unknown := _UNKNOWN.search(message):
        what += _meant(unknown[1], _kind_of(wanted, path.rpartition(".")[0]))
    if "[...]" in path:
        path = validation_paths.named(path, given, message, partial(msgspec.convert, type=wanted))
    return Malformed(printable(f"{path}: {what}" if path else what), printable(field) or None)


def _meant(unknown: str, kind: Any) -> str:
    """Return a hint at the field of a type that an unknown one resembles."""
    known = next(_structs(kind), None)
    near = difflib.get_close_matches(unknown, known.__struct_fields__, n=1) if known else None
    return f"; did you mean {near[0]}?" if near else ""


def _kind_of(wanted: Any, path: str) -> Any:
    """Return the type of a member by its path, also through optional types, unions and lists."""
    for name in filter(None, _INDEX.sub("", path).split(".")):
        wanted = get_type_hints(next(_structs(wanted), object)).get(name)
    return wanted


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in get_args(kind):
        yield from _structs(part)


def _choices(kind: Any) -> Iterator[str]:
    """Yield the literal values that a type allows, and whether numbers are allowed beside them."""
    for part in get_args(kind):
        if get_origin(kind) is Literal:
            yield str(part)
        elif part is int:
            yield "a whole number"
        else:
            yield from _choices(part)


def printable(text: str | None) -> str:
    """Return a text with "?" for what RFC 6749 §5.2 does not allow in a description, cut to 300 characters."""
    return re.sub(r"[^\x20-\x21\x23-\x5b\x5d-\x7e]", "?", text or "")[:300]
