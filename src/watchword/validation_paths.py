"""The full path of a validation error: msgspec writes `[...]` in place of a table's key, and this module finds the key.

It converts the table again with one member at a time, until one fails with the same message.
"""

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import msgspec

LONGEST = 100  # characters of a key that is named: a longer one would leave no room for what is wrong
MOST = 100  # members that are looked at: each is converted with all the rest, which strangers may have sent
_STEP = re.compile(r"(\[\.\.\.\])|\[(\d+)\]|\.?([^.\[]+)")


def named(path: str, given: object, message: str, convert: Callable[[Any], object]) -> str:
    """Return the place of an error with the keys of tables in it, unless they are long; as it is where the conversion fails with this
    message for none of them.

    `convert` is what failed with the message for what was given.
    """
    here: Any = given
    known: list[Any] = []
    text = ""
    try:
        for step in _STEP.finditer(path):
            if step[1]:
                wrong = (
                    key for key in islice(here, MOST) if _fails(_only(given, known, key), message, convert)
                )
                known.append(next(wrong))
                key = repr(known[-1])
                text += f"[{key}]" if len(key) <= LONGEST else step[0]
            else:
                known.append(int(step[2]) if step[2] else step[3])
                text += step[0]
            here = here[known[-1]]
    except (LookupError, TypeError, StopIteration):
        return path
    return text


def _fails(value: object, message: str, convert: Callable[[Any], object]) -> bool:
    try:
        convert(value)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        return str(error) == message
    return False


def _only(given: Any, known: list[Any], key: object) -> Any:
    """Return what was given, where the table at a place has nothing but this member."""
    if not known:
        return {key: given[key]}
    first, *rest = known
    inner = _only(given[first], rest, key)
    if isinstance(given, Mapping):
        return {**given, first: inner}
    return [*given[:first], inner, *given[first + 1 :]]
