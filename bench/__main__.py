"""`python -m bench`: ours and the peers in turns, in one run; ratios against the goals, and `docs/performance.md`.

    python -m bench [--quick] [--rounds 5] [--seconds 2] [--connections 32] [--only WORD]

The servers share one core, the load generator has another. What is not installed here is left out, and said.
"""

import argparse
import platform
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench import (
    guard,
    load,
    node_oidc_provider,
    ratios,
    report,
    sign_in,
    targets,
    watchword_server,
    zero,
)
from bench.report import Goal, Results
from bench.targets import STEPS, Target

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
WARM_UP = 2.0  # seconds for each: V8 compiles its hot code in them
PROOF_GOAL = 1000.0  # microseconds
DONE = (200, 302, 303)
BUSY = 503  # a server that says so on a machine that others use as well is slow, and not broken


def per_cpu_second(target: Target, connections: int, seconds: float) -> float:
    """Load a target for so many seconds; how often it did what is asked for in each CPU second of its process."""
    before = target.cpu()
    result = load.run("127.0.0.1", target.port, target.begin, connections, seconds, 0.0)
    spent = target.cpu() - before
    done = sum(count for status, count in result.statuses.items() if status in DONE)
    if not set(result.statuses) <= {*DONE, BUSY} or not done or result.failures:
        raise RuntimeError(f"{target.name}: {dict(result.statuses)}, {result.failures} broken connections")
    if BUSY in result.statuses:
        print(f"{target.name}: {result.statuses[BUSY]} times not in time, which is not counted as done")
    return done / STEPS.get(target.operation, 1) / spent


def in_turns(
    asked: Sequence[Target], rounds: int, connections: int, seconds: float
) -> dict[Target, list[float]]:
    """Measure every target once a round, all in the same order."""
    for target in asked:
        per_cpu_second(target, connections, WARM_UP)
    rates: dict[Target, list[float]] = {target: [] for target in asked}
    for number in range(rounds):
        for target in asked:
            rate = per_cpu_second(target, connections, seconds)
            rates[target].append(rate)
            print(f"round {number + 1}  {target.name:60} {rate:9,.0f} per CPU second", flush=True)
    return rates


def by_operation(found: Sequence[Target]) -> list[Target]:
    """All that are asked for the same thing one after the other, so that none of them has the quieter minutes."""
    order = list(targets.OPERATIONS)
    return sorted(found, key=lambda target: order.index(target.operation))


def proofs(seconds: float) -> list[Goal]:
    """What zero-knowledge proofs cost, median and 99th percentile."""
    measured = zero.measure(seconds)
    return [
        Goal(f"zero-knowledge proof: {name}", values, PROOF_GOAL, "µs", at_most=True)
        for name, values in measured.items()
        if name in zero.WITH_A_GOAL
    ]


def first_tokens(times: int) -> list[float]:
    """Seconds from the start of a server until a client holds a token."""
    seconds = []
    for _ in range(times):
        with watchword_server.running() as server:
            seconds.append(server.first_token)
    return seconds


def measure_servers(options: argparse.Namespace) -> tuple[dict[Target, list[float]], float]:
    """Rates of all servers, and our resident memory in MB after that."""
    with targets.servers(options.connections) as found:
        targets.pin_load()
        asked = [target for target in by_operation(found) if options.only in target.name]
        rates = in_turns(asked, options.rounds, options.connections, options.seconds)
        return rates, targets.resident(found)


def versions() -> str:
    """What ran."""
    command = [str(node_oidc_provider.HOME / "node_modules" / ".bin" / "node"), "--version"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return f"Python {platform.python_version()}"
    return f"Python {platform.python_version()}, Node.js {done.stdout.strip()}"


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure ours and the peers in turns."
    )
    parser.add_argument(
        "--quick", action="store_true", help="2 rounds of 1 s; docs/performance.md stays as it is"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", default="", help="only what has this in its name; the page stays as it is")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 1.0
    return options


def main() -> None:
    """Measure, print, and write the page."""
    options = read_options()
    started = time.perf_counter()
    rates, resident = measure_servers(options)
    goals = list(ratios.goals({(one.server, one.operation): values for one, values in rates.items()}))
    costs: dict[str, list[float]] = {}
    crowd = None
    if not options.only or options.only in "guard":
        taken = guard.measure(3 if options.quick else 7, 500)
        costs = {guard.NAMES[name]: values for name, values in taken.items()}
        goals += [*guard.goals(taken), *guard.waits(10 if options.quick else 30)]
    if not options.only:
        crowd = sign_in.measure(options.rounds, options.seconds)
        goals += [*proofs(1.0), *_limits(resident, first_tokens(2 if options.quick else 5))]
        goals.append(Goal(sign_in.NAME, crowd.ratios(), 2, at_most=True))
    named = {target.name: values for target, values in rates.items()}
    minutes = (time.perf_counter() - started) / 60
    results = Results(
        named,
        goals,
        costs,
        crowd,
        options.connections,
        options.rounds,
        options.seconds,
        minutes,
        versions(),
    )
    print(
        "",
        report.goals_table(results),
        report.rates_table(results),
        report.costs_table(results),
        report.sign_in_table(results),
        sep="\n",
    )
    everything = len({target.server for target in rates}) == len(targets.SERVERS)
    if not options.quick and not options.only and everything:
        PAGE.write_text(report.page(results), "utf-8")
        print(f"written to {PAGE.relative_to(PAGE.parent.parent)}")


def _limits(resident: float, firsts: Sequence[float]) -> list[Goal]:
    return [
        Goal("resident memory of one worker, after the load", [resident], 60, "MB", at_most=True),
        Goal("first token after the start of the process", firsts, 1, "s", at_most=True),
    ]


if __name__ == "__main__":
    main()
