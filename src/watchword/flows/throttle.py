"""Throttling of attempts, by token buckets in the database that all processes share; they slow down and never lock out for good.

Theory of operation. An attempt takes from the bucket of its source and from that of its account. A browser in which the person was
signed in before has a bucket of its own, so that an attacker who exhausts the account's bucket does not lock the owner out (LG-02).
Failures also take from one bucket for the whole deployment; while that is empty, somebody is trying many names from many places, and
every source gets less. A correct proof gives back what it took from source and account, and nothing more (LG-03): many people behind
one address can sign in at the same time, and frequent sign-ins are not throttled. So does an attempt that could not be checked.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from watchword.flows.runtime import Runtime
from watchword.networks import read_address
from watchword.ratelimit import whole_seconds
from watchword.store import attempts, browsers, limits
from watchword.store.attempts import Bucket
from watchword.telemetry import count, log

# By account, and by each browser that an account is known with: ten at once, then one a minute.
ACCOUNT = (10.0, 1 / 60)
# By source: fifty at once, then one every two seconds; five and one a minute while the whole deployment is under attack.
SOURCE, SOURCE_HELD = (50.0, 0.5), (5.0, 1 / 60)
# Refusals of the whole deployment: three hundred at once, then five a second.
OVERALL = Bucket("sign-in refusals", 300.0, 5.0)


class Throttled(Exception):
    """Too many attempts; `wait` is in seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__("throttled")
        self.wait = wait


class Source(msgspec.Struct, frozen=True):
    """Where an attempt comes from: the address, and the digest of the browser's binding value."""

    address: str
    browser: bytes = b""


async def take(runtime: Runtime, name: str, capacity: float, per_second: float) -> int:
    """Take one attempt from a bucket; return 0 when there was one, else the whole seconds to wait."""
    wait = await runtime.database.write(
        limits.take, name, capacity=capacity, per_second=per_second, now=runtime.clock()
    )
    return whole_seconds(wait) if wait else 0


async def throttle(runtime: Runtime, name: str, capacity: float, per_second: float) -> None:
    """Take one attempt from a bucket; raise Throttled when it is empty."""
    if wait := await take(runtime, name, capacity, per_second):
        raise Throttled(wait)


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return the key under which an address is counted: an IPv6 /64 network is one source, as its owner has 2^64 addresses."""
    try:
        parsed = read_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def stranger(runtime: Runtime, typed: str) -> str:
    """Return what a name that no account has is counted under: it may be a password, typed into the wrong field (LGX-1)."""
    key = runtime.root.derive("names of strangers")
    return hmac.new(key, typed.encode(), hashlib.sha256).hexdigest()


async def admit(runtime: Runtime, source: Source, account: str | None = None) -> tuple[Bucket, ...]:
    """Take one sign-in from a source and, if named, an account; return from where. Raise Throttled."""
    known = account is not None and await runtime.database.read(browsers.is_known, account, source.browser)
    now = runtime.clock()
    held = not known and await runtime.database.read(limits.is_drained, OVERALL.name, OVERALL.per_second, now)
    buckets = [_source_bucket(source, held=held)]
    if account is not None:
        buckets.append(_account_bucket(account, source, known=known))
    wait = await runtime.database.write(attempts.admit, tuple(buckets), now)
    if wait:
        count("sign_ins", "password" if account else "passkey", "throttled")
        raise Throttled(whole_seconds(wait))
    return tuple(buckets)


def _source_bucket(source: Source, *, held: bool) -> Bucket:
    name = f"sign-in {'held ' if held else ''}address {network(source.address)}"
    return Bucket(name, *(SOURCE_HELD if held else SOURCE))


def _account_bucket(account: str, source: Source, *, known: bool) -> Bucket:
    return Bucket(f"sign-in account {account}{f' {source.browser.hex()[:32]}' if known else ''}", *ACCOUNT)


async def refused(runtime: Runtime, source: Source, user_id: str | None) -> None:
    """Record a password that was not accepted: in the deployment's bucket, and in the audit trail when it concerns an account."""
    count("sign_ins", "password", "refused")
    log.info("sign_in.refused", user=user_id, address=source.address)
    await runtime.database.write(attempts.note_refused, OVERALL, user_id, source.address, now=runtime.clock())


async def accepted(runtime: Runtime, method: str, taken: tuple[Bucket, ...]) -> None:
    """Give back what a correct proof, a "password" or a "passkey", took."""
    count("sign_ins", method, "accepted")
    await give_back(runtime, taken)


async def give_back(runtime: Runtime, taken: Iterable[Bucket]) -> None:
    """Give back what an attempt took that was right, or that could not be checked: neither is a guess."""
    for bucket in taken:
        await runtime.database.write(attempts.give_back, bucket)
