"""The goals of a run: which of ours is held against which of a peer's, and how many times better it is to be."""

from collections.abc import Iterator, Mapping, Sequence

from bench.report import Goal
from bench.targets import OPERATIONS, SERVERS

Rates = Mapping[tuple[str, str], Sequence[float]]

# Server, operation, at least so many times what it does for each CPU second.
PEERS: tuple[tuple[str, str, float], ...] = (
    ("node jwt", "jwt", 4),
    ("node sqlite", "opaque", 6),
    ("node memory", "opaque", 3),
    ("node sqlite", "ask", 5),
    ("node memory", "ask", 5),
    ("node sqlite", "refresh", 8),
    ("node memory", "refresh", 3),
    ("node sqlite", "code", 6),
    ("node memory", "code", 6),
    *(("django_oauth_toolkit", operation, 25) for operation in ("opaque", "ask", "refresh only")),
    *(("authlib", operation, 15) for operation in ("opaque", "ask", "refresh only")),
)
ON_POSTGRES = 1.5


def goals(rates: Rates) -> Iterator[Goal]:
    """Ours to the peers', then PostgreSQL's cost to SQLite's, round by round."""
    for server, operation, limit in PEERS:
        values = _divided(rates, ("ours", operation), (server, operation))
        if values:
            yield Goal(f"{OPERATIONS[operation]}, to {SERVERS[server]}", values, limit)
    for operation, name in OPERATIONS.items():
        values = _divided(rates, ("ours", operation), ("ours on PostgreSQL", operation))
        if values:
            yield Goal(f"{name}: our CPU on PostgreSQL to SQLite", values, ON_POSTGRES, at_most=True)


def _divided(rates: Rates, one: tuple[str, str], other: tuple[str, str]) -> list[float]:
    pairs = zip(rates.get(one, ()), rates.get(other, ()), strict=False)
    return [first / second for first, second in pairs]
