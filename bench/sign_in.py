"""How the token endpoint fares while fifty people sign in at once, each at the cost of one Argon2id hash.

    python -m bench.sign_in [--rounds 5] [--seconds 5]

Every person is at a browser and an address of their own; whoever is done makes room for the next. The median latency of the token
endpoint is taken idle and then under that load, round by round.
"""

import argparse
import itertools
import re
import statistics
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import load, watchword_server
from bench.watchword_server import Watchword
from watchword.credentials import password as passwords

AT_ONCE = 50
PEOPLE = 200  # so that no account signs in so often that it is held up
PASSWORD = "correct horse battery staple"
CONNECTIONS = 2  # of the clients that ask for tokens: what is measured is latency, not throughput
NAME = "token endpoint's median latency while 50 people sign in, to idle"
MEMORY = "memory added by them, at most"


@dataclass(frozen=True, slots=True)
class SignIns:
    """What was measured: latencies in ms by round, sign-ins per second by round, and MB that the flood added."""

    idle: Sequence[float]
    busy: Sequence[float]
    rates: Sequence[float]
    memory: float

    def ratios(self) -> list[float]:
        """Busy to idle, round by round."""
        return [busy / idle for busy, idle in zip(self.busy, self.idle, strict=True)]


def _browser(port: int) -> tuple[str, str]:
    """Open the sign-in page; return the browser's cookie and the form's anti-forgery value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/sign-in", timeout=10) as page:
        cookie = page.headers["set-cookie"].partition(";")[0]
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', page.read().decode())
    if found is None:
        raise RuntimeError("the sign-in page has no form")
    return cookie, found[1]


def _requests(port: int) -> Iterator[bytes]:
    people = [(f"person{number}", *_browser(port)) for number in range(PEOPLE)]
    for number, (name, cookie, csrf) in enumerate(itertools.cycle(people)):
        body = urllib.parse.urlencode({"identifier": name, "password": PASSWORD, "csrf": csrf}).encode()
        address = f"198.{18 + (number >> 16 & 1)}.{number >> 8 & 255}.{number & 255}"
        yield (
            f"POST /sign-in HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nX-Forwarded-For: {address}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


def _median(server: Watchword, seconds: float) -> float:
    request = server.opaque.client_credentials()
    result = load.run(
        "127.0.0.1", server.opaque.port, load.always(lambda: request), CONNECTIONS, seconds, 0.2
    )
    if set(result.statuses) != {200} or result.failures:
        raise RuntimeError(f"token endpoint: {dict(result.statuses)}, {result.failures} broken connections")
    return result.percentile(0.5) * 1000


def _round(server: Watchword, requests: Iterator[bytes], seconds: float) -> tuple[float, float]:
    """Return the token endpoint's median in ms while people sign in, and how many did per second."""
    lock, done = threading.Lock(), []

    def next_person() -> bytes:
        with lock:
            return next(requests)

    def crowd() -> None:
        done.append(
            load.run("127.0.0.1", server.opaque.port, load.always(next_person), AT_ONCE, seconds + 3.0, 0.5)
        )

    thread = threading.Thread(target=crowd)
    thread.start()
    time.sleep(0.6)
    median = _median(server, seconds)
    thread.join()
    if set(done[0].statuses) - {303} or done[0].failures:
        raise RuntimeError(f"sign-in: {dict(done[0].statuses)}, {done[0].failures} broken connections")
    return median, done[0].rate


def measure(rounds: int, seconds: float) -> SignIns:
    """Measure idle and busy in turns."""
    proxied = {"WATCHWORD_TRUSTED_PROXIES": "127.0.0.1/32"}
    with watchword_server.running(people=PEOPLE, password=PASSWORD, variables=proxied) as server:
        requests = _requests(server.opaque.port)
        _median(server, 1.0)
        before = server.memory()
        idle, busy, rates, most = [], [], [], before
        for number in range(rounds):
            idle.append(_median(server, seconds))
            median, rate = _round(server, requests, seconds)
            busy.append(median)
            rates.append(rate)
            most = max(most, server.memory())
            print(
                f"round {number + 1}  token endpoint {idle[-1]:.2f} ms idle, {median:.2f} ms beside {rate:.0f} sign-ins a second",
                flush=True,
            )
        return SignIns(idle, busy, rates, (most - before) / 1e6)


def cost() -> str:
    """How a password is hashed, as the page says it."""
    return f"Argon2id, {passwords.MEMORY_KIB // 1024} MiB, {passwords.PASSES} passes, {passwords.LANES} lane"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.sign_in")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    found = measure(options.rounds, options.seconds)
    print(f"{NAME}: {statistics.median(found.ratios()):.2f} × (goal: at most 2)")
    print(
        f"{statistics.median(found.rates):.0f} sign-ins a second ({cost()}), {found.memory:.0f} MB more memory"
    )


if __name__ == "__main__":
    main()
