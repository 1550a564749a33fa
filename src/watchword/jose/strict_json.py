"""RFC 8259 and RFC 7493 (I-JSON): JSON that means the same to every reader.

Refuses duplicate members, NaN and infinities, texts that are too deep or too large, integers beyond 64 bits, lone surrogates and NUL.
What a document means is for its reader to check.
"""

import json
import re
from typing import Final, NoReturn, cast

import msgspec

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 16
MAX_INTEGER = 2**63

# Possessive quantifiers, and an unterminated string that matches up to the end: no input is scanned twice.
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_DIGITS = re.compile(r"-?\d{1,19}")


class StrictJSONError(ValueError):
    """The text is not acceptable JSON; the message never repeats it. `member` names the member that is at fault, if known."""

    member: str | None = None


_decode = msgspec.json.Decoder().decode
UNSURE: Final = object()


def loads(data: bytes | str, *, max_bytes: int = MAX_BYTES, max_depth: int = MAX_DEPTH) -> object:
    """Parse a JSON text; raise StrictJSONError."""
    try:
        raw = data.encode("utf-8") if isinstance(data, str) else data
    except UnicodeEncodeError:
        raise StrictJSONError("not UTF-8") from None
    if len(raw) > max_bytes:
        raise StrictJSONError("too large")
    value = _plain(raw, max_depth)
    return value if value is not UNSURE else _parse(raw, max_depth)


def _plain(raw: bytes, max_depth: int) -> object:
    """Parse texts that are certainly acceptable, many times faster than `_parse`; return UNSURE for all others.

    Without backslashes, every quotation mark begins or ends a string. So a duplicate member, which parsing drops, shows in the count:
    the text then has more strings than the value.
    """
    if not raw.isascii() or b"\\" in raw or raw.count(b"[") + raw.count(b"{") > max_depth:
        return UNSURE
    try:
        value = _decode(raw)
    except (ValueError, RecursionError):
        return UNSURE
    return value if 2 * _strings(value) == raw.count(b'"') else UNSURE


def _strings(value: object) -> int:
    """Count the strings in a value, names included; a number that `_parse` has to check makes the count negative."""
    kind = type(value)
    if kind is str:
        return 1
    if isinstance(value, dict):
        return len(value) + sum([1 if type(item) is str else _strings(item) for item in value.values()])
    if isinstance(value, list):
        return sum([_strings(item) for item in value])
    if kind is float or (isinstance(value, int) and not -MAX_INTEGER <= value < MAX_INTEGER):
        return -MAX_BYTES
    return 0


def _parse(raw: bytes, max_depth: int) -> object:
    if _is_too_deep(raw, max_depth):
        raise StrictJSONError("too deep")
    try:
        text = raw.decode("utf-8")
        # msgspec is strict about the grammar; the standard library is what can see duplicate members.
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_int=_bounded,
            parse_float=_finite,
        )
        _check_value(value)
        return cast(object, value)
    except StrictJSONError:
        raise
    except (ValueError, RecursionError):
        raise StrictJSONError("malformed") from None


def _is_too_deep(raw: bytes, limit: int) -> bool:
    if raw.count(b"[") + raw.count(b"{") <= limit:
        return False
    depth = 0
    for match in _STRUCTURE.finditer(raw):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
            if depth > limit:
                return True
        elif token in (b"]", b"}"):
            depth -= 1
    return False


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise StrictJSONError("a duplicate member")
    for name, value in pairs:
        _check_text(name)
        try:
            _check_value(value)
        except StrictJSONError as error:
            error.member = name
            raise
    return result


def _check_value(value: object) -> None:
    """Check a text, or those in a list; objects were checked by `_unique` when they were parsed."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_value(item)


def _check_text(text: str) -> None:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise StrictJSONError("a lone surrogate") from None
    if "\x00" in text:
        raise StrictJSONError("a NUL character")


def _refuse_constant(_name: str) -> NoReturn:
    raise StrictJSONError("not a number")


def _bounded(digits: str) -> int:
    if not _DIGITS.fullmatch(digits) or not -MAX_INTEGER <= int(digits) < MAX_INTEGER:
        raise StrictJSONError("an integer out of range")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits) if len(digits) <= 64 else float("inf")
    if value in (float("inf"), float("-inf")):
        raise StrictJSONError("a number out of range")
    return value


encode = msgspec.json.Encoder().encode
