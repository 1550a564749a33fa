"""Parameters of requests, strictly read: `application/x-www-form-urlencoded`, in bodies and queries.

Owns their limits, their decoding, and which of them may repeat.
"""

import re
from urllib.parse import unquote_to_bytes

from watchword.oauth.errors import OAuthError

MAX_FIELDS = 200
MAX_NAME = 256  # characters of a parameter's name; the longest that a specification has is 40
MAX_VALUE = 65_536  # bytes of a parameter's value
NAME_TOO_LONG = "The name of a parameter is too long."
REPEATABLE = frozenset({"resource", "audience"})
# RFC 7521 §4.1.1, §4.2.1: these errors are for an assertion that is invalid "for any reason", also if it is no text or too long.
ASSERTIONS = {"client_assertion": "invalid_client", "assertion": "invalid_grant"}

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")


class Unreadable(OAuthError):
    """A malformed parameter; its name is repeated only when it looks like the name of a parameter, not whatever was sent."""

    def __init__(self, description: str, name: str, code: str = "invalid_request") -> None:
        nameable = name if _NAME.fullmatch(name) else None
        super().__init__(code, description, detail=f"parameter {nameable}", field=nameable)


class Form:
    """Decoded parameters; a name that may not repeat is refused when it does (RFC 6749 §3.1, §3.2)."""

    __slots__ = ("_first", "_more")

    def __init__(self, pairs: list[tuple[str, str]], *, repeatable: frozenset[str] = frozenset()) -> None:
        self._first = dict(pairs)
        self._more: dict[str, list[str]] = {}
        if len(self._first) != len(pairs):
            self._collect(pairs, repeatable)

    def _collect(self, pairs: list[tuple[str, str]], repeatable: frozenset[str]) -> None:
        for name, value in pairs:
            self._more.setdefault(name, []).append(value)
        for name, values in self._more.items():
            if len(values) > 1 and name not in repeatable:
                raise Unreadable("A parameter was sent more than once.", name)
            self._first[name] = values[0]

    def get(self, name: str) -> str | None:
        """Return a parameter's value; None when absent or empty (§3.1: "treated as if they were omitted")."""
        return self._first.get(name) or None

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a repeatable parameter that is not empty."""
        if name in self._more:
            return tuple(value for value in self._more[name] if value)
        value = self._first.get(name)
        return (value,) if value else ()

    def require(self, name: str) -> str:
        """Return a parameter's value or raise `invalid_request` naming it."""
        value = self._first.get(name)
        if not value:
            raise OAuthError("invalid_request", f"The parameter {name} is missing.", field=name)
        return value

    def has(self, name: str) -> bool:
        """Whether a parameter was sent at all, even empty."""
        return name in self._first

    def single(self) -> dict[str, str]:
        """Return the parameters by name, empty ones included; of a repeatable one the first."""
        return self._first


def parse_pairs(data: bytes) -> list[tuple[str, str]]:
    """Decode `application/x-www-form-urlencoded` strictly; raise `invalid_request`."""
    if not data:
        return []
    if data.count(b"&") >= MAX_FIELDS:
        raise OAuthError("invalid_request", "The request has too many parameters.")
    pairs = []
    if len(data) <= MAX_VALUE and data.isascii() and b"\0" not in data:
        for text in data.decode("ascii").split("&"):
            if text:
                name, _, value = text.partition("=")
                if "%" in text or "+" in text:
                    name = _decode(name.encode())
                    value = _decode(value.encode(), name)
                if len(name) > MAX_NAME:
                    raise OAuthError("invalid_request", NAME_TOO_LONG)
                pairs.append((name, value))
        return pairs
    for part in data.split(b"&"):
        if part:
            raw_name, _, raw_value = part.partition(b"=")
            name = _decode(raw_name)
            if len(name) > MAX_NAME:
                raise OAuthError("invalid_request", NAME_TOO_LONG)
            pairs.append((name, _decode(raw_value, name)))
    return pairs


def _decode(raw: bytes, of: str = "") -> str:
    if b"+" in raw or b"%" in raw:
        raw = unquote_to_bytes(raw.replace(b"+", b" "))
    if len(raw) > MAX_VALUE:
        raise _unreadable("A parameter is too long.", of)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _unreadable("A parameter is not valid UTF-8.", of) from None
    if "\x00" in text:
        raise _unreadable("A parameter has a NUL character.", of)
    return text


def _unreadable(description: str, of: str) -> Unreadable:
    return Unreadable(description, of, ASSERTIONS.get(of, "invalid_request"))
