"""Writing TOML 1.0, which the standard library only reads. JSON's texts, numbers and lists are valid TOML."""

import re
from collections.abc import Mapping, Sequence

import msgspec

WIDTH = 110
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def tables(sections: Mapping[str, Sequence[Mapping[str, object]]]) -> str:
    """Return every entry of every section as a table in an array of tables; None is left out, because TOML has no null."""
    empty = [f"{_key(section)} = []\n" for section, entries in sections.items() if not entries]
    written = [
        "\n".join((f"[[{_key(section)}]]", *(_line(name, value) for name, value in _there(entry)), ""))
        for section, entries in sections.items()
        for entry in entries
    ]
    return "\n".join(empty + written)


def _there(table: Mapping[str, object]) -> list[tuple[str, object]]:
    return [(name, value) for name, value in table.items() if value is not None]


def _line(name: str, value: object) -> str:
    line = f"{_key(name)} = {_value(value)}"
    if len(line) <= WIDTH or not isinstance(value, list | tuple):
        return line
    return "\n".join((f"{_key(name)} = [", *(f"  {_value(one)}," for one in value), "]"))


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _text(name)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in _there(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value if one is not None) + "]"
    return _text(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def _text(text: str) -> str:
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")
