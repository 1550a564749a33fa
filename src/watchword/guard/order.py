"""Decorator order: above a decorator that registers a view, a guard comes too late, since the framework calls what it registered.

Owns the search for registered views at the moment a view is guarded: through all objects that have a name there, and their attributes.
"""

from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any


def is_taken(view: Callable[..., Any], taken: Iterable[object]) -> bool:
    """Whether a view, or one that it wraps, is among those that were registered."""
    kept = list(taken)
    made: Any = view
    while made is not None:
        if any(one is made for one in kept):
            return True
        made = getattr(made, "__wrapped__", None)
    return False


def near(where: FrameType) -> Iterator[object]:
    """Yield every object with a name in the frame where a view is guarded, and the attributes of each."""
    for named in (*where.f_globals.values(), *where.f_locals.values()):
        yield named
        yield from _kept_in(named)


def _kept_in(named: object) -> tuple[object, ...]:
    try:
        return tuple(vars(named).values())
    except (TypeError, RuntimeError):
        return ()  # it has no attributes, or is a proxy of something that is not there yet
