"""How the figures are shown: on the terminal, and as `docs/performance.md`."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.sign_in import AT_ONCE, PEOPLE, SignIns, cost

PREAMBLE = """# Performance

What Watchword does with one core, compared with other servers and libraries on the same machine at the same time. **Compare the
ratios**: absolute figures depend on the machine and on its other load. `make bench` writes this page; run it to get your own
figures.
"""
METHOD = """## What was measured

**Method**

- *Per CPU second* is the number of operations divided by the CPU time (user and system) of all threads and processes of the
  server.
- The server has one worker. {connections} keep-alive connections each have one request in flight. The load generator and the
  servers use different cores.
- After a warm-up there are {rounds} rounds of {seconds:g} s. In every round, Watchword and the others take turns, operation by
  operation. Each ratio is taken within one round. The tables show the median of the rounds and the lowest and highest value.

**Servers**

| Server | Set-up |
|---|---|
| Watchword | `watchword serve` as installed. Durable: SQLite with WAL and `synchronous=FULL`; concurrent writes share one fsync, and the response leaves after it. Security headers, audit, counters and all checks are on. |
| Watchword on PostgreSQL | The database is on the same machine, with `fsync` on. Its own CPU time is not counted; the goal is for the Watchword process. |
| npm `oidc-provider` (Node.js) | One process, the same kind of clients, `client_secret_basic` over loopback HTTP. Measured with ES256 JWTs, with opaque tokens in memory (lost at a restart; kept in maps, because its own adapter keeps only the last thousand), and with opaque tokens in SQLite, durable before the response. |
| `django-oauth-toolkit`, Authlib (Flask, SQLAlchemy) | gunicorn with one worker process of four threads, SQLite with WAL and `synchronous=FULL`. Two things favour them: no middleware is on that these endpoints do not need, and client secrets are stored in plain text. Hashed, as django-oauth-toolkit does by default, they would cost more than everything else. |

**Operations**

- *Introspection* asks about 100 opaque tokens in turn. Watchword answers from memory while nothing in the database has changed,
  and asks the database every time whether something has. A revocation therefore takes effect at once.
- *Refresh rotation*: every connection uses the refresh token from its previous response. *With ID token* means the scope
  `openid`, for Watchword and for the others.
- *Code flow on a live session* is the authorization request of a person who is signed in and has consented, and the redemption of
  the code with PKCE for an access token, an ID token and a refresh token. The two requests count as one.

**In the process**

- These figures are microseconds of CPU per call: median, lowest and highest of several blocks. *Seen before* is a token that this
  process has verified before; *first time* is a token that it has never seen.
- The guard reads the header, chooses the key by `kid` from the keys that the issuer published, and checks more than the other
  libraries are asked to: the type, every claim that RFC 9068 requires, and whether the token was revoked.
- PyJWT is measured with the key in hand, and with `PyJWKClient`, as its documentation describes for published keys. The latter
  does the same job as the guard. joserfc fetches no keys and gets the key in hand.
- The guarded and the unguarded endpoint are the same plain ASGI callable. The guarded one also checks a scope.
- Proofs: median and 99th percentile, decoding included.

**Everything else**

- *Until a guard elsewhere refuses* is the time from the response to a revocation, by either of two workers, until a guard in
  another process refuses the JWT. That guard only follows the revocation feed.
- *Testing kit* is the CPU time until a test has its own server, after the first test of a run.
- {people} people sign in through the form, each with their own browser and address. Each sign-in costs one hash
  ({hash}). One low-priority thread computes the hashes, so that many sign-ins wait for each
  other and do not slow down other endpoints. Here the server and the load generator share the cores.
- *First token* is the time from the start of `watchword serve` on an existing database until a client has a token.
- *Resident memory* is that of the one worker after all the load of the run.

To repeat: `make bench` (about {minutes} minutes; `python -m bench --quick` for a rough look, `--only refresh` for a part). The
first run installs the other servers from lock files with `npm ci` and `pip --require-hashes`. Those that cannot be installed are
left out.
"""


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal of the run and what was measured for it: the values of the rounds."""

    name: str
    values: Sequence[float]
    goal: float
    unit: str = "×"
    at_most: bool = False

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether the median reaches the goal."""
        return self.median <= self.goal if self.at_most else self.median >= self.goal

    def cells(self) -> list[str]:
        """Name, median, spread, goal and verdict as they are shown."""
        limit = f"{'≤' if self.at_most else '≥'} {number(self.goal) if self.goal >= 100 else format(self.goal, 'g')} {self.unit}"
        spread = f"{number(min(self.values))} to {number(max(self.values))}"
        return [
            self.name,
            f"{number(self.median)} {self.unit}",
            spread,
            limit,
            "yes" if self.met else "**no**",
        ]


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one run measured; `rates` are answers per CPU second by what was asked of whom."""

    rates: Mapping[str, Sequence[float]]
    goals: Sequence[Goal]
    costs: Mapping[str, Sequence[float]]
    sign_ins: SignIns | None
    connections: int
    rounds: int
    seconds: float
    minutes: float
    versions: str


def number(value: float) -> str:
    """A figure with three significant digits or all digits before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that can be read as it is."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [_line(head, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def goals_table(results: Results) -> str:
    """What was aimed at and what came out."""
    return table(("", "median", "spread", "goal", "met"), [goal.cells() for goal in results.goals])


def rates_table(results: Results) -> str:
    """Answers per CPU second."""
    rows = [
        [name, number(statistics.median(values)), f"{number(min(values))} to {number(max(values))}"]
        for name, values in results.rates.items()
    ]
    return table(("per CPU second", "median", "spread"), rows)


def costs_table(results: Results) -> str:
    """Microseconds of CPU for one call."""
    rows = [
        [name, number(statistics.median(values)), f"{number(min(values))} to {number(max(values))}"]
        for name, values in results.costs.items()
    ]
    return table(("µs of CPU for one", "median", "spread"), rows)


def sign_in_table(results: Results) -> str:
    """The token endpoint beside a crowd that signs in."""
    found = results.sign_ins
    if found is None:
        return ""
    rows = [
        [name, number(statistics.median(values)), f"{number(min(values))} to {number(max(values))}"]
        for name, values in (
            ("token endpoint, median latency, idle (ms)", found.idle),
            (f"the same while {AT_ONCE} people sign in at once (ms)", found.busy),
            ("sign-ins per second meanwhile", found.rates),
            ("memory that they add at most (MB)", [found.memory]),
        )
    ]
    return table(("people who sign in", "median", "spread"), rows)


def page(results: Results) -> str:
    """The whole of `docs/performance.md`."""
    method = METHOD.format(
        connections=results.connections,
        rounds=results.rounds,
        seconds=results.seconds,
        minutes=max(1, round(results.minutes)),
        people=PEOPLE,
        hash=cost(),
    )
    parts = [PREAMBLE, "## Goals\n", goals_table(results), *_missed(results)]
    parts += [
        "## Figures\n",
        rates_table(results),
        costs_table(results),
        sign_in_table(results),
        method,
        _machine(results),
    ]
    return "\n".join(parts)


def _missed(results: Results) -> list[str]:
    missed = [goal.name for goal in results.goals if not goal.met]
    return ["Missed in this run:\n", *(f"- {name}" for name in missed), ""] if missed else []


def _machine(results: Results) -> str:
    return (
        "## Where\n\n"
        f"A shared virtual machine with {os.cpu_count()} cores ({platform.machine()}, {platform.system()}), "
        f"{results.versions}.\n\n"
        "See also: [costs as the database grows](growth.md), [comparison with Keycloak](keycloak.md), and `python -m bench.http_protocol` "
        "for the HTTP protocol alone.\n"
    )
