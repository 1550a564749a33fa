"""`python -m bench.growth`: what each operation costs with ten thousand, one million and ten million live tokens; `docs/growth.md`.

    python -m bench.growth [--sizes 10000,1000000,10000000] [--postgres-sizes 10000,1000000] [--directory DIR] [--write]

A database for each size is filled, and all are measured in turns. Ten million take about 5 GB of disk and a few minutes.
"""

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import population, postgres
from bench.population import CLIENT, Known
from bench.report import number, table
from watchword.app import App
from watchword.flows import api_tokens, introspection, minting, revocation, token_verification
from watchword.flows.api_tokens import TokenInput
from watchword.flows.binding import UNBOUND
from watchword.flows.clients import client_registry
from watchword.flows.minting import AccessGrant
from watchword.flows.runtime import Runtime
from watchword.flows.token_request import TokenRequest
from watchword.flows.token_verification import Use
from watchword.grants import refresh_token
from watchword.http.forms import Form
from watchword.oauth.clients import Client
from watchword.store import limits

PAGE = Path(__file__).parent.parent / "docs" / "growth.md"
GOAL = 1.5
BLOCKS = 6
CALLS = 250  # in a block
TOGETHER = 32  # at once, so that writes share commits as they do in the server
PURGE_STEPS = 2  # in a block
NAMES = {
    "verify": "verify an API token that this process never saw",
    "introspect": "introspect an opaque access token, never seen",
    "issue": "issue an opaque access token, durable",
    "create": "create an API token, durable",
    "refresh": "rotate a refresh token, durable",
    "revoke": "revoke an access token, durable",
    "purge": "purge 500 expired access tokens, a row",
}
PREAMBLE = """# Growth

What one operation costs the Watchword process as the database grows, in microseconds of CPU (user and system, all threads). The
goal: it costs at most {goal:g} times as much with ten million live tokens as with ten thousand. `python -m bench.growth --write`
writes this page.
"""
METHOD = """## What was measured

- *Live tokens* are in equal parts API tokens, opaque access tokens and families of refresh tokens, with the people and grants
  that they belong to, in the server's own tables with every index (`bench/population.py`).
- Each figure is the mean of {blocks} blocks of {calls} calls. The blocks alternate between the databases of all sizes.
- {together} calls run at a time, so that writes share commits as they do in the server. Each uses a secret that no call has used
  before, chosen from the whole database, so nothing is answered from memory.
- The calls are those that the endpoints make (`flows`, `grants`), without HTTP. HTTP costs the same at any size and would make
  the growth look smaller.
- SQLite is durable (WAL, `synchronous=FULL`). PostgreSQL is durable too and runs on the same machine; its own CPU time is listed
  apart.
- *Open* is the time until a server that starts on this database can serve. It includes the check of SQLite's file for damage.
- A *purge step* removes at most 500 rows of one table in its own transaction, so that no request waits for more than one step.
"""


@dataclass(slots=True)
class Measured:
    """One database of one size: microseconds of CPU of each block by operation, ours and where it is a server of its own the
    database's; seconds to open, milliseconds of each purge step.
    """

    size: int
    taken: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NAMES})
    opened: float = 0.0
    server: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in NAMES})
    steps: list[float] = field(default_factory=list)
    size_on_disk: float = 0.0

    def cost(self, name: str) -> float:
        """Return the mean over the blocks: some of them pay for writing the log back into the file, and all profit."""
        return statistics.mean(self.taken[name])


async def measure(databases: Mapping[str, tuple[Measured, Known]]) -> list[Measured]:
    """Open databases that were filled and measure every operation on all of them in turns."""
    apps = {address: App(population.settings_for(address)) for address in databases}
    for address, app in apps.items():
        started = time.perf_counter()
        await app.open()
        databases[address][0].opened = time.perf_counter() - started
    for _ in range(BLOCKS):
        for address, app in apps.items():
            await _block(app, address, *databases[address])
    for app in apps.values():
        await app.close()
    return [measured for measured, _ in databases.values()]


async def _block(app: App, address: str, measured: Measured, known: Known) -> None:
    runtime = app.runtime
    assert runtime is not None
    client = await client_registry.find(runtime, CLIENT)
    assert client is not None
    for name, calls in _operations(runtime, client, known).items():
        before = _server_cpu(address)
        measured.taken[name].append(await _time(calls))
        measured.server[name].append((_server_cpu(address) - before) / len(calls) * 1e6)
    measured.taken["purge"].append(await _purge(runtime, measured.steps))


def _server_cpu(address: str) -> float:
    return postgres.cpu_of(address) if address.startswith("postgresql://") else 0.0


Call = Callable[[], Awaitable[object]]


def _operations(runtime: Runtime, client: Client, known: Known) -> dict[str, Sequence[Call]]:
    """Return the calls of one block by operation; each uses secrets of its own up."""
    api = [known.api.pop() for _ in range(CALLS)]
    access = [known.access.pop() for _ in range(CALLS)]
    ended = [known.access.pop() for _ in range(CALLS)]
    families = [known.refresh.pop() for _ in range(CALLS)]
    grant = AccessGrant(client, client.client_id, ("orders:read",), (population.ISSUER,), 600)
    given = TokenInput(name="report", scope="orders:read")
    owner = ("application", "application:bench")
    return {
        "verify": [lambda s=s: token_verification.verify(runtime, s, Use()) for s in api],  # type: ignore[misc]
        "introspect": [lambda s=s: introspection.introspect(runtime, s, Use()) for s in access],  # type: ignore[misc]
        "issue": [lambda: minting.issue(runtime, grant)] * CALLS,
        "create": [lambda: api_tokens.create(runtime, given, owner=owner, actor="bench")] * CALLS,
        "refresh": [lambda s=s: _refresh(runtime, client, s) for s in families],  # type: ignore[misc]
        "revoke": [lambda s=s: revocation.revoke(runtime, client, s) for s in ended],  # type: ignore[misc]
    }


async def _refresh(runtime: Runtime, client: Client, token: str) -> object:
    form = Form([("grant_type", "refresh_token"), ("refresh_token", token)])
    return await refresh_token.handle(runtime, TokenRequest(client, form, UNBOUND))


async def _time(calls: Sequence[Call]) -> float:
    started = time.process_time()
    for start in range(0, len(calls), TOGETHER):
        await asyncio.gather(*(call() for call in calls[start : start + TOGETHER]))
    return (time.process_time() - started) / len(calls) * 1e6


async def _purge(runtime: Runtime, steps: list[float]) -> float:
    removed, started = 0, time.process_time()
    for _ in range(PURGE_STEPS):
        begun = time.perf_counter()
        removed += await runtime.database.write(limits.purge, "access_tokens", runtime.now() - 60)
        steps.append((time.perf_counter() - begun) * 1e3)
    return (time.process_time() - started) / max(1, removed) * 1e6


async def _grow(addresses: Mapping[int, str]) -> list[Measured]:
    """Fill a database for each size and measure them together."""
    databases: dict[str, tuple[Measured, Known]] = {}
    for size, address in addresses.items():
        started = time.perf_counter()
        await population.prepare(address)
        known = await population.fill(address, size)
        databases[address] = Measured(size, size_on_disk=_gigabytes(address)), known
        print(f"{size:12,} live tokens after {time.perf_counter() - started:.0f} s", flush=True)
    return await measure(databases)


def _gigabytes(database: str) -> float:
    return 0.0 if database.startswith("postgresql://") else Path(database).stat().st_size / 1e9


def growth(measured: Sequence[Measured], name: str) -> float:
    """Return how many times more an operation costs at the last size than at the first."""
    return measured[-1].cost(name) / measured[0].cost(name)


def costs_table(measured: Sequence[Measured]) -> str:
    """Return the curve, the factor and the verdict for each operation."""
    head = ["µs of CPU", *(f"{one.size:,}" for one in measured), "growth", f"≤ {GOAL:g} ×"]
    rows = [
        [
            NAMES[name],
            *(number(one.cost(name)) for one in measured),
            f"{growth(measured, name):.2f} ×",
            "yes" if growth(measured, name) <= GOAL else "**no**",
        ]
        for name in NAMES
    ]
    return "\n".join([table(head, rows), *_servers(measured), _facts(measured)])


def _servers(measured: Sequence[Measured]) -> list[str]:
    """Return what the database server itself spends, where there is one."""
    if not any(measured[0].server["verify"]):
        return []
    head = ["µs of CPU of the database server", *(f"{one.size:,}" for one in measured)]
    operations = [name for name in NAMES if name != "purge"]
    rows = [
        [NAMES[name], *(number(statistics.mean(one.server[name])) for one in measured)] for name in operations
    ]
    return [table(head, rows)]


def _facts(measured: Sequence[Measured]) -> str:
    head = ["", *(f"{one.size:,}" for one in measured)]
    rows = [
        ["open, s", *(number(one.opened) for one in measured)],
        ["longest purge step, ms", *(number(max(one.steps)) for one in measured)],
    ]
    if measured[-1].size_on_disk:
        rows.append(["file, GB", *(number(one.size_on_disk) for one in measured)])
    return table(head, rows)


def page(sqlite: Sequence[Measured], other: Sequence[Measured]) -> str:
    """Return the whole of `docs/growth.md`."""
    parts = [PREAMBLE.format(goal=GOAL), "## SQLite\n", costs_table(sqlite)]
    if other:
        parts += ["## PostgreSQL\n", costs_table(other)]
    parts.append(METHOD.format(blocks=BLOCKS, calls=CALLS, together=TOGETHER))
    where = f"{os.cpu_count()} shared cores ({platform.machine()}, {platform.system()}), Python {platform.python_version()}"
    return "\n".join([*parts, f"Measured on a virtual machine with {where}.\n"])


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _options() -> Any:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=_sizes, default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--postgres-sizes", type=_sizes, default=[10_000, 1_000_000])
    parser.add_argument("--directory", help="where the files are made (they are removed)")
    parser.add_argument("--write", action="store_true", help="write docs/growth.md")
    return parser.parse_args()


def main() -> None:
    """Grow, measure, print, and write the page when asked to."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        sqlite = asyncio.run(_grow({size: str(Path(folder) / f"{size}.db") for size in options.sizes}))
    other: list[Measured] = []
    binaries = postgres.find_binaries()
    if options.postgres_sizes and binaries is None:
        print("PostgreSQL is not installed: only SQLite is measured.")
    elif options.postgres_sizes and binaries is not None:
        with postgres.running(binaries, directory=options.directory) as address:
            databases = postgres.create(binaries, address, [f"live{size}" for size in options.postgres_sizes])
            other = asyncio.run(_grow(dict(zip(options.postgres_sizes, databases, strict=True))))
    for measured in (sqlite, other):
        if measured:
            print(costs_table(measured))
    if options.write and sqlite:
        PAGE.write_text(page(sqlite, other), "utf-8")


if __name__ == "__main__":
    main()
