"""Why a form was refused, in the language of whoever sent it: the rules say it in English, and that sentence finds its translation.

The English texts under `problem.reason` are those sentences, with `{…}` in place of what varies. A decoder's message about a wrong
shape is put into words here.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from watchword.pages import languages
from watchword.pages.render import Problem

BEGINS = "problem.reason."
_PLACE = re.compile(r"\\\{([a-z_]+)\\\}")
# A key of a table may have brackets in it: a group for each pair of them would try every way to share these out.
_FIELD = r"(?P<field>[\w.]+(?:\[.*\][\w.]*)?): "
SHAPES: Mapping[str, str] = {
    "shape_longest": rf"{_FIELD}Expected str of length <= (?P<most>\d+)",
    "shape_shortest": rf"{_FIELD}Expected str of length >= (?P<least>\d+)",
    "shape_many": rf"{_FIELD}Expected (?:array|object) of (?:at most )?length <= (?P<most>\d+)",
    "shape_few": rf"{_FIELD}Expected (?:array|object) of (?:at least )?length >= (?P<least>\d+)",
    "shape_most": rf"{_FIELD}Expected (?:int|float) <= (?P<most>\d+)",
    "shape_least": rf"{_FIELD}Expected (?:int|float) >= (?P<least>\d+)",
    "shape_choice": rf"{_FIELD}Expected one of (?P<choices>.+)",
    "shape_missing": rf"{_FIELD}Object missing required field \w+",
    "shape_unknown": rf"{_FIELD}Object contains unknown field .+",
    "shape_other": rf"{_FIELD}(?:Expected|Invalid|Object) ?.*",
}


def find(sentence: str) -> Problem | None:
    """Return the named problem for a refusal in the rules' words, or None when the catalogue has none."""
    for name, pattern in _patterns().items():
        match = pattern.fullmatch(sentence)
        if match is not None:
            return Problem(f"reason.{name}", match.groupdict())
    return None


@lru_cache(maxsize=1)
def _patterns() -> Mapping[str, re.Pattern[str]]:
    """Return a pattern for each sentence, by name, exact ones first: from the packaged English, whatever a service's own catalogue says."""
    texts = languages.available()[languages.DEFAULT].texts
    own = {key.removeprefix(BEGINS): text for key, text in texts.items() if key.startswith(BEGINS)}
    sentences = {name: _PLACE.sub(r"(?P<\1>.+)", re.escape(text)) for name, text in own.items()}
    ordered = sorted((name for name in own if name not in SHAPES), key=lambda name: "{" in own[name])
    patterns = {**{name: sentences[name] for name in ordered}, **SHAPES}
    return {name: re.compile(pattern) for name, pattern in patterns.items()}
