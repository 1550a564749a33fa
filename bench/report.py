"""How the figures are shown: on the terminal, and as `docs/performance.md`."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.sign_in import AT_ONCE, PEOPLE, SignIns, cost

PREAMBLE = """# Performance

What Watchword does per core, next to what others do on the same machine in the same minutes. **Ratios are what counts**: absolute
figures change with the machine and with who else uses it. This page is written by `make bench`; run it to see your own.
"""
METHOD = """## What was measured

- *Per CPU second* is how often it was done, divided by the CPU time, user and system, that all threads and processes of the server
  used. One worker, {connections} keep-alive connections, each with one request in flight; load generator and servers on different
  cores. {rounds} rounds of {seconds:g} s after a warm-up; in every round ours and the peers take turns, operation by operation. A ratio
  is taken within one round; the table shows the median of the rounds and their extremes.
- Ours is `watchword serve` as it is installed, durable: SQLite with WAL and `synchronous=FULL`, writes that come together share one
  fsync, and an answer leaves after it. Security headers, audit, counters and all checks are on. *On PostgreSQL* the database is on
  the same machine with `fsync` on; what the database server itself spends is not counted, and the goal is for our own process.
- npm `oidc-provider` (Node.js, one process) has the same kind of clients, `client_secret_basic` over loopback HTTP: ES256 JWT; opaque
  tokens in memory, lost at a restart (in maps: its own adapter forgets all but the last thousand); opaque tokens in SQLite, durable
  before the answer.
- `django-oauth-toolkit` and Authlib's server (Flask, SQLAlchemy) run under gunicorn with one worker process of four threads, on SQLite
  with WAL and `synchronous=FULL`. In their favour no middleware is on that these endpoints do not need, and client secrets are kept
  in plain text: hashed, as django-oauth-toolkit does by default, they would cost more than everything else.
- *Introspection* asks about 100 opaque tokens in turn. Watchword answers from memory as long as no process changed anything in
  the database, and asks the database for that every time; revocation takes effect at once.
- *Refresh rotation*: every connection uses the refresh token that its answer before brought. *With ID token* the scope is `openid`, here
  and at the peer. *Code flow on a live session*: the authorization request of somebody who is signed in and has agreed, and the
  redemption of its code with PKCE, for an access token, an ID token and a refresh token; the two count as one.
- In-process figures are microseconds of CPU per call, median and extremes of several blocks. *Seen before* is a token that this
  process verified before; *first time* a token that it never saw. The guard reads the header, chooses the key by `kid` among those that
  the issuer published, and checks more of a JWT than the other libraries are asked to: its type, every claim that RFC 9068 demands, and
  whether it has ended. PyJWT is asked in two ways: with the one key in hand, and as its documentation has it for keys that
  an issuer publishes, by `PyJWKClient`, which is the same job. joserfc, which fetches no keys, has the one key in hand. Guarded
  and unguarded endpoint are the same plain ASGI callable; the guarded one also checks a scope. Proofs: median and 99th percentile,
  decoding included.
- *Until a guard elsewhere refuses* is wall-clock time from the answer to a revocation, by either of two workers, until a guard
  in another process that follows the feed, and asks nobody, refuses the JWT. *Testing kit*: CPU time until a test has its own
  server, after the first test of a run.
- People sign in by the form, each with a browser and an address of their own, {people} of them in turn, at the cost of one hash
  each ({hash}); one thread of low priority hashes, so that a crowd waits for itself and not the other endpoints. Server and load
  generator share the machine's cores here, as they do where one machine does everything.
- Time to the first token runs from the start of `watchword serve` on an existing database until a client holds a token.
  Resident memory is that of the one worker after all the load of the run.

To repeat: `make bench` (about {minutes} minutes; `python -m bench --quick` for a rough look, `--only refresh` for a part). The peers are
installed from lock files the first time, by `npm ci` and `pip --require-hashes`; what cannot be installed is left out.
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
    return [f"Missed in this run: {'; '.join(missed)}.\n"] if missed else []


def _machine(results: Results) -> str:
    return (
        "## Where\n\n"
        f"A shared virtual machine with {os.cpu_count()} cores ({platform.machine()}, {platform.system()}), "
        f"{results.versions}.\n\n"
        "What operations cost as the database grows is on a [page of its own](growth.md), and so is what [Keycloak](keycloak.md) does. "
        "The bare HTTP protocol has a benchmark too: `python -m bench.http_protocol`.\n"
    )
