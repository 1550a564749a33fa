"""Bounded memories of what was verified, asked for, or logged before: dictionaries that threads and event loops share without a lock."""

from typing import TypeVar

MAX_REMEMBERED = 10_000

K = TypeVar("K")
V = TypeVar("V")


def remember(cache: dict[K, V], key: K, value: V) -> None:
    """Keep a value; when the cache is full, the oldest quarter goes."""
    if len(cache) >= MAX_REMEMBERED:
        for oldest in list(cache)[: MAX_REMEMBERED // 4]:
            cache.pop(oldest, None)  # another thread may have removed it
    cache[key] = value
