"""NIST SP 800-63B-4 §3.1.1.2: the blocklist of commonly used, expected and context-specific passwords.

Owns whether a password is among the first that an attacker tries: a listed one, keys in a row, one thing repeated, or a name with
little added. It judges the whole password, never a word within a longer one: several unrelated words are good.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROWS = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiop[]asdfghjkl;'zxcvbnm,./",
    "qwertzuiopüasdfghjklöäyxcvbnm,.-",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/",
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "1a2b3c4d5e6f7g8h9i0j",
    "a1b2c3d4e5f6g7h8i9j0",
    "!@#$%^&*()_+",
    '!"§$%&/()=?',
    "147258369",
    "zaqxswcdevfrbgtnhymjukilop",
    "zaq1xsw2cde3vfr4bgt5nhy6mju7",
)
MIN_RUN = 3
MIN_DISTINCT = 5
MIN_CONTEXT = 3
MIN_UNIT = 8
MAX_NUMBER = 8

_LEET = tuple(str.maketrans("013457@$!€", f"o{one}eastas{bang}e") for one, bang in (("l", "i"), ("i", "l")))
_DATE = re.compile(
    r"(?:(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])|(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])(?:19|20)\d\d"
    r"|(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:19|20)\d\d)"
)
_BOTH_WAYS = tuple(row[::step] for row in ROWS for step in (1, -1))


def reason(password: str, context_words: Iterable[str]) -> str | None:
    """Return why a password is easy to guess, "common" or "context", else None; the words are names of the person and the service."""
    text = unicodedata.normalize("NFKC", password).casefold()
    plain = _without_separators(text)
    if _is_little(plain) or _is_all_runs(text) or _is_listed(plain) or _is_listed(text):
        return "common"
    unit = _unit(plain)
    if unit != plain and (len(unit) < MIN_UNIT or _is_listed(unit)):
        return "common"
    return "context" if _is_name_with_little(plain, _parts(context_words)) else None


def _is_little(text: str) -> bool:
    """Whether a text adds nothing to what it stands beside: few different characters, a short number, a date, keys in a row."""
    short = len(text) <= MAX_NUMBER and not any(character.isalpha() for character in text)
    return short or len(set(text)) < MIN_DISTINCT or _DATE.fullmatch(text) is not None or _is_all_runs(text)


def _without_separators(text: str) -> str:
    return re.sub(r"[\s._\-+/\\,:;|]+", "", text)


def _unit(text: str) -> str:
    """Return what a text repeats, itself when it repeats nothing."""
    period = (text + text).find(text, 1)
    return text[:period]


@cache
def listed() -> frozenset[str]:
    """Return the shipped list of common passwords and the words that they are made of."""
    text = (Path(__file__).parent / "common_passwords.txt").read_text("utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


def _is_listed(text: str) -> bool:
    return any(form in listed() for form in _forms(text))


def _forms(text: str) -> set[str]:
    """Return a text in every form that counts as the same: without digits and signs at its ends, and with them read as letters."""
    cut = {text}
    letters = [position for position, character in enumerate(text) if character.isalpha()]
    if letters and _is_little(left := text[: letters[0]]) and _is_little(right := text[letters[-1] + 1 :]):
        core = text[letters[0] : letters[-1] + 1]
        cut |= {core, left + core, core + right}
    read = cut | {form.translate(table) for form in cut for table in _LEET}
    return read | {_unit(form) for form in read if form}


def _is_all_runs(text: str) -> bool:
    """Whether a text is nothing but runs of an alphabet, of digits or of neighbouring keys."""
    position = 0
    while position < len(text):
        length = max((_run(text, position, row) for row in _BOTH_WAYS), default=0)
        if length < MIN_RUN:
            return False
        position += length
    return True


def _run(text: str, position: int, row: str) -> int:
    best, start = 0, row.find(text[position])
    while start >= 0:
        length = 1
        while row[start : start + length + 1] == text[position : position + length + 1] and (
            position + length < len(text) and start + length < len(row)
        ):
            length += 1
        best, start = max(best, length), row.find(text[position], start + 1)
    return best


def _is_name_with_little(text: str, names: Iterable[str]) -> bool:
    longest_first = sorted(names, key=len, reverse=True)
    for form in {text, *(text.translate(table) for table in _LEET)}:
        rest = form
        for name in longest_first:
            rest = rest.replace(name, "\n")
        bare = rest.replace("\n", "")
        if "\n" in rest and (_is_little(bare) or _is_listed(bare)):
            return True
    return False


def _parts(context_words: Iterable[str]) -> set[str]:
    folded = [unicodedata.normalize("NFKC", word).casefold() for word in context_words]
    parts = {part for word in folded for part in re.split(r"[\W_]+", word)}
    whole = {_without_separators(word) for word in folded}
    return {word for word in parts | whole if len(word) >= MIN_CONTEXT}
