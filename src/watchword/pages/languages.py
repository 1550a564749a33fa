"""RFC 4647: Matching of Language Tags, and the catalogues of texts, one TOML file per language.

Owns loading, choosing and filling in texts. A text is plain: it never holds markup, and values filled into it are escaped.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import msgspec
from markupsafe import Markup, escape

from watchword.store import unreadable

PACKAGED = Path(__file__).parent / "locales"
DEFAULT = "en"
MAX_HEADER = 1_000
MAX_RANGES = 30
MAX_FILLED = 2_000

_PLACE = re.compile(r"\{([a-z_]{1,30})\}")
_CODE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,2}")
_WEIGHT = re.compile(r"[01](?:\.[0-9]{0,3})?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Language(msgspec.Struct, frozen=True):
    """One language: its tag, its own name for itself, its direction and its texts by dotted key."""

    code: str
    name: str
    direction: str
    texts: Mapping[str, str]


@lru_cache(maxsize=16)
def available(directory: Path | None = None) -> Mapping[str, Language]:
    """Return every language by its code; files of `directory` add languages or change single texts.

    Raises ValueError when a catalogue is malformed.
    """
    catalogues: dict[str, dict[str, str]] = {}
    for folder in (PACKAGED, directory):
        for path in sorted(folder.glob("*.toml")) if folder else ():
            catalogues.setdefault(_code(path), {}).update(_flatten(tomllib.loads(path.read_text("utf-8"))))
    fallback = catalogues[DEFAULT]
    return {code: _language(code, fallback | texts) for code, texts in catalogues.items()}


def own_keys(directory: Path) -> list[tuple[str, str]]:
    """Return the name of the file and the dotted key of every text in a directory."""
    return [
        (path.name, key)
        for path in sorted(directory.glob("*.toml"))
        for key in _flatten(tomllib.loads(path.read_text("utf-8")))
    ]


def choose(languages: Iterable[str], ui_locales: str | None, accept_language: str | None) -> str:
    """Return the code to answer in: OIDC Core §3.1.2.1 `ui_locales` first, then RFC 9110 §12.5.4 Accept-Language."""
    known = {code.lower(): code for code in languages}
    wanted = (ui_locales or "")[:MAX_HEADER].split(" ", MAX_RANGES)[:MAX_RANGES]
    for tag in (*wanted, *_accepted(accept_language or "")):
        if code := _lookup(tag.lower(), known):
            return code
    return DEFAULT


def fill_html(language: Language, key: str, /, **values: object) -> Markup:
    """Return a text for HTML, every value escaped unless it is already markup; raises KeyError for an unknown key."""
    text = str(escape(language.texts[key]))
    return Markup(_PLACE.sub(lambda place: str(escape(values[place[1]])), text))  # noqa: S704  every part is escaped


def fill_text(language: Language, key: str, /, **values: object) -> str:
    """Return a text for plain mail; a value can't start a new line. Raises KeyError for an unknown key."""
    return _PLACE.sub(lambda place: one_line(values[place[1]]), language.texts[key])


def one_line(value: object) -> str:
    """Return a value as one bounded line without control characters."""
    return _CONTROL.sub(" ", str(value))[:MAX_FILLED]


def date(language: Language, seconds: int) -> str:
    """Return a day as the language writes it, in UTC."""
    moment = _moment(seconds)
    month = language.texts[f"format.month_{moment.month}"]
    return fill_text(language, "format.date", day=moment.day, month=month, year=moment.year)


def moment(language: Language, seconds: int) -> str:
    """Return a day and a time as the language writes them, in UTC."""
    clock = _moment(seconds).strftime("%H:%M")
    return fill_text(language, "format.moment", date=date(language, seconds), time=clock)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(unreadable.moment(seconds), UTC)


def _code(path: Path) -> str:
    if not _CODE.fullmatch(path.stem):
        raise ValueError(f"{path.name}: a catalogue is named after its language tag, like de.toml")
    return path.stem


def _language(code: str, texts: dict[str, str]) -> Language:
    direction = texts["language.direction"]
    if direction not in ("ltr", "rtl"):
        raise ValueError(f"{code}.toml: language.direction is ltr or rtl")
    return Language(code, texts["language.name"], direction, texts)


def _flatten(table: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, str):
            texts[prefix + name] = value
        elif isinstance(value, dict):
            texts |= _flatten(value, f"{prefix}{name}.")
        else:
            raise ValueError(f"{prefix}{name} is not a text")
    return texts


def _accepted(header: str) -> list[str]:
    ranges: list[tuple[float, str]] = []
    for part in header[:MAX_HEADER].split(",", MAX_RANGES)[:MAX_RANGES]:
        tag, _, parameter = part.partition(";")
        name, _, weight = parameter.replace(" ", "").partition("=")
        quality = 1.0 if not name else float(weight) if _WEIGHT.fullmatch(weight) else 0.0
        if quality > 0:
            ranges.append((-quality, tag.strip()))
    return [tag for _, tag in sorted(ranges, key=lambda entry: entry[0])]


def _lookup(tag: str, known: Mapping[str, str]) -> str | None:
    """RFC 4647 §3.4: cut the tag from the end until it is known."""
    for _ in range(4):
        if tag in known:
            return known[tag]
        tag = tag.rpartition("-")[0]
    return None
