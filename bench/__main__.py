"""`python -m bench`: ours and the peer in turns, in one run; ratios against the goals, and `docs/performance.md`.

    python -m bench [--quick] [--rounds 5] [--seconds 3] [--connections 32]

The servers share one core, the load generator has another. Without npm only our own figures are measured.
"""

import argparse
import contextlib
import itertools
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import in_process, load, node_oidc_provider, report, watchword_server
from bench.report import Goal, Results

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
TOKENS = 100  # that introspection asks about in turn
WARM_UP = 4.0  # seconds for each: V8 compiles its hot code in them
OURS = {
    "jwt": "Watchword, ES256 JWT",
    "opaque": "Watchword, opaque, durable",
    "ask": "Watchword, introspection",
}
PEERS = {
    "jwt": "oidc-provider, ES256 JWT",
    "sqlite": "oidc-provider, opaque, SQLite",
    "memory": "oidc-provider, opaque, in memory",
    "ask sqlite": "oidc-provider, introspection, SQLite",
    "ask memory": "oidc-provider, introspection, in memory",
}
RATIOS = (
    ("client_credentials, ES256 JWT", "jwt", "jwt", 4),
    ("client_credentials, opaque and durable, to SQLite-backed", "opaque", "sqlite", 6),
    ("client_credentials, opaque and durable, to in-memory", "opaque", "memory", 3),
    ("introspection, to in-memory", "ask", "ask memory", 5),
    ("introspection, to SQLite-backed", "ask", "ask sqlite", 5),
)


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to ask a server for, and the CPU seconds that the server has used."""

    name: str
    port: int
    request: load.RequestFactory
    cpu: Callable[[], float]


def install_peer() -> bool:
    """Install oidc-provider from its lock file if need be; False, with what to do, when npm is not there."""
    if (node_oidc_provider.HOME / "node_modules").is_dir():
        return True
    if shutil.which("npm") is None:
        print(
            "npm was not found, so only Watchword is measured. For the ratios, install Node.js with npm and run again."
        )
        return False
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--prefix", str(node_oidc_provider.HOME)], check=False
    )
    if done.returncode:
        print(
            "npm ci failed (see above), so only Watchword is measured. Repair that and run again for the ratios."
        )
    return done.returncode == 0


def our_targets(server: watchword_server.Watchword) -> list[Target]:
    """Tokens of both formats, and introspection of opaque ones."""
    tokens = [server.token("opaque") for _ in range(TOKENS)]
    asked = itertools.cycle([server.request("/introspect", "opaque", token=token) for token in tokens])
    jwt, opaque = server.token_request("jwt"), server.token_request("opaque")
    return [
        Target(OURS["jwt"], server.port, lambda: jwt, server.cpu),
        Target(OURS["opaque"], server.port, lambda: opaque, server.cpu),
        Target(OURS["ask"], server.port, lambda: next(asked), server.cpu),
    ]


def peer_targets(peer: node_oidc_provider.Peer) -> list[Target]:
    """Tokens in the peer's mode, and introspection where its tokens are opaque."""
    request = peer.token_request()
    targets = [Target(PEERS[peer.mode], peer.port, lambda: request, peer.cpu)]
    if peer.mode != "jwt":
        asked = itertools.cycle([peer.introspection_request(peer.token()) for _ in range(TOKENS)])
        targets.append(Target(PEERS[f"ask {peer.mode}"], peer.port, lambda: next(asked), peer.cpu))
    return targets


def per_cpu_second(target: Target, connections: int, seconds: float) -> float:
    """Load a target for so many seconds; answers per CPU second of its process."""
    before = target.cpu()
    result = load.run("127.0.0.1", target.port, target.request, connections, seconds, 0.0)
    spent = target.cpu() - before
    if set(result.statuses) != {200} or result.failures:
        raise RuntimeError(f"{target.name}: {dict(result.statuses)}, {result.failures} broken connections")
    return len(result.latencies) / spent


def in_turns(
    targets: Sequence[Target], rounds: int, connections: int, seconds: float
) -> dict[str, list[float]]:
    """Measure every target once a round, all in the same order."""
    for target in targets:
        per_cpu_second(target, connections, WARM_UP)
    rates: dict[str, list[float]] = {target.name: [] for target in targets}
    for number in range(rounds):
        for target in targets:
            rate = per_cpu_second(target, connections, seconds)
            rates[target.name].append(rate)
            print(f"round {number + 1}  {target.name:42} {rate:9,.0f} per CPU second", flush=True)
    return rates


def ratios(rates: Mapping[str, Sequence[float]]) -> Iterator[Goal]:
    """Ours to the peer's, round by round."""
    for name, ours, peer, goal in RATIOS:
        pairs = zip(rates[OURS[ours]], rates.get(PEERS[peer], ()), strict=False)
        values = [one / other for one, other in pairs]
        if values:
            yield Goal(name, values, goal)


def costs(measured: Mapping[str, in_process.Cost]) -> Iterator[Goal]:
    """The in-process figures that have a goal."""
    for name, limit in (("token known", 2), ("token fresh", 40)):
        cost = measured[name]
        yield Goal(in_process.NAMES[name], (cost.low, cost.median, cost.high), limit, "µs", at_most=True)


def first_tokens(times: int) -> list[float]:
    """Seconds from the start of a server until a client holds a token."""
    seconds = []
    for _ in range(times):
        with watchword_server.running() as server:
            seconds.append(server.first_token)
    return seconds


def measure_servers(options: argparse.Namespace, with_peer: bool) -> tuple[dict[str, list[float]], float]:
    """Rates of all servers, and our resident memory in MB after that."""
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(watchword_server.running(core=0))
        modes = node_oidc_provider.MODES if with_peer else ()
        peers = [stack.enter_context(node_oidc_provider.running(mode, core=0)) for mode in modes]
        pin_load()
        targets = [*our_targets(ours), *itertools.chain.from_iterable(peer_targets(peer) for peer in peers)]
        rates = in_turns(alternating(targets), options.rounds, options.connections, options.seconds)
        return rates, ours.process.memory_info().rss / 1e6


def alternating(targets: Sequence[Target]) -> list[Target]:
    """Ours and the peer's in turns, so that neither has the quieter minutes."""
    ours = [target for target in targets if target.name in OURS.values()]
    others = [target for target in targets if target not in ours]
    mixed = itertools.zip_longest(ours, others)
    return [target for pair in mixed for target in pair if target is not None]


def pin_load() -> None:
    """Keep the load generator off the servers' core, where the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})


def versions(with_peer: bool) -> str:
    """What ran."""
    node = ""
    if with_peer:
        command = [str(node_oidc_provider.HOME / "node_modules" / ".bin" / "node"), "--version"]
        node = (
            f", Node.js {subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()}"
        )
    return f"Python {platform.python_version()}{node}"


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure ours and the peer in turns."
    )
    parser.add_argument(
        "--quick", action="store_true", help="3 rounds of 1 s; docs/performance.md stays as it is"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 1.0
    return options


def main() -> None:
    """Measure, print, and write the page."""
    options = read_options()
    started = time.perf_counter()
    with_peer = install_peer()
    firsts = first_tokens(2 if options.quick else 5)
    measured = in_process.measure(3 if options.quick else 7, 500)
    rates, resident = measure_servers(options, with_peer)
    goals = [
        *ratios(rates),
        *costs(measured),
        Goal("resident memory of one worker, after the load", [resident], 60, "MB", at_most=True),
        Goal("first token after the start of the process", firsts, 1, "s", at_most=True),
    ]
    minutes = (time.perf_counter() - started) / 60
    results = Results(
        rates,
        goals,
        measured,
        options.connections,
        options.rounds,
        options.seconds,
        minutes,
        versions(with_peer),
    )
    print("", report.goals_table(results), report.rates_table(results), report.costs_table(results), sep="\n")
    if not options.quick and with_peer:
        PAGE.write_text(report.page(results), "utf-8")
        print(f"written to {PAGE.relative_to(PAGE.parent.parent)}")


if __name__ == "__main__":
    main()
