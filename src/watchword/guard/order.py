"""Where a decorator registers a view, a guard above it comes too late: the framework calls what it was given.

Owns how the registered views are looked for when a view is guarded: in what has a name there, and in what that keeps.
"""

from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any


def is_taken(view: Callable[..., Any], taken: Iterable[object]) -> bool:
    """Whether a view is among those that were registered, or made by other decorators of one that was."""
    kept = list(taken)
    made: Any = view
    while made is not None:
        if any(one is made for one in kept):
            return True
        made = getattr(made, "__wrapped__", None)
    return False


def near(where: FrameType) -> Iterator[object]:
    """Find what has a name where a view is guarded, and what a module or an object that has one keeps."""
    for named in (*where.f_globals.values(), *where.f_locals.values()):
        yield named
        yield from _kept_in(named)


def _kept_in(named: object) -> tuple[object, ...]:
    try:
        return tuple(vars(named).values())
    except (TypeError, RuntimeError):
        return ()  # it has no names of its own, or stands for something that is not there yet
