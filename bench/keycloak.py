"""`python -m bench.keycloak`: what Watchword and Keycloak do per core, what each needs to start, and how much memory; `docs/keycloak.md`.

    python -m bench.keycloak [--rounds 5] [--seconds 3] [--write]

Keycloak's distribution comes by Maven the first time, and its checksum is compared. It needs a Java that it runs on, and some minutes.
"""

import argparse
import base64
import contextlib
import hashlib
import html
import http.client
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.parse
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import conversations, load, targets, watchword_server
from bench.__main__ import per_cpu_second
from bench.conversations import CALLBACK, Server, authorization_request
from bench.report import number, table
from bench.targets import Target

VERSION = "26.7.3"
SHA256 = "27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f"
HOME = Path(__file__).parent / "peers" / "keycloak"
PAGE = Path(__file__).parent.parent / "docs" / "keycloak.md"
PEOPLE = 32
PATIENCE = 180.0
WARM_UP = 30.0  # seconds for each operation: Java compiles its hot code in them
SECRET = "bench-secret-bench-secret-bench-secret"
ENDPOINTS = "/realms/bench/protocol/openid-connect"
SCOPE = "openid"  # Keycloak gives a refresh token with it that lives as long as the session
_FORM = re.compile(r'<form[^>]*\baction="([^"]+)"')
OPERATIONS = {
    "jwt": "client_credentials, ES256 JWT",
    "ask": "introspection",
    "refresh": "refresh rotation with ID token",
    "code": "code flow on a live session",
}
PREAMBLE = """# Comparison with Keycloak

What Watchword and Keycloak need for the same work, on the same machine at the same time. `python -m bench.keycloak --write`
writes this page.
"""
METHOD = """## What was measured

- *Per CPU second* is the number of operations divided by the CPU time (user and system) of all threads of the server. After
  {warm_up:g} s of warm-up under the same load there are {rounds} rounds of {seconds:g} s, in which the two take turns; the table
  shows medians. {people} keep-alive connections each have one request in flight.
- Each server is bound to one core, with Java's compiler and garbage collector; the load generator is bound to the other.
- *Keycloak* {version} is built and started for production (`kc.sh build`, `kc.sh start --optimized`) on its embedded database,
  without a cluster (`--cache=local`), over plain HTTP on loopback. Its realm (`bench/peers/keycloak/realm.json`) signs with ES256
  and revokes used refresh tokens, which live as long as the session. Persistence is as in its defaults.
- *Watchword* is `watchword serve` as installed: every write is on disk before the response.
- *Introspection* asks about 100 access tokens in turn: opaque ones at Watchword, JWTs at Keycloak, which has no opaque ones.
- *Memory* is resident memory after the load, with Java's default limits.
- *Until the first token* is the time from the start of the command, on an existing database and with all cores, until a client
  has a token.
"""


@dataclass(frozen=True, slots=True)
class Keycloak:
    """A running Keycloak; `first_token` is how many seconds its first token took."""

    server: Server
    process: psutil.Process
    first_token: float

    def cpu(self) -> float:
        """CPU seconds used so far, by all threads."""
        return sum(float(one.cpu_times().user + one.cpu_times().system) for one in self._processes())

    def memory(self) -> float:
        """Resident bytes now."""
        return sum(float(one.memory_info().rss) for one in self._processes())

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def install() -> Path:
    """Return the folder of Keycloak, which is fetched by Maven and unpacked if need be; exit with what is missing."""
    folder = HOME / f"keycloak-{VERSION}"
    if (folder / "lib" / "quarkus").is_dir():
        return folder
    if shutil.which("mvn") is None or shutil.which("java") is None:
        raise SystemExit(
            "Keycloak is fetched by Maven and runs on Java: install `mvn` and `java`, and run again."
        )
    name = f"keycloak-quarkus-dist-{VERSION}.zip"
    wanted = f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
    subprocess.run(["mvn", "-q", "-B", "dependency:copy", wanted, f"-DoutputDirectory={HOME}"], check=True)
    if hashlib.sha256((HOME / name).read_bytes()).hexdigest() != SHA256:
        raise SystemExit(
            f"{name} is not the file that this benchmark was written for: remove it, or change SHA256."
        )
    with zipfile.ZipFile(HOME / name) as archive:
        archive.extractall(HOME)
    (HOME / name).unlink()
    return folder


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Keycloak]:
    """Start Keycloak with its realm and people on a database of its own, bound to core 0; stop it at the end."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "keycloak"
        shutil.copytree(folder, place)
        (place / "data" / "import").mkdir(parents=True)
        (place / "data" / "import" / "bench.json").write_text(json.dumps(_realm()))
        command = ["sh", str(place / "bin" / "kc.sh")]
        subprocess.run(
            [*command, "build", "--db=dev-file", "--cache=local"], check=True, stdout=subprocess.DEVNULL
        )
        with _started(command, "--import-realm"):
            pass  # makes the tables and imports the realm, which its next start is spared
        with _started(command) as found:
            for thread in Path(f"/proc/{found.process.pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {0})
            yield found


@contextlib.contextmanager
def _started(command: Sequence[str], *more: str) -> Iterator[Keycloak]:
    port, management = load.free_port(), load.free_port()
    started = time.perf_counter()
    options = ("--http-enabled=true", f"--http-port={port}", "--http-host=127.0.0.1", f"--http-management-port={management}",
               "--hostname-strict=false", "--log-level=error", *more)  # fmt: skip
    java = subprocess.Popen(
        [*command, "start", "--optimized", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        server = Server(
            port,
            base64.b64encode(f"bench:{SECRET}".encode()).decode(),
            token=f"{ENDPOINTS}/token",
            authorize=f"{ENDPOINTS}/auth",
            introspect=f"{ENDPOINTS}/token/introspect",
            scope=SCOPE,
        )
        yield Keycloak(server, psutil.Process(java.pid), _first_token(server, started))
    finally:
        java.terminate()
        java.wait(60)


def _first_token(server: Server, started: float) -> float:
    while time.perf_counter() - started < PATIENCE:
        with contextlib.suppress(OSError):
            server.fetch(grant_type="client_credentials")
            return time.perf_counter() - started
        time.sleep(0.05)
    raise RuntimeError("Keycloak did not issue a token in time")


def _realm() -> dict[str, object]:
    realm: dict[str, object] = json.loads((HOME / "realm.json").read_text())
    realm["users"] = [
        {
            "username": f"person{number}",
            "email": f"person{number}@example.com",
            "emailVerified": True,
            "firstName": "Grace",
            "lastName": "Hopper",
            "enabled": True,
            "credentials": [{"type": "password", "value": _password(number)}],
        }
        for number in range(PEOPLE)
    ]
    return realm


def _password(number: int) -> str:
    return f"correct horse {number}"


def signed_in(server: Server, number: int) -> str:
    """Sign a person in by Keycloak's form and return the cookies of the session."""
    cookies: dict[str, str] = {}
    target = authorization_request(server, "").split(b" ", 2)[1].decode()
    _, page = _ask(server, "GET", target, cookies)
    action = _FORM.search(page)
    if action is None:
        raise RuntimeError(f"Keycloak showed no form: {page[:300]}")
    address = urllib.parse.urlsplit(html.unescape(action[1]))
    body = urllib.parse.urlencode({"username": f"person{number}", "password": _password(number)})
    location, page = _ask(server, "POST", f"{address.path}?{address.query}", cookies, body)
    if not location.startswith(CALLBACK):
        raise RuntimeError(f"Keycloak did not sign {number} in: {location or page[:300]}")
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _ask(
    server: Server, method: str, target: str, cookies: dict[str, str], body: str = ""
) -> tuple[str, str]:
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    if body:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, target, body or None, headers)
    answer = connection.getresponse()
    for line in answer.headers.get_all("set-cookie") or []:
        name, _, value = line.partition(";")[0].partition("=")
        cookies[name] = value
    page = answer.read().decode()
    connection.close()
    return answer.headers["location"] or "", page


def their_targets(theirs: Keycloak) -> Iterator[Target]:
    """What Keycloak is asked."""
    server = theirs.server
    cookies = [signed_in(server, number) for number in range(PEOPLE)]
    request = server.post(server.token, grant_type="client_credentials")
    begins: dict[str, Callable[[], load.Conversation]] = {
        "jwt": load.always(lambda: request),
        "ask": load.always(server.introspections(targets.TOKENS, SCOPE)),
        "refresh": conversations.refreshing(server, conversations.refresh_tokens(server, cookies)),
        "code": conversations.authorizing(server, cookies),
    }
    for operation, begin in begins.items():
        yield Target("Keycloak", operation, server.port, begin, theirs.cpu)


def measure(rounds: int, seconds: float) -> tuple[list[list[str]], str]:
    """Load both in turns; return the rows of the table, and which Java it was."""
    with running(install()) as theirs, watchword_server.running(core=0, people=PEOPLE) as ours:
        mine = {target.operation: target for target in targets.our_targets("ours", ours)}
        other = {target.operation: target for target in their_targets(theirs)}
        targets.pin_load()
        rows = []
        for operation, name in OPERATIONS.items():
            pair = mine[operation], other[operation]
            for target in pair:
                per_cpu_second(target, PEOPLE, WARM_UP)
            rates = [[per_cpu_second(target, PEOPLE, seconds) for target in pair] for _ in range(rounds)]
            rows.append(_row(f"{name}, per CPU second", rates))
            print(*rows[-1], sep="  ", flush=True)
        rows.append(_row("memory (MB)", [[ours.memory() / 1e6, theirs.memory() / 1e6]], less=True))
        rows.append(_row("until the first token (s)", [[ours.first_token, theirs.first_token]], less=True))
    java = subprocess.run(["java", "-version"], check=True, capture_output=True, text=True).stderr
    return rows, java.splitlines()[0]


def _row(name: str, rounds: Sequence[Sequence[float]], *, less: bool = False) -> list[str]:
    """A row of the table; the factor says how many times more we do, or less we need."""
    ours, theirs = (statistics.median(values) for values in zip(*rounds, strict=True))
    factor = statistics.median(other / own if less else own / other for own, other in rounds)
    return [name, number(ours), number(theirs), f"{number(factor)} ×"]


def main() -> None:
    """Measure, print, and write the page if so asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.keycloak")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--write", action="store_true", help="write docs/keycloak.md")
    options = parser.parse_args()
    rows, java = measure(options.rounds, options.seconds)
    figures = table(("", "Watchword", f"Keycloak {VERSION}", "factor"), rows)
    method = METHOD.format(
        warm_up=WARM_UP, rounds=options.rounds, seconds=options.seconds, people=PEOPLE, version=VERSION
    )
    where = (
        f"A shared virtual machine with {os.cpu_count()} cores ({platform.machine()}, {platform.system()}), "
        f"Python {platform.python_version()}, {java}.\n"
    )
    page = "\n".join([PREAMBLE, figures, method, "## Where\n", where])
    print(figures)
    if options.write:
        PAGE.write_text(page, "utf-8")


if __name__ == "__main__":
    main()
