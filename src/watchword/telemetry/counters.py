"""What this process counts for metrics: events, and how long requests took.

Counters are plain integers here and become Prometheus metrics only when they are scraped, because the hot endpoints count every request.
"""

from bisect import bisect_left

import msgspec

# Upper bounds in seconds of what a request may take; the last bucket has none.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_counts: dict[tuple[str, str, str], int] = {}
_durations: dict[tuple[str, str, int], list[float]] = {}


def count(name: str, operation: str = "", outcome: str = "") -> None:
    """Add one to a counter of this process."""
    key = (name, operation, outcome)
    _counts[key] = _counts.get(key, 0) + 1


def observe(route: str, method: str, status: int, seconds: float) -> None:
    """Record how long one request took, as the sum and a count for each bucket."""
    key = (route, method, status)
    found = _durations.get(key)
    if found is None:
        found = _durations[key] = [0.0] * (len(BUCKETS) + 2)
    found[0] += seconds
    found[bisect_left(BUCKETS, seconds) + 1] += 1


class Tally(msgspec.Struct):
    """What was counted: by name, operation and outcome; and durations by route, method and status, in the order of `observe`."""

    counts: list[tuple[str, str, str, int]]
    durations: list[tuple[str, str, int, list[float]]]

    def add(self, other: "Tally") -> None:
        """Add what another process has counted."""
        counted = {key[:3]: key[3] for key in self.counts}
        for name, operation, outcome, value in other.counts:
            counted[name, operation, outcome] = counted.get((name, operation, outcome), 0) + value
        self.counts = [(*key, value) for key, value in counted.items()]
        took = {entry[:3]: entry[3] for entry in self.durations}
        for route, method, status, values in other.durations:
            known = took.get((route, method, status), [0.0] * len(values))
            took[route, method, status] = [one + more for one, more in zip(known, values, strict=True)]
        self.durations = [(*key, values) for key, values in took.items()]


def own_tally() -> Tally:
    """Return what this process has counted so far."""
    return Tally(
        [(*key, value) for key, value in list(_counts.items())],
        [(*key, list(values)) for key, values in list(_durations.items())],
    )
