"""Token buckets within one process, for limits that need not be exact over several."""

import math
from typing import NamedTuple


class Limit(NamedTuple):
    """How often something may happen: `capacity` times at once, and `per_second` more."""

    what: str
    capacity: float
    per_second: float


def whole_seconds(wait: float) -> int:
    """Return a wait as `Retry-After` tells it (RFC 9110 §10.2.3): in whole seconds, at least one, and never less than it is."""
    return max(1, math.ceil(round(wait, 3)))


class LocalBuckets:
    """Buckets by name that hold `capacity` tokens and regain `per_second`; the fullest are forgotten when there are many."""

    def __init__(self, capacity: float, per_second: float, max_names: int = 10_000) -> None:
        self._capacity = capacity
        self._per_second = per_second
        self._max_names = max_names
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, now: float) -> int:
        """Take one token; return 0 when there was one, else the whole seconds to wait."""
        level, at = self._buckets.get(name, (self._capacity, now))
        level = min(self._capacity, level + max(0.0, now - at) * self._per_second)
        if level < 1:
            self._buckets[name] = (level, now)  # refilling goes on from here if the clock was set back
            return whole_seconds((1 - level) / self._per_second)
        if len(self._buckets) >= self._max_names and name not in self._buckets:
            self._forget()
        self._buckets[name] = (level - 1, now)
        return 0

    def _forget(self) -> None:
        fullest = sorted(self._buckets, key=lambda name: self._buckets[name][0], reverse=True)
        for name in fullest[: self._max_names // 2]:
            del self._buckets[name]
