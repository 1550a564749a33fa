"""The capacity model of docs/scale.md: what a node does, what many do, and where one PostgreSQL ends.

The costs are microseconds of CPU, rounded up from docs/performance.md and docs/growth.md (PostgreSQL, a million live tokens, HTTP
included). `bench.simulate_scale` checks what the model says of keys, the revocation feed and status lists.
"""

from dataclasses import dataclass

from bench.report import table

CORES = 2  # of a node, and so many worker processes
BUSY = 0.6  # the share of its cores that a node may be busy, so that answers do not queue
DATABASE_CORES = 32
DATABASE_BUSY = 0.6


@dataclass(frozen=True, slots=True)
class Cost:
    """What one operation costs us and the database server, in microseconds of CPU."""

    name: str
    node: float
    database: float = 0.0


COSTS: tuple[Cost, ...] = (
    Cost("issue a JWT to a client", 100),
    Cost("verify a JWT in an API, first time (guard)", 90),
    Cost("introspect a token that the node has met", 40),
    Cost("introspect an opaque token, first time", 140, 70),
    Cost("verify an API token, first time", 170, 80),
    Cost("issue an opaque token", 110, 20),
    Cost("create an API token", 420, 420),
    Cost("rotate a refresh token", 450, 340),
    Cost("revoke a token", 420, 420),
)


def node_rate(cost: Cost) -> float:
    """Operations a second of one node."""
    return CORES * BUSY * 1e6 / cost.node


def database_rate(cost: Cost) -> float:
    """Operations a second of one PostgreSQL primary; infinite where it is not asked."""
    return DATABASE_CORES * DATABASE_BUSY * 1e6 / cost.database if cost.database else float("inf")


def nodes_until_the_database_ends(cost: Cost) -> float:
    """How many nodes one PostgreSQL primary carries of one operation."""
    return database_rate(cost) / node_rate(cost)


def hundred(cost: Cost) -> float:
    """Operations a second of a hundred nodes over one PostgreSQL."""
    return min(100 * node_rate(cost), database_rate(cost))


def node_table() -> str:
    """Return the model as a table: each operation by itself, as if nothing else were asked for."""
    head = ("a second", "one node", "a hundred nodes", "one PostgreSQL carries")
    rows = [[cost.name, _rounded(node_rate(cost)), _rounded(hundred(cost)), _carried(cost)] for cost in COSTS]
    return table(head, rows)


def _carried(cost: Cost) -> str:
    if not cost.database:
        return "is not asked"
    return f"{_rounded(database_rate(cost))}: {nodes_until_the_database_ends(cost):.0f} nodes"


def _rounded(value: float) -> str:
    """Two significant digits: a model claims no more."""
    return f"{float(f'{value:.2g}'):,.0f}"
